// Several independent categorical choices per row: the logits of group k are the columns from sizes[0] + ... +
// sizes[k - 1] on. Log-probability, entropy and KL are the sums over the groups. Sizes of 2 are the multi-binary
// distribution.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// Logits [rows, sum(sizes)] with leading dimension `ld`; sizes [groups]. Actions are [rows, groups].
template <typename Scalar>
struct GroupedLogitRows {
  const Scalar* data;
  Index rows;
  const Index* sizes;
  Index groups;
  Index ld;
  const Scalar* row(Index i) const { return data + i * ld; }
};

/// log_prob[i] = sum_k log p_k(actions_ik).
template <typename Scalar>
void multi_categorical_log_prob(GroupedLogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob);

template <typename Scalar>
void multi_categorical_entropy(GroupedLogitRows<Scalar> logits, Scalar* entropy);

/// `other` has the same sizes.
template <typename Scalar>
void multi_categorical_kl(GroupedLogitRows<Scalar> logits, GroupedLogitRows<Scalar> other, Scalar* kl);

/// The ratio of the products of the groups' probabilities; see likelihood_ratio in rows.hpp.
template <typename Scalar>
void multi_categorical_likelihood_ratio(GroupedLogitRows<Scalar> logits, GroupedLogitRows<Scalar> old,
                                        const std::int64_t* actions, Scalar* ratio);

/// The first action with the largest logit of each group.
template <typename Scalar>
void multi_categorical_mode(GroupedLogitRows<Scalar> logits, std::int64_t* actions);

/// Inverse-CDF sampling: group k of row i draws with the number named by (seed, stream, first_environment + i, step)
/// and draw k. `log_prob` may be null.
template <typename Scalar>
void multi_categorical_sample(GroupedLogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                              std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions,
                              Scalar* log_prob);

/// Gradient of sum_i weight_log_prob[i] log_prob_i + weight_entropy[i] entropy_i with respect to the logits: in each
/// group that of the categorical distribution. Writes [rows, sum(sizes)]. `weight_entropy` may be null: all zero.
template <typename Scalar>
void multi_categorical_gradient(GroupedLogitRows<Scalar> logits, const std::int64_t* actions,
                                const Scalar* weight_log_prob, const Scalar* weight_entropy, Scalar* dlogits);

}  // namespace pgfast
