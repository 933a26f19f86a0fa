#include "pgfast/dist/categorical.hpp"

#include "pgfast/base/random.hpp"
#include "pgfast/dist/categorical_row.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {
namespace {

/// function(k, offset, size) for every group of columns.
template <typename Scalar, typename Function>
void for_each_group(const LogitRows<Scalar>& logits, Function&& function) {
  Index offset = 0;
  for (Index k = 0; k < logits.groups; ++k) {
    const Index size = logits.sizes[k];
    function(k, offset, size);
    offset += size;
  }
}

/// The sum of term(k, offset, size) over the groups.
template <typename Scalar, typename Term>
Scalar sum_over_groups(const LogitRows<Scalar>& logits, Term&& term) {
  Scalar sum = 0;
  for_each_group(logits, [&](Index k, Index offset, Index size) { sum += term(k, offset, size); });
  return sum;
}

template <typename Scalar>
Scalar log_prob_of(const LogitRows<Scalar>& logits, Index i, const std::int64_t* actions) {
  return sum_over_groups(logits, [&](Index k, Index offset, Index size) {
    return row_log_prob(logits.row(i) + offset, size, actions[i * logits.groups + k]);
  });
}

}  // namespace

template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) { log_prob[i] = log_prob_of(logits, i, actions); });
}

template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy) {
  for_each_row(logits.rows, [&](Index i) {
    entropy[i] = sum_over_groups(
        logits, [&](Index, Index offset, Index size) { return row_entropy(logits.row(i) + offset, size); });
  });
}

template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl) {
  for_each_row(logits.rows, [&](Index i) {
    kl[i] = sum_over_groups(logits, [&](Index, Index offset, Index size) {
      return row_kl(logits.row(i) + offset, other.row(i) + offset, size);
    });
  });
}

template <typename Scalar>
void categorical_likelihood_ratio(LogitRows<Scalar> logits, LogitRows<Scalar> old, const std::int64_t* actions,
                                  Scalar* ratio) {
  for_each_row(logits.rows, [&](Index i) {
    ratio[i] = likelihood_ratio(log_prob_of(logits, i, actions), log_prob_of(old, i, actions));
  });
}

template <typename Scalar>
void categorical_probabilities(LogitRows<Scalar> logits, Scalar* probabilities) {
  const Index columns = logits.columns();
  for_each_row(logits.rows, [&](Index i) {
    for_each_group(logits, [&](Index, Index offset, Index size) {
      const Scalar* row = logits.row(i) + offset;
      Scalar* to = probabilities + i * columns + offset;
      const LogNormalizer<Scalar> normalizer(row, size);
      for (Index a = 0; a < size; ++a) to[a] = std::exp(normalizer.log_prob(row[a]));
    });
  });
}

template <typename Scalar>
void categorical_mode(LogitRows<Scalar> logits, std::int64_t* actions) {
  for_each_row(logits.rows, [&](Index i) {
    for_each_group(logits, [&](Index k, Index offset, Index size) {
      actions[i * logits.groups + k] = row_mode(logits.row(i) + offset, size);
    });
  });
}

template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                        std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob) {
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
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits, Index dlogits_ld) {
  for_each_row(logits.rows, [&](Index i) {
    const Scalar entropy_weight = weight_entropy == nullptr ? Scalar(0) : weight_entropy[i];
    for_each_group(logits, [&](Index k, Index offset, Index size) {
      row_gradient(logits.row(i) + offset, size, actions[i * logits.groups + k], weight_log_prob[i], entropy_weight,
                   dlogits + i * dlogits_ld + offset);
    });
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
