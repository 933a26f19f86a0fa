// The conjugate gradient method (Hestenes and Stiefel, 1952) for a linear map that is known only by its products. Sums
// are double and in a fixed order, so that the iterates do not depend on the number of threads.
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
  double residual_norm;  // ||b - A x|| from the recursion r <- r - alpha A p
  Status status;
};

namespace conjugate_gradient_detail {

/// The power of two in which b is measured, so that squares of its entries neither overflow nor underflow in double
/// precision. It is 1 unless b is beyond the range of float32.
template <typename Scalar>
double unit_of(const Scalar* b, Index size) {
  double largest = 0;
  for (Index i = 0; i < size; ++i) largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  constexpr int max_exponent = 256;
  int exponent = 0;
  if (std::isfinite(largest)) std::frexp(largest, &exponent);
  return std::abs(exponent) > max_exponent ? std::ldexp(1.0, exponent - 1) : 1.0;
}

}  // namespace conjugate_gradient_detail

/// Solves (A + damping I) x = b for x [size], from x = 0, until ||b - (A + damping I) x|| <= tolerance ||b||.
///
/// `product(v, to)` writes A v [size] to `to`. A must be symmetric, and positive definite with its damping. The
/// iteration ends in a breakdown if p'(A + damping I) p <= 0 or if a number is not finite; x is then the last finite
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
  const double threshold = tolerance * std::sqrt(rr);
  ConjugateGradientReport report{0, 0, Status::max_iterations};
  if (std::sqrt(rr) <= threshold) report.status = Status::converged;
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
      // x - x is 0 for a finite x and NaN otherwise, which makes the sum NaN.
      const double nan_unless_finite =
          sum_of(count, [&](Index i) { return static_cast<double>(next[begin + i] - next[begin + i]); });
      return dot(r + begin, r + begin, count) + nan_unless_finite;
    });
    if (!std::isfinite(next_rr)) {
      report.status = Status::breakdown;
      break;
    }
    ++report.iterations;
    std::swap(iterate, next);
    const double beta = next_rr / rr;
    rr = next_rr;
    if (std::sqrt(rr) <= threshold) report.status = Status::converged;
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
