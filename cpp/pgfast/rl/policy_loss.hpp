// The losses whose gradient is the policy gradient: means over the rows that `valid` [rows] marks, over all where it is
// null; zero where there is none. Sums are double.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// -mean(log_prob A).
template <typename Scalar>
double policy_gradient_loss(Index rows, const Scalar* log_prob, const Scalar* advantages, const bool* valid);

/// -mean(ratio A).
template <typename Scalar>
double trpo_surrogate_loss(Index rows, const Scalar* ratio, const Scalar* advantages, const bool* valid);

}  // namespace pgfast
