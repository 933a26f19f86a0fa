// The categorical distribution of one group of one row. `logits` points to `choices` finite numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// log sum_a exp(l_a) of one row, as the largest logit and log sum_a exp(l_a - largest). They are kept apart because
/// their sum would lose the second next to a large first.
template <typename Scalar>
struct LogNormalizer {
  Scalar largest;
  Scalar log_sum;

  LogNormalizer(const Scalar* logits, Index choices) : largest(*std::max_element(logits, logits + choices)) {
    Scalar sum = 0;
    for (Index a = 0; a < choices; ++a) sum += std::exp(logits[a] - largest);
    log_sum = std::log(sum);
  }
  Scalar log_prob(Scalar logit) const { return (logit - largest) - log_sum; }
};

/// probability * value for a logarithm `value`, or the limit 0 if the probability underflows.
template <typename Scalar>
Scalar times_log(Scalar probability, Scalar value) {
  return probability > Scalar(0) ? probability * value : Scalar(0);
}

template <typename Scalar>
inline Scalar row_log_prob(const Scalar* logits, Index choices, std::int64_t action) {
  return LogNormalizer<Scalar>(logits, choices).log_prob(logits[action]);
}

template <typename Scalar>
inline Scalar row_entropy(const Scalar* logits, Index choices, const LogNormalizer<Scalar>& normalizer) {
  Scalar entropy = 0;
  for (Index a = 0; a < choices; ++a) {
    const Scalar log_p = normalizer.log_prob(logits[a]);
    entropy -= times_log(std::exp(log_p), log_p);
  }
  return entropy;
}

template <typename Scalar>
inline Scalar row_entropy(const Scalar* logits, Index choices) {
  return row_entropy(logits, choices, LogNormalizer<Scalar>(logits, choices));
}

/// KL(p, q) from the logits of p and those of q for the same choices. q may have further choices, which enter its
/// normalizer; a logit of -infinity is a choice that q does not have.
template <typename Scalar>
inline Scalar row_kl(const Scalar* logits, const Scalar* other, Index choices, const LogNormalizer<Scalar>& p,
                     const LogNormalizer<Scalar>& q) {
  Scalar sum = 0;
  for (Index a = 0; a < choices; ++a) {
    const Scalar log_p = p.log_prob(logits[a]);
    sum += times_log(std::exp(log_p), log_p - q.log_prob(other[a]));
  }
  return std::max(sum, Scalar(0));  // rounding may make the sum negative for nearly equal rows
}

template <typename Scalar>
inline Scalar row_kl(const Scalar* logits, const Scalar* other, Index choices) {
  const LogNormalizer<Scalar> p(logits, choices);
  const LogNormalizer<Scalar> q(other, choices);
  return row_kl(logits, other, choices, p, q);
}

/// The first action with the largest logit.
template <typename Scalar>
inline std::int64_t row_mode(const Scalar* logits, Index choices) {
  return std::max_element(logits, logits + choices) - logits;
}

/// Inverse-CDF sampling with the number u in [0, 1).
template <typename Scalar>
inline Index row_sample(const Scalar* logits, Index choices, double u, const LogNormalizer<Scalar>& normalizer) {
  double cumulative = 0;
  // Rounding may leave the sum below u. The last action with a positive probability is then chosen.
  Index chosen = 0;
  for (Index a = 0; a < choices; ++a) {
    const double p = std::exp(static_cast<double>(normalizer.log_prob(logits[a])));
    if (p > 0) chosen = a;
    cumulative += p;
    if (u < cumulative) break;
  }
  return chosen;
}

/// gradient_a = weight_log_prob ([a = action] - p_a) - weight_entropy p_a (log p_a + entropy).
template <typename Scalar>
inline void row_gradient(const Scalar* logits, Index choices, std::int64_t action, Scalar weight_log_prob,
                         Scalar weight_entropy, Scalar* gradient) {
  const LogNormalizer<Scalar> normalizer(logits, choices);
  const Scalar entropy = weight_entropy == Scalar(0) ? Scalar(0) : row_entropy(logits, choices, normalizer);
  for (Index a = 0; a < choices; ++a) {
    const Scalar log_p = normalizer.log_prob(logits[a]);
    const Scalar p = std::exp(log_p);
    gradient[a] = -weight_log_prob * p - weight_entropy * times_log(p, log_p + entropy);
  }
  gradient[action] += weight_log_prob;
}

}  // namespace pgfast
