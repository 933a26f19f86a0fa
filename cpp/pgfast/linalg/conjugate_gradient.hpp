// The method of conjugate gradients (Hestenes and Stiefel, 1952) for a map that is known by its products.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "pgfast/base/sums.hpp"

namespace pgfast {

struct ConjugateGradientReport {
  enum class Status { converged, max_iterations, breakdown };
  Index iterations;
  double residual_norm;  // ||b - A x|| by the recursion r <- r - alpha A p
  Status status;
};

namespace conjugate_gradient_detail {

/// A power of two to measure b in, so that squares of its entries neither overflow nor vanish in double precision: 1
/// but for numbers that only float64 holds.
template <typename Scalar>
double unit_of(const Scalar* b, Index size) {
  double largest = 0;
  for (Index i = 0; i < size; ++i) largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  constexpr int most = 256;
  int exponent = 0;
  if (std::isfinite(largest)) std::frexp(largest, &exponent);
  return std::abs(exponent) > most ? std::ldexp(1.0, exponent - 1) : 1.0;
}

}  // namespace conjugate_gradient_detail

/// x [size] with (A + damping I) x = b, from x = 0, until ||b - (A + damping I) x|| <= tolerance ||b||.
///
/// `product(v, to)` writes A v [size] to `to`; A is symmetric, and so is to be positive definite with its damping. The
/// search ends in a breakdown where p'(A + damping I) p <= 0 or a number is not finite; x is then the last finite
/// iterate. Iterates are Scalars, all sums are double. Allocates five vectors once.
template <typename Scalar, typename Product>
ConjugateGradientReport conjugate_gradient(Index size, Product&& product, const Scalar* b, Index max_iterations,
                                           double tolerance, double damping, Scalar* x) {
  using Status = ConjugateGradientReport::Status;
  Buffer<Scalar> storage;
  Scalar* r = storage.reserve(5 * size);
  Scalar* p = r + size;
  Scalar* ap = p + size;
  Scalar* iterate = ap + size;
  Scalar* next = iterate + size;
  std::vector<double> parts;

  const double unit = conjugate_gradient_detail::unit_of(b, size);
  double rr = sum_over_blocks(size, parts, [&](Index begin, Index count) {
    for (Index i = begin; i < begin + count; ++i) {
      r[i] = p[i] = static_cast<Scalar>(static_cast<double>(b[i]) / unit);
      iterate[i] = 0;
    }
    return dot(r + begin, r + begin, count);
  });
  const double enough = tolerance * std::sqrt(rr);
  ConjugateGradientReport report{0, 0, Status::max_iterations};
  if (std::sqrt(rr) <= enough) report.status = Status::converged;
  if (!std::isfinite(rr)) report.status = Status::breakdown;

  while (report.status == Status::max_iterations && report.iterations < max_iterations) {
    product(static_cast<const Scalar*>(p), ap);
    const double curvature = sum_over_blocks(size, parts, [&](Index begin, Index count) {
      for (Index i = begin; i < begin + count; ++i)
        ap[i] = static_cast<Scalar>(static_cast<double>(ap[i]) + damping * static_cast<double>(p[i]));
      return dot(p + begin, ap + begin, count);
    });
    const double alpha = rr / curvature;
    if (!(curvature > 0) || !std::isfinite(curvature) || !std::isfinite(alpha)) {
      report.status = Status::breakdown;
      break;
    }
    const double next_rr = sum_over_blocks(size, parts, [&](Index begin, Index count) {
      for (Index i = begin; i < begin + count; ++i) {
        const double step = alpha * static_cast<double>(p[i]);
        next[i] = static_cast<Scalar>(static_cast<double>(iterate[i]) + unit * step);
        r[i] = static_cast<Scalar>(static_cast<double>(r[i]) - alpha * static_cast<double>(ap[i]));
      }
      // A finite number less itself is 0: this adds NaN to the sum where an entry of x is not finite.
      const double flaw =
          sum_of(count, [&](Index i) { return static_cast<double>(next[begin + i] - next[begin + i]); });
      return dot(r + begin, r + begin, count) + flaw;
    });
    if (!std::isfinite(next_rr)) {
      report.status = Status::breakdown;
      break;
    }
    ++report.iterations;
    std::swap(iterate, next);
    const double beta = next_rr / rr;
    rr = next_rr;
    if (std::sqrt(rr) <= enough) report.status = Status::converged;
    sum_over_blocks(size, parts, [&](Index begin, Index count) {
      for (Index i = begin; i < begin + count; ++i)
        p[i] = static_cast<Scalar>(static_cast<double>(r[i]) + beta * static_cast<double>(p[i]));
      return 0.0;
    });
  }
  std::copy_n(iterate, size, x);
  report.residual_norm = std::sqrt(rr) * unit;
  return report;
}

}  // namespace pgfast
