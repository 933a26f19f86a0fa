// Categorical distributions with logits as rows of a matrix: one choice per row, or several independent choices.
//
// The logits of group k are the columns from sizes[0] + ... + sizes[k - 1] on. Log-probability, entropy and KL are sums
// over the groups; sizes of 2 are the multi-binary distribution. Actions are [rows, groups], or [rows] for one group.
// Rows have a leading dimension `ld` (a network's output may have further columns). Everything is computed from
// l - max(l) and the sum of its exponentials: results are finite for logits up to 1e38 in magnitude, and never NaN for
// finite logits.
//
// A mask is true where an action is allowed. Other actions have probability 0, log-probability -infinity, and no part
// in any sum. Every group of every row must allow at least one.
#pragma once

#include <cstdint>
#include <numeric>

#include "pgfast/base/types.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {

/// Logits [rows, sum(sizes)]; sizes [groups]; a mask like the logits with a leading dimension of its own, null if all
/// actions are allowed.
template <typename Scalar>
struct LogitRows {
  const Scalar* data;
  Index rows;
  const Index* sizes;
  Index groups;
  Index ld;
  const bool* mask = nullptr;
  Index mask_ld = 0;
  const Scalar* row(Index i) const { return data + i * ld; }
  const bool* mask_row(Index i) const { return mask + i * mask_ld; }
  Index columns() const { return std::accumulate(sizes, sizes + groups, Index{0}); }
};

/// log_prob[i] = sum_k log p_k(actions_ik), p_k = softmax of the logits of group k.
template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob);

/// entropy[i] = - sum_k sum_a p_ka log p_ka.
template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy);

/// kl[i] = sum_k sum_a p_ka (log p_ka - log q_ka), p from `logits`, q from `other` of the same sizes. Infinite if
/// the mask of `other` forbids an action that p can take.
template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl);

/// ratio[i] = p(actions_i) / p_old(actions_i); see likelihood_ratio in rows.hpp.
template <typename Scalar>
void categorical_likelihood_ratio(LogitRows<Scalar> logits, LogitRows<Scalar> old, const std::int64_t* actions,
                                  Scalar* ratio);

/// probabilities [rows, sum(sizes)] = softmax of each group.
template <typename Scalar>
void categorical_probabilities(LogitRows<Scalar> logits, Scalar* probabilities);

/// The first allowed action with the largest logit in each group.
template <typename Scalar>
void categorical_mode(LogitRows<Scalar> logits, std::int64_t* actions);

/// Inverse-CDF sampling. Group k of each row uses draw k of the key.
template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, const RowKey& key, std::int64_t* actions, Scalar* log_prob);

/// Gradient of sum_i weight_log_prob[i] log_prob_i + weight_entropy[i] entropy_i with respect to the logits:
/// dlogits_ia = wl_i ([a = action_i] - p_a) - we_i p_a (log p_a + entropy_i) in each group, exactly 0 where a is not
/// allowed; wl_i counts as 0 in a group whose action is not.
/// Writes sum(sizes) columns of each row of `dlogits`, whose leading dimension is `dlogits_ld`. `weight_entropy` may be
/// null: all zero.
template <typename Scalar>
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits, Index dlogits_ld);

}  // namespace pgfast
