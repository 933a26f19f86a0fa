// The losses of the synchronous advantage actor-critic, and their gradient at the network's outputs.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"
#include "pgfast/dist/categorical.hpp"

namespace pgfast {

struct A2cLosses {
  double policy;
  double value;
  double total;
};

struct A2cCoefficients {
  double entropy;
  double value;
};

/// policy = -mean(log_prob A + c_e entropy), value = mean((R - V)^2), total = policy + c_v value.
/// Means over the rows that `valid` [rows] marks, over all where it is null; all zero where there is none.
template <typename Scalar>
A2cLosses a2c_losses(Index rows, const Scalar* log_prob, const Scalar* advantages, const Scalar* entropy,
                     const Scalar* returns, const Scalar* values, A2cCoefficients coefficients, const bool* valid);

/// The same from logits, with d total / d logits [rows, choices] and d total / d values [rows]; rows that are not
/// valid have zero gradient.
template <typename Scalar>
A2cLosses a2c_gradient(LogitRows<Scalar> logits, const Scalar* values, const std::int64_t* actions,
                       const Scalar* advantages, const Scalar* returns, A2cCoefficients coefficients, const bool* valid,
                       Scalar* dlogits, Scalar* dvalues);

}  // namespace pgfast
