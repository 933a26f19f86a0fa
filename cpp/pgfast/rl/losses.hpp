// The losses of the algorithms, and their gradients with respect to the log-probability, entropy and value of each row.
// The gradient of an invalid row is 0. Sums are double.
#pragma once

#include "pgfast/base/types.hpp"
#include "pgfast/rl/row_gradients.hpp"

namespace pgfast {

/// The rows of a loss. Means are sums over the rows that `valid` [rows] marks (null: all rows), divided by `count`.
struct LossRows {
  Index rows;
  const bool* valid;
  Index count;
};

struct PolicyGradientLoss {
  double policy;        // -mean(log_prob A)
  double mean_entropy;  // 0 without entropy
};

/// The parts of the loss policy - entropy_coef mean_entropy, and the gradient of that loss. `entropy` may be null.
template <typename Scalar>
PolicyGradientLoss policy_gradient(const LossRows& rows, const Scalar* log_prob, const Scalar* advantages,
                                   const Scalar* entropy, double entropy_coef, RowGradients<Scalar> gradient);

/// -mean(ratio A), with the likelihood ratio of the new policy to the old, whose logarithm is clamped. The gradient is
/// that with respect to the new log_prob.
template <typename Scalar>
double trpo_surrogate(const LossRows& rows, const Scalar* ratio, const Scalar* advantages,
                      RowGradients<Scalar> gradient);

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
template <typename Scalar>
A2cLosses a2c(const LossRows& rows, const Scalar* log_prob, const Scalar* advantages, const Scalar* entropy,
              const Scalar* returns, const Scalar* values, A2cCoefficients coefficients, RowGradients<Scalar> gradient);

struct PpoLosses {
  double policy;
  double value;
  double total;
  double clip_fraction;
  double approx_kl;
};

/// The columns [rows] of the loss; `old_` marks those of the policy that acted. `old_values` may be null.
template <typename Scalar>
struct PpoColumns {
  const Scalar* log_prob;
  const Scalar* old_log_prob;
  const Scalar* advantages;
  const Scalar* entropy;
  const Scalar* returns;
  const Scalar* values;
  const Scalar* old_values;
};

struct PpoCoefficients {
  double clip_range;
  double entropy;
  double value;
  double value_clip_range;  // used with old_values
};

/// policy = -mean(min(r A, clip(r, 1 - e, 1 + e) A) + c_e entropy), r = exp(log_prob - old_log_prob);
/// value = mean((R - V)^2), or with old_values the mean of the larger of this and the square for V within
/// value_clip_range of them; total = policy + c_v value; clip_fraction = mean(|r - 1| > e);
/// approx_kl = mean(r - 1 - log r).
template <typename Scalar>
PpoLosses ppo(const LossRows& rows, const PpoColumns<Scalar>& columns, PpoCoefficients coefficients,
              RowGradients<Scalar> gradient);

}  // namespace pgfast
