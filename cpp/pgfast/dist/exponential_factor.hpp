// Products with an exponential that are accurate even if the exponential alone would overflow or underflow.
#pragma once

#include <algorithm>
#include <cmath>

namespace pgfast {

/// x e^exponent for any exponent: 0 if x is 0, infinite only if the product is, NaN only if x is.
class ExponentialFactor {
 public:
  // Beyond 2000 in magnitude, the product with any finite x is 0 or infinite, as it is at 2000.
  explicit ExponentialFactor(double exponent)
      : exponent_(std::clamp(exponent, -2000.0, 2000.0)), factor_(std::exp(exponent_)) {}

  double times(double x) const {
    if (x == 0) return 0;
    if (std::abs(exponent_) <= kLargestExponent) return x * factor_;
    return std::copysign(std::exp(std::log(std::abs(x)) + exponent_), x);
  }

 private:
  static constexpr double kLargestExponent = 700;  // within it e^exponent is a normal double
  double exponent_;
  double factor_;
};

}  // namespace pgfast
