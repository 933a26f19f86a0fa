#include "pgfast/dist/categorical.hpp"

#include "pgfast/base/random.hpp"
#include "pgfast/dist/categorical_row.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {

template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) { log_prob[i] = row_log_prob(logits.row(i), logits.choices, actions[i]); });
}

template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy) {
  for_each_row(logits.rows, [&](Index i) { entropy[i] = row_entropy(logits.row(i), logits.choices); });
}

template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl) {
  for_each_row(logits.rows, [&](Index i) { kl[i] = row_kl(logits.row(i), other.row(i), logits.choices); });
}

template <typename Scalar>
void categorical_likelihood_ratio(LogitRows<Scalar> logits, LogitRows<Scalar> old, const std::int64_t* actions,
                                  Scalar* ratio) {
  for_each_row(logits.rows, [&](Index i) {
    ratio[i] = likelihood_ratio(row_log_prob(logits.row(i), logits.choices, actions[i]),
                                row_log_prob(old.row(i), logits.choices, actions[i]));
  });
}

template <typename Scalar>
void categorical_probabilities(LogitRows<Scalar> logits, Scalar* probabilities) {
  for_each_row(logits.rows, [&](Index i) {
    const LogNormalizer<Scalar> normalizer(logits.row(i), logits.choices);
    for (Index a = 0; a < logits.choices; ++a)
      probabilities[i * logits.choices + a] = std::exp(normalizer.log_prob(logits.row(i)[a]));
  });
}

template <typename Scalar>
void categorical_mode(LogitRows<Scalar> logits, std::int64_t* actions) {
  for_each_row(logits.rows, [&](Index i) { actions[i] = row_mode(logits.row(i), logits.choices); });
}

template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                        std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) {
    const double u = uniform(random_block(seed, stream, first_environment + static_cast<std::uint32_t>(i), step));
    Scalar log_p = 0;
    actions[i] = row_sample(logits.row(i), logits.choices, u, log_p);
    if (log_prob != nullptr) log_prob[i] = log_p;
  });
}

template <typename Scalar>
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits) {
  for_each_row(logits.rows, [&](Index i) {
    row_gradient(logits.row(i), logits.choices, actions[i], weight_log_prob[i],
                 weight_entropy == nullptr ? Scalar(0) : weight_entropy[i], dlogits + i * logits.choices);
  });
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                \
  template void categorical_log_prob(LogitRows<Scalar>, const std::int64_t*, Scalar*);                            \
  template void categorical_entropy(LogitRows<Scalar>, Scalar*);                                                  \
  template void categorical_kl(LogitRows<Scalar>, LogitRows<Scalar>, Scalar*);                                    \
  template void categorical_likelihood_ratio(LogitRows<Scalar>, LogitRows<Scalar>, const std::int64_t*, Scalar*); \
  template void categorical_probabilities(LogitRows<Scalar>, Scalar*);                                            \
  template void categorical_mode(LogitRows<Scalar>, std::int64_t*);                                               \
  template void categorical_sample(LogitRows<Scalar>, std::uint64_t, std::uint16_t, std::uint32_t, std::uint64_t, \
                                   std::int64_t*, Scalar*);                                                       \
  template void categorical_gradient(LogitRows<Scalar>, const std::int64_t*, const Scalar*, const Scalar*, Scalar*);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
