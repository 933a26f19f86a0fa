// Products with an exponential that are right where the exponential alone would overflow or vanish.
#pragma once

#include <algorithm>
#include <cmath>

namespace pgfast {

/// x e^exponent for any exponent: 0 where x is 0, infinite only where the product is, never NaN unless x is.
class ExponentialFactor {
 public:
  // Beyond 2000 every finite x gives 0 or infinity as at 2000.
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
