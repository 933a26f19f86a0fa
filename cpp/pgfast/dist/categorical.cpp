#include "pgfast/dist/categorical.hpp"

#include "pgfast/base/random.hpp"
#include "pgfast/dist/categorical_row.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {
namespace {

/// Calls function(i, k, offset, size) for every row i and every group k, whose columns begin at `offset`. Groups are
/// the outer loop, so that with a single group the loop over rows is that of a plain categorical distribution.
template <typename Scalar, typename Function>
void for_each_group(const LogitRows<Scalar>& logits, Function&& function) {
  for_each_row_chunk(logits.rows, [&](Index, Index begin, Index end) {
    Index offset = 0;
    for (Index k = 0; k < logits.groups; ++k) {
      const Index size = logits.sizes[k];
      for (Index i = begin; i < end; ++i) function(i, k, offset, size);
      offset += size;
    }
  });
}

/// Adds term k to a sum over the groups, which need not be initialized.
template <typename Scalar>
void add_term(Scalar& sum, Index k, Scalar term) {
  sum = k == 0 ? term : sum + term;
}

}  // namespace

template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob) {
  for_each_group(logits, [&](Index i, Index k, Index offset, Index size) {
    add_term(log_prob[i], k, row_log_prob(logits.row(i) + offset, size, actions[i * logits.groups + k]));
  });
}

template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy) {
  for_each_group(logits, [&](Index i, Index k, Index offset, Index size) {
    add_term(entropy[i], k, row_entropy(logits.row(i) + offset, size));
  });
}

template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl) {
  for_each_group(logits, [&](Index i, Index k, Index offset, Index size) {
    add_term(kl[i], k, row_kl(logits.row(i) + offset, other.row(i) + offset, size));
  });
}

template <typename Scalar>
void categorical_likelihood_ratio(LogitRows<Scalar> logits, LogitRows<Scalar> old, const std::int64_t* actions,
                                  Scalar* ratio) {
  thread_local Buffer<Scalar> scratch;
  Scalar* old_log_prob = scratch.reserve(logits.rows);
  categorical_log_prob(logits, actions, ratio);
  categorical_log_prob(old, actions, old_log_prob);
  for_each_row(logits.rows, [&](Index i) { ratio[i] = likelihood_ratio(ratio[i], old_log_prob[i]); });
}

template <typename Scalar>
void categorical_probabilities(LogitRows<Scalar> logits, Scalar* probabilities) {
  const Index columns = logits.columns();
  for_each_group(logits, [&](Index i, Index, Index offset, Index size) {
    const Scalar* row = logits.row(i) + offset;
    Scalar* to = probabilities + i * columns + offset;
    const LogNormalizer<Scalar> normalizer(row, size);
    for (Index a = 0; a < size; ++a) to[a] = std::exp(normalizer.log_prob(row[a]));
  });
}

template <typename Scalar>
void categorical_mode(LogitRows<Scalar> logits, std::int64_t* actions) {
  for_each_group(logits, [&](Index i, Index k, Index offset, Index size) {
    actions[i * logits.groups + k] = row_mode(logits.row(i) + offset, size);
  });
}

template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                        std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob) {
  for_each_group(logits, [&](Index i, Index k, Index offset, Index size) {
    const double u = uniform(random_block(seed, stream, first_environment + static_cast<std::uint32_t>(i), step,
                                          static_cast<std::uint32_t>(k)));
    const Scalar* row = logits.row(i) + offset;
    const LogNormalizer<Scalar> normalizer(row, size);
    const Index action = row_sample(row, size, u, normalizer);
    actions[i * logits.groups + k] = action;
    if (log_prob != nullptr) add_term(log_prob[i], k, normalizer.log_prob(row[action]));
  });
}

template <typename Scalar>
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits, Index dlogits_ld) {
  for_each_group(logits, [&](Index i, Index k, Index offset, Index size) {
    row_gradient(logits.row(i) + offset, size, actions[i * logits.groups + k], weight_log_prob[i],
                 weight_entropy == nullptr ? Scalar(0) : weight_entropy[i], dlogits + i * dlogits_ld + offset);
  });
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                  \
  template void categorical_log_prob(LogitRows<Scalar>, const std::int64_t*, Scalar*);                              \
  template void categorical_entropy(LogitRows<Scalar>, Scalar*);                                                    \
  template void categorical_kl(LogitRows<Scalar>, LogitRows<Scalar>, Scalar*);                                      \
  template void categorical_likelihood_ratio(LogitRows<Scalar>, LogitRows<Scalar>, const std::int64_t*, Scalar*);   \
  template void categorical_probabilities(LogitRows<Scalar>, Scalar*);                                              \
  template void categorical_mode(LogitRows<Scalar>, std::int64_t*);                                                 \
  template void categorical_sample(LogitRows<Scalar>, std::uint64_t, std::uint16_t, std::uint32_t, std::uint64_t,   \
                                   std::int64_t*, Scalar*);                                                         \
  template void categorical_gradient(LogitRows<Scalar>, const std::int64_t*, const Scalar*, const Scalar*, Scalar*, \
                                     Index);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
