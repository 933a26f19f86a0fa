#include "pgfast/rl/a2c_loss.hpp"

#include <vector>

#include "pgfast/rl/valid_rows.hpp"

namespace pgfast {

template <typename Scalar>
A2cLosses a2c_losses(Index rows, const Scalar* log_prob, const Scalar* advantages, const Scalar* entropy,
                     const Scalar* returns, const Scalar* values, A2cCoefficients coefficients, const bool* valid) {
  const Index count = count_valid(valid, rows);
  if (count == 0) return {0, 0, 0};
  double policy = 0;
  double value = 0;
  for (Index i = 0; i < rows; ++i) {
    if (!is_valid(valid, i)) continue;
    policy += static_cast<double>(log_prob[i]) * static_cast<double>(advantages[i]) +
              coefficients.entropy * static_cast<double>(entropy[i]);
    const double error = static_cast<double>(returns[i]) - static_cast<double>(values[i]);
    value += error * error;
  }
  policy = -policy / static_cast<double>(count);
  value /= static_cast<double>(count);
  return {policy, value, policy + coefficients.value * value};
}

template <typename Scalar>
A2cLosses a2c_gradient(LogitRows<Scalar> logits, const Scalar* values, const std::int64_t* actions,
                       const Scalar* advantages, const Scalar* returns, A2cCoefficients coefficients, const bool* valid,
                       Scalar* dlogits, Scalar* dvalues) {
  const Index rows = logits.rows;
  thread_local std::vector<Scalar> storage;
  storage.resize(static_cast<std::size_t>(4 * rows));
  Scalar* log_prob = storage.data();
  Scalar* entropy = log_prob + rows;
  Scalar* weight_log_prob = entropy + rows;
  Scalar* weight_entropy = weight_log_prob + rows;
  categorical_log_prob(logits, actions, log_prob);
  categorical_entropy(logits, entropy);

  const Index count = count_valid(valid, rows);
  const Scalar scale = count == 0 ? Scalar(0) : Scalar(1) / static_cast<Scalar>(count);
  for (Index i = 0; i < rows; ++i) {
    const bool used = is_valid(valid, i);
    weight_log_prob[i] = used ? -scale * advantages[i] : Scalar(0);
    weight_entropy[i] = used ? -scale * static_cast<Scalar>(coefficients.entropy) : Scalar(0);
    dvalues[i] =
        used ? Scalar(2) * scale * static_cast<Scalar>(coefficients.value) * (values[i] - returns[i]) : Scalar(0);
  }
  categorical_gradient(logits, actions, weight_log_prob, weight_entropy, dlogits, logits.columns());
  return a2c_losses(rows, log_prob, advantages, entropy, returns, values, coefficients, valid);
}

template A2cLosses a2c_losses(Index, const float*, const float*, const float*, const float*, const float*,
                              A2cCoefficients, const bool*);
template A2cLosses a2c_losses(Index, const double*, const double*, const double*, const double*, const double*,
                              A2cCoefficients, const bool*);
template A2cLosses a2c_gradient(LogitRows<float>, const float*, const std::int64_t*, const float*, const float*,
                                A2cCoefficients, const bool*, float*, float*);
template A2cLosses a2c_gradient(LogitRows<double>, const double*, const std::int64_t*, const double*, const double*,
                                A2cCoefficients, const bool*, double*, double*);

}  // namespace pgfast
