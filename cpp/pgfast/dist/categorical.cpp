#include "pgfast/dist/categorical.hpp"

#include <algorithm>
#include <cmath>

#include "pgfast/base/random.hpp"
#include "pgfast/base/thread_pool.hpp"

namespace pgfast {
namespace {

constexpr Index kRowsPerChunk = 2048;

template <typename Function>
void for_each_row(Index rows, Function&& function) {
  parallel_for(ceil_divide(rows, kRowsPerChunk), [&](Index chunk) {
    const Index end = std::min(rows, (chunk + 1) * kRowsPerChunk);
    for (Index i = chunk * kRowsPerChunk; i < end; ++i) function(i);
  });
}

/// log sum_a exp(l_a) of one row, as the largest logit and the log of the rest, kept apart: added together, the second
/// would be lost beside a large first.
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

/// p log p, with its limit 0 where p underflows.
template <typename Scalar>
Scalar times_log(Scalar probability, Scalar value) {
  return probability > Scalar(0) ? probability * value : Scalar(0);
}

template <typename Scalar>
Scalar row_entropy(const Scalar* logits, Index choices, const LogNormalizer<Scalar>& normalizer) {
  Scalar entropy = 0;
  for (Index a = 0; a < choices; ++a) {
    const Scalar log_p = normalizer.log_prob(logits[a]);
    entropy -= times_log(std::exp(log_p), log_p);
  }
  return entropy;
}

}  // namespace

template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) {
    const LogNormalizer<Scalar> normalizer(logits.row(i), logits.choices);
    log_prob[i] = normalizer.log_prob(logits.row(i)[actions[i]]);
  });
}

template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy) {
  for_each_row(logits.rows, [&](Index i) {
    const LogNormalizer<Scalar> normalizer(logits.row(i), logits.choices);
    entropy[i] = row_entropy(logits.row(i), logits.choices, normalizer);
  });
}

template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl) {
  for_each_row(logits.rows, [&](Index i) {
    const LogNormalizer<Scalar> p(logits.row(i), logits.choices);
    const LogNormalizer<Scalar> q(other.row(i), logits.choices);
    Scalar sum = 0;
    for (Index a = 0; a < logits.choices; ++a) {
      const Scalar log_p = p.log_prob(logits.row(i)[a]);
      sum += times_log(std::exp(log_p), log_p - q.log_prob(other.row(i)[a]));
    }
    kl[i] = std::max(sum, Scalar(0));  // never negative; rounding may say otherwise for nearly equal rows
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
  for_each_row(logits.rows, [&](Index i) {
    const Scalar* row = logits.row(i);
    actions[i] = std::max_element(row, row + logits.choices) - row;
  });
}

template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, std::uint64_t seed, std::uint16_t stream,
                        std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob) {
  for_each_row(logits.rows, [&](Index i) {
    const Scalar* row = logits.row(i);
    const LogNormalizer<Scalar> normalizer(row, logits.choices);
    const double u = uniform(random_block(seed, stream, first_environment + static_cast<std::uint32_t>(i), step));
    double cumulative = 0;
    // Rounding may leave the sum below u: then the last action that has a probability at all.
    Index chosen = 0;
    for (Index a = 0; a < logits.choices; ++a) {
      const double p = std::exp(static_cast<double>(normalizer.log_prob(row[a])));
      if (p > 0) chosen = a;
      cumulative += p;
      if (u < cumulative) break;
    }
    actions[i] = chosen;
    if (log_prob != nullptr) log_prob[i] = normalizer.log_prob(row[chosen]);
  });
}

template <typename Scalar>
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits) {
  for_each_row(logits.rows, [&](Index i) {
    const Scalar* row = logits.row(i);
    const LogNormalizer<Scalar> normalizer(row, logits.choices);
    const Scalar entropy = row_entropy(row, logits.choices, normalizer);
    Scalar* gradient = dlogits + i * logits.choices;
    for (Index a = 0; a < logits.choices; ++a) {
      const Scalar log_p = normalizer.log_prob(row[a]);
      const Scalar p = std::exp(log_p);
      gradient[a] = -weight_log_prob[i] * p - weight_entropy[i] * times_log(p, log_p + entropy);
    }
    gradient[actions[i]] += weight_log_prob[i];
  });
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                \
  template void categorical_log_prob(LogitRows<Scalar>, const std::int64_t*, Scalar*);                            \
  template void categorical_entropy(LogitRows<Scalar>, Scalar*);                                                  \
  template void categorical_kl(LogitRows<Scalar>, LogitRows<Scalar>, Scalar*);                                    \
  template void categorical_probabilities(LogitRows<Scalar>, Scalar*);                                            \
  template void categorical_mode(LogitRows<Scalar>, std::int64_t*);                                               \
  template void categorical_sample(LogitRows<Scalar>, std::uint64_t, std::uint16_t, std::uint32_t, std::uint64_t, \
                                   std::int64_t*, Scalar*);                                                       \
  template void categorical_gradient(LogitRows<Scalar>, const std::int64_t*, const Scalar*, const Scalar*, Scalar*);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
