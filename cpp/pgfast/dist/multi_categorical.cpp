#include "pgfast/dist/multi_categorical.hpp"

#include <numeric>

#include "pgfast/base/random.hpp"
#include "pgfast/dist/categorical_row.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {
namespace {

/// function(k, offset, size) for every group of columns.
template <typename Scalar, typename Function>
void for_each_group(const GroupedLogitRows<Scalar>& logits, Function&& function) {
  Index offset = 0;
  for (Index k = 0; k < logits.groups; ++k) {
    function(k, offset, logits.sizes[k]);
    offset += logits.sizes[k];
  }
}

template <typename Scalar>
Scalar sum_of_log_prob(const GroupedLogitRows<Scalar>& logits, Index i, const std::int64_t* actions) {
  Scalar sum = 0;
  for_each_group(logits, [&](Index k, Index offset, Index size) {
    sum += row_log_prob(logits.row(i) + offset, size, actions[i * logits.groups + k]);
  });
  return sum;
}

}  // namespace

template <typename Scalar>
void multi_categorical_log_prob(GroupedLogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) { log_prob[i] = sum_of_log_prob(logits, i, actions); });
}

template <typename Scalar>
void multi_categorical_entropy(GroupedLogitRows<Scalar> logits, Scalar* entropy) {
  for_each_row(logits.rows, [&](Index i) {
    Scalar sum = 0;
    for_each_group(logits, [&](Index, Index offset, Index size) { sum += row_entropy(logits.row(i) + offset, size); });
    entropy[i] = sum;
  });
}

template <typename Scalar>
void multi_categorical_kl(GroupedLogitRows<Scalar> logits, GroupedLogitRows<Scalar> other, Scalar* kl) {
  for_each_row(logits.rows, [&](Index i) {
    Scalar sum = 0;
    for_each_group(logits, [&](Index, Index offset, Index size) {
      sum += row_kl(logits.row(i) + offset, other.row(i) + offset, size);
    });
    kl[i] = sum;
  });
}

template <typename Scalar>
void multi_categorical_likelihood_ratio(GroupedLogitRows<Scalar> logits, GroupedLogitRows<Scalar> old,
                                        const std::int64_t* actions, Scalar* ratio) {
  for_each_row(logits.rows, [&](Index i) {
    ratio[i] = likelihood_ratio(sum_of_log_prob(logits, i, actions), sum_of_log_prob(old, i, actions));
  });
}

template <typename Scalar>
void multi_categorical_mode(GroupedLogitRows<Scalar> logits, std::int64_t* actions) {
  for_each_row(logits.rows, [&](Index i) {
    for_each_group(logits, [&](Index k, Index offset, Index size) {
      actions[i * logits.groups + k] = row_mode(logits.row(i) + offset, size);
    });
  });
}

template <typename Scalar>
void multi_categorical_sample(GroupedLogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                              std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions,
                              Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) {
    const std::uint32_t environment = first_environment + static_cast<std::uint32_t>(i);
    Scalar sum = 0;
    for_each_group(logits, [&](Index k, Index offset, Index size) {
      const double u = uniform(random_block(seed, stream, environment, step, static_cast<std::uint32_t>(k)));
      actions[i * logits.groups + k] = row_sample(logits.row(i) + offset, size, u, sum);
    });
    if (log_prob != nullptr) log_prob[i] = sum;
  });
}

template <typename Scalar>
void multi_categorical_gradient(GroupedLogitRows<Scalar> logits, const std::int64_t* actions,
                                const Scalar* weight_log_prob, const Scalar* weight_entropy, Scalar* dlogits) {
  const Index columns = std::accumulate(logits.sizes, logits.sizes + logits.groups, Index{0});
  for_each_row(logits.rows, [&](Index i) {
    const Scalar entropy_weight = weight_entropy == nullptr ? Scalar(0) : weight_entropy[i];
    for_each_group(logits, [&](Index k, Index offset, Index size) {
      row_gradient(logits.row(i) + offset, size, actions[i * logits.groups + k], weight_log_prob[i], entropy_weight,
                   dlogits + i * columns + offset);
    });
  });
}

#define PGFAST_INSTANTIATE(Scalar)                                                                              \
  template void multi_categorical_log_prob(GroupedLogitRows<Scalar>, const std::int64_t*, Scalar*);             \
  template void multi_categorical_entropy(GroupedLogitRows<Scalar>, Scalar*);                                   \
  template void multi_categorical_kl(GroupedLogitRows<Scalar>, GroupedLogitRows<Scalar>, Scalar*);              \
  template void multi_categorical_likelihood_ratio(GroupedLogitRows<Scalar>, GroupedLogitRows<Scalar>,          \
                                                   const std::int64_t*, Scalar*);                               \
  template void multi_categorical_mode(GroupedLogitRows<Scalar>, std::int64_t*);                                \
  template void multi_categorical_sample(GroupedLogitRows<Scalar>, std::uint64_t, std::uint16_t, std::uint32_t, \
                                         std::uint64_t, std::int64_t*, Scalar*);                                \
  template void multi_categorical_gradient(GroupedLogitRows<Scalar>, const std::int64_t*, const Scalar*,        \
                                           const Scalar*, Scalar*);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
