#include "pgfast/rl/losses.hpp"

#include <algorithm>
#include <cmath>

#include "pgfast/base/sums.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {
namespace {

bool is_valid(const LossRows& rows, Index row) { return rows.valid == nullptr || rows.valid[row]; }

/// gradient[i] = value(i) for valid rows and 0 for others. Does nothing if `gradient` is null.
template <typename Scalar, typename Value>
void write_rows(const LossRows& rows, Scalar* gradient, Value&& value) {
  if (gradient == nullptr) return;
  for (Index i = 0; i < rows.rows; ++i) gradient[i] = is_valid(rows, i) ? value(i) : Scalar(0);
}

/// The weight of a row in a mean.
template <typename Scalar>
Scalar row_weight(const LossRows& rows) {
  return static_cast<Scalar>(1.0 / static_cast<double>(rows.count));
}

template <typename Scalar>
double mean_product(const LossRows& rows, const Scalar* x, const Scalar* y) {
  double sum = 0;
  for (Index i = 0; i < rows.rows; ++i)
    if (is_valid(rows, i)) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum / static_cast<double>(rows.count);
}

template <typename Scalar>
double mean(const LossRows& rows, const Scalar* x) {
  double sum = 0;
  for (Index begin = 0; begin < rows.rows; begin += kSumBlock)
    sum += pairwise_sum(begin, std::min(kSumBlock, rows.rows - begin),
                        [&](Index i) { return is_valid(rows, i) ? static_cast<double>(x[i]) : 0.0; });
  return sum / static_cast<double>(rows.count);
}

}  // namespace

template <typename Scalar>
PolicyGradientLoss policy_gradient(const LossRows& rows, const Scalar* log_prob, const Scalar* advantages,
                                   const Scalar* entropy, double entropy_coef, RowGradients<Scalar> gradient) {
  const auto weight = row_weight<Scalar>(rows);
  write_rows(rows, gradient.log_prob, [&](Index i) { return -weight * advantages[i]; });
  write_rows(rows, gradient.entropy, [&](Index) { return -weight * static_cast<Scalar>(entropy_coef); });
  return {-mean_product(rows, log_prob, advantages), entropy == nullptr ? 0 : mean(rows, entropy)};
}

template <typename Scalar>
double trpo_surrogate(const LossRows& rows, const Scalar* ratio, const Scalar* advantages,
                      RowGradients<Scalar> gradient) {
  // d ratio / d log_prob is the ratio, or 0 if it is clamped. The margin allows for the rounding of exp, and is smaller
  // than the distance from the largest exponent to the next float32.
  constexpr double margin = 4e-6;
  const double largest = std::exp(kLargestLogRatio - margin);
  const double smallest = std::exp(margin - kLargestLogRatio);
  const auto weight = row_weight<Scalar>(rows);
  write_rows(rows, gradient.log_prob, [&](Index i) {
    const auto r = static_cast<double>(ratio[i]);
    return r > smallest && r < largest ? -weight * advantages[i] * ratio[i] : Scalar(0);
  });
  return -mean_product(rows, ratio, advantages);
}

template <typename Scalar>
A2cLosses a2c(const LossRows& rows, const Scalar* log_prob, const Scalar* advantages, const Scalar* entropy,
              const Scalar* returns, const Scalar* values, A2cCoefficients coefficients,
              RowGradients<Scalar> gradient) {
  const auto weight = row_weight<Scalar>(rows);
  write_rows(rows, gradient.log_prob, [&](Index i) { return -weight * advantages[i]; });
  write_rows(rows, gradient.entropy, [&](Index) { return -weight * static_cast<Scalar>(coefficients.entropy); });
  write_rows(rows, gradient.values, [&](Index i) {
    return Scalar(2) * weight * static_cast<Scalar>(coefficients.value) * (values[i] - returns[i]);
  });

  double policy = 0;
  double value = 0;
  for (Index i = 0; i < rows.rows; ++i) {
    if (!is_valid(rows, i)) continue;
    policy += static_cast<double>(log_prob[i]) * static_cast<double>(advantages[i]) +
              coefficients.entropy * static_cast<double>(entropy[i]);
    const double error = static_cast<double>(returns[i]) - static_cast<double>(values[i]);
    value += error * error;
  }
  policy = -policy / static_cast<double>(rows.count);
  value /= static_cast<double>(rows.count);
  return {policy, value, policy + coefficients.value * value};
}

template <typename Scalar>
PpoLosses ppo(const LossRows& rows, const PpoColumns<Scalar>& columns, PpoCoefficients coefficients,
              RowGradients<Scalar> gradient) {
  const auto weight = row_weight<Scalar>(rows);
  const auto& [log_prob, old_log_prob, advantages, entropy, returns, values, old_values] = columns;
  const auto range = static_cast<Scalar>(coefficients.clip_range);
  const auto value_range = static_cast<Scalar>(coefficients.value_clip_range);
  write_rows(rows, gradient.entropy, [&](Index) { return -weight * static_cast<Scalar>(coefficients.entropy); });

  PpoLosses sums{};
  for (Index i = 0; i < rows.rows; ++i) {
    if (!is_valid(rows, i)) {
      if (gradient.log_prob != nullptr) gradient.log_prob[i] = gradient.values[i] = Scalar(0);
      continue;
    }
    const Scalar log_ratio = clamped_log_ratio(log_prob[i], old_log_prob[i]);
    const Scalar ratio = std::exp(log_ratio);
    const Scalar advantage = advantages[i];
    const Scalar clipped_ratio = std::clamp(ratio, Scalar(1) - range, Scalar(1) + range);
    // If both terms are equal, the unclipped one counts, and its gradient.
    const bool is_clipped = clipped_ratio * advantage < ratio * advantage;
    sums.policy += static_cast<double>(is_clipped ? clipped_ratio : ratio) * static_cast<double>(advantage) +
                   coefficients.entropy * static_cast<double>(entropy[i]);
    sums.clip_fraction += ratio != clipped_ratio ? 1.0 : 0.0;
    sums.approx_kl += std::expm1(static_cast<double>(log_ratio)) - static_cast<double>(log_ratio);

    double error = static_cast<double>(values[i]) - static_cast<double>(returns[i]);
    bool is_value_clipped = false;
    if (old_values != nullptr) {
      const Scalar clipped = std::clamp(values[i], old_values[i] - value_range, old_values[i] + value_range);
      const double clipped_error = static_cast<double>(clipped) - static_cast<double>(returns[i]);
      is_value_clipped = clipped_error * clipped_error > error * error;
      if (is_value_clipped) error = clipped_error;
    }
    sums.value += error * error;

    if (gradient.log_prob == nullptr) continue;
    const bool is_flat = is_clipped || std::abs(log_ratio) == Scalar(kLargestLogRatio);
    gradient.log_prob[i] = is_flat ? Scalar(0) : -weight * advantage * ratio;
    gradient.values[i] = is_value_clipped
                             ? Scalar(0)
                             : Scalar(2) * weight * static_cast<Scalar>(coefficients.value) * (values[i] - returns[i]);
  }
  const auto count = static_cast<double>(rows.count);
  const double policy = -sums.policy / count;
  const double value = sums.value / count;
  return {policy, value, policy + coefficients.value * value, sums.clip_fraction / count, sums.approx_kl / count};
}

template PolicyGradientLoss policy_gradient(const LossRows&, const float*, const float*, const float*, double,
                                            RowGradients<float>);
template PolicyGradientLoss policy_gradient(const LossRows&, const double*, const double*, const double*, double,
                                            RowGradients<double>);
template double trpo_surrogate(const LossRows&, const float*, const float*, RowGradients<float>);
template double trpo_surrogate(const LossRows&, const double*, const double*, RowGradients<double>);
template A2cLosses a2c(const LossRows&, const float*, const float*, const float*, const float*, const float*,
                       A2cCoefficients, RowGradients<float>);
template A2cLosses a2c(const LossRows&, const double*, const double*, const double*, const double*, const double*,
                       A2cCoefficients, RowGradients<double>);
template PpoLosses ppo(const LossRows&, const PpoColumns<float>&, PpoCoefficients, RowGradients<float>);
template PpoLosses ppo(const LossRows&, const PpoColumns<double>&, PpoCoefficients, RowGradients<double>);

}  // namespace pgfast
