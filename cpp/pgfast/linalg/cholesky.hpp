// Solves symmetric positive definite systems by Cholesky factorization, A = LL'.
//
// The factorization goes panel by panel, so that nearly all of its work is matrix products, which run on all threads in
// an order that depends only on the size of A.
#pragma once

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "pgfast/base/sums.hpp"

namespace pgfast {

/// Overwrites the lower triangle of a [n, n] = LL' with L. Entries above the diagonal are neither read nor preserved.
/// Returns false if A is not positive definite.
template <typename Scalar>
bool cholesky_factor(Index n, Scalar* a);

/// x [n] <- (LL')^-1 x, accumulated in double precision.
template <typename Scalar>
void cholesky_solve(Index n, const Scalar* l, double* x);

/// Copies the lower triangle of a [n, n] to the upper one, transposed.
template <typename Scalar>
void mirror_lower(Index n, Scalar* a);

// The following take L and L' in the two triangles of `l` [n, n]. They run on all threads, in blocks that depend only
// on the sizes.

/// X [n, columns] <- (LL')^-1 X.
template <typename Scalar>
void cholesky_solve_columns(Index n, const Scalar* l, Index columns, Scalar* x);
/// X [rows, n] <- X (LL')^-1.
template <typename Scalar>
void cholesky_solve_rows(Index n, const Scalar* l, Index rows, Scalar* x);

enum class SolveStatus { solved, not_positive_definite, overflow };

/// Solves (A + damping I) x = b for x [n]. Reads only the lower triangle of the symmetric a [n, n] and works in one
/// copy of it. In single precision, the solution is refined with residuals in double precision.
template <typename Scalar>
SolveStatus solve_damped(Index n, const Scalar* a, const Scalar* b, double damping, Scalar* x);

/// Iterative refinement (Wilkinson, 1963): x <- x + solve(b - A x), from x = 0, while the residual shrinks and at most
/// `steps` times. `solve(r)` overwrites r [n] with the solution; `residual(x, r)` writes b - A x to r.
///
/// Every correction shrinks by about the same factor: after one of relative size c, the next has about c^2. It is
/// skipped, together with the residual it needs, if that is below the rounding error of the result.
template <typename Scalar, typename Solve, typename Residual>
SolveStatus solve_with_refinement(Index n, const Scalar* b, int steps, Solve&& solve, Residual&& residual, Scalar* x) {
  constexpr double unit = std::numeric_limits<Scalar>::epsilon() / 2;
  std::vector<double> best(static_cast<std::size_t>(n), 0.0);
  std::vector<double> next(best.size());
  std::vector<double> r(b, b + n);
  double norm = std::numeric_limits<double>::infinity();
  for (int step = 0; step < steps; ++step) {
    solve(r.data());
    for (std::size_t i = 0; i < r.size(); ++i) next[i] = best[i] + r[i];
    if (step == 0) best = next;
    if (step == 0 && steps == 1) break;
    if (step > 0 && dot(r.data(), r.data(), n) <= unit / 4 * dot(next.data(), next.data(), n)) {
      best = next;
      break;
    }
    residual(next.data(), r.data());
    const double next_norm = dot(r.data(), r.data(), n);
    if (!(next_norm < norm)) break;
    norm = next_norm;
    best = next;
  }
  bool finite = true;
  for (Index i = 0; i < n; ++i) {
    x[i] = static_cast<Scalar>(best[static_cast<std::size_t>(i)]);
    finite = finite && std::isfinite(x[i]);
  }
  return finite ? SolveStatus::solved : SolveStatus::overflow;
}

struct Symmetry {
  bool finite;        // no entry is NaN or infinite; if false, the other fields mean nothing
  double largest;     // the largest |a_ij|
  double difference;  // the largest |a_ij - a_ji|
};

/// Compares a [n, n] with its transpose.
template <typename Scalar>
Symmetry symmetry_of(Index n, const Scalar* a);

struct Asymmetry {
  double difference;
  Index row;
  Index column;
};

/// Finds the entry of a [n, n] that differs most from its mirror image. Slow: only for the error message of a matrix
/// that is refused.
template <typename Scalar>
Asymmetry worst_asymmetry(Index n, const Scalar* a);

}  // namespace pgfast
