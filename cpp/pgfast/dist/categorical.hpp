// Categorical distributions given by rows of logits.
//
// Logits are rows [rows, choices] with leading dimension `ld` (a network's output may carry further columns). Finite
// logits up to 1e38 either way give finite results, any finite ones numbers or infinities: everything goes through
// l - max(l) and the sum of its exponentials.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

template <typename Scalar>
struct LogitRows {
  const Scalar* data;
  Index rows;
  Index choices;
  Index ld;
  const Scalar* row(Index i) const { return data + i * ld; }
};

/// log_prob[i] = log softmax(logits_i)[actions[i]].
template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob);

/// entropy[i] = - sum_a p_a log p_a.
template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy);

/// kl[i] = sum_a p_a (log p_a - log q_a), p from `logits`, q from `other`.
template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl);

/// ratio[i] = p(actions[i]) / p_old(actions[i]); see likelihood_ratio in rows.hpp.
template <typename Scalar>
void categorical_likelihood_ratio(LogitRows<Scalar> logits, LogitRows<Scalar> old, const std::int64_t* actions,
                                  Scalar* ratio);

/// probabilities [rows, choices] = softmax(logits).
template <typename Scalar>
void categorical_probabilities(LogitRows<Scalar> logits, Scalar* probabilities);

/// The first action with the largest logit.
template <typename Scalar>
void categorical_mode(LogitRows<Scalar> logits, std::int64_t* actions);

/// Inverse-CDF sampling: row i draws with the number named by (seed, stream, first_environment + i, step).
/// `log_prob` may be null.
template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                        std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob);

/// Gradient of sum_i weight_log_prob[i] log_prob_i + weight_entropy[i] entropy_i with respect to the logits:
/// dlogits_ia = wl_i ([a = action_i] - p_a) - we_i p_a (log p_a + entropy_i). Writes [rows, choices].
/// `weight_entropy` may be null: all zero.
template <typename Scalar>
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits);

}  // namespace pgfast
