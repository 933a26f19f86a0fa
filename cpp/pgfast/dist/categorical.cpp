#include "pgfast/dist/categorical.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "pgfast/dist/categorical_row.hpp"

namespace pgfast {
namespace {

template <typename Scalar>
constexpr Scalar kImpossible = -std::numeric_limits<Scalar>::infinity();  // log 0

/// The choices of one group of one row if there is no mask: its actions.
template <typename Scalar>
struct AllChoices {
  static constexpr bool masked = false;
  const Scalar* logits;
  Index count;

  AllChoices(const LogitRows<Scalar>& rows, Index row, Index offset, Index size)
      : logits(rows.row(row) + offset), count(size) {}
  Index action(Index choice) const { return choice; }
  Index choice(std::int64_t action) const { return action; }
};

/// The choices that a mask allows. Their logits are copied side by side, so that everything is computed as if there
/// were no other actions.
template <typename Scalar>
struct AllowedChoices {
  static constexpr bool masked = true;
  const Scalar* logits;
  Index count = 0;
  const Index* actions;  // [count], ascending
  Scalar* scratch;       // [count]

  /// Two groups on one thread need different slots for their memory.
  AllowedChoices(const LogitRows<Scalar>& rows, Index row, Index offset, Index size, std::size_t slot = 0) {
    thread_local std::array<Buffer<Scalar>, 2> scalars;
    thread_local std::array<Buffer<Index>, 2> indices;
    Scalar* copies = scalars[slot].reserve(2 * size);
    Index* kept = indices[slot].reserve(size);
    const Scalar* from = rows.row(row) + offset;
    const bool* mask = rows.mask == nullptr ? nullptr : rows.mask_row(row) + offset;
    for (Index a = 0; a < size; ++a) {
      if (mask != nullptr && !mask[a]) continue;
      copies[count] = from[a];
      kept[count++] = a;
    }
    logits = copies;
    actions = kept;
    scratch = copies + size;
  }
  Index action(Index choice) const { return actions[choice]; }
  /// The choice that takes an action, -1 if it is not allowed.
  Index choice(std::int64_t action) const {
    const Index* found = std::lower_bound(actions, actions + count, action);
    return found < actions + count && *found == action ? found - actions : -1;
  }
};

/// Calls function(i, k, offset, choices) for every row i and every group k, whose columns begin at `offset`. Groups are
/// the outer loop, so that with a single group the loop over rows is that of a plain categorical distribution.
template <template <typename> class Choices, typename Scalar, typename Function>
void for_each_group(const LogitRows<Scalar>& logits, Function&& function) {
  for_each_row_chunk(logits.rows, [&](Index, Index begin, Index end) {
    Index offset = 0;
    for (Index k = 0; k < logits.groups; ++k) {
      const Index size = logits.sizes[k];
      for (Index i = begin; i < end; ++i) function(i, k, offset, Choices<Scalar>(logits, i, offset, size));
      offset += size;
    }
  });
}

template <typename Scalar, typename Function>
void for_each_group(const LogitRows<Scalar>& logits, Function&& function) {
  if (logits.mask == nullptr)
    for_each_group<AllChoices>(logits, function);
  else
    for_each_group<AllowedChoices>(logits, function);
}

/// Adds term k to a sum over the groups, which need not be initialized.
template <typename Scalar>
void add_term(Scalar& sum, Index k, Scalar term) {
  sum = k == 0 ? term : sum + term;
}

}  // namespace

template <typename Scalar>
void categorical_log_prob(LogitRows<Scalar> logits, const std::int64_t* actions, Scalar* log_prob) {
  for_each_group(logits, [&]<typename Choices>(Index i, Index k, Index, const Choices& choices) {
    const Index choice = choices.choice(actions[i * logits.groups + k]);
    const bool possible = !Choices::masked || choice >= 0;
    add_term(log_prob[i], k, possible ? row_log_prob(choices.logits, choices.count, choice) : kImpossible<Scalar>);
  });
}

template <typename Scalar>
void categorical_entropy(LogitRows<Scalar> logits, Scalar* entropy) {
  for_each_group(logits, [&]<typename Choices>(Index i, Index k, Index, const Choices& choices) {
    add_term(entropy[i], k, row_entropy(choices.logits, choices.count));
  });
}

template <typename Scalar>
void categorical_kl(LogitRows<Scalar> logits, LogitRows<Scalar> other, Scalar* kl) {
  if (logits.mask == nullptr && other.mask == nullptr) {
    for_each_group<AllChoices>(logits, [&](Index i, Index k, Index offset, const AllChoices<Scalar>& p) {
      add_term(kl[i], k, row_kl(p.logits, other.row(i) + offset, p.count));
    });
    return;
  }
  for_each_group<AllowedChoices>(logits, [&](Index i, Index k, Index offset, const AllowedChoices<Scalar>& p) {
    const AllowedChoices<Scalar> q(other, i, offset, logits.sizes[k], 1);
    for (Index choice = 0; choice < p.count; ++choice) {
      const Index same = q.choice(p.action(choice));
      p.scratch[choice] = same < 0 ? kImpossible<Scalar> : q.logits[same];
    }
    add_term(kl[i], k,
             row_kl(p.logits, p.scratch, p.count, LogNormalizer<Scalar>(p.logits, p.count),
                    LogNormalizer<Scalar>(q.logits, q.count)));
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
  for_each_group(logits, [&]<typename Choices>(Index i, Index k, Index offset, const Choices& choices) {
    Scalar* to = probabilities + i * columns + offset;
    if (Choices::masked) std::fill_n(to, logits.sizes[k], Scalar(0));
    const LogNormalizer<Scalar> normalizer(choices.logits, choices.count);
    for (Index a = 0; a < choices.count; ++a) to[choices.action(a)] = std::exp(normalizer.log_prob(choices.logits[a]));
  });
}

template <typename Scalar>
void categorical_mode(LogitRows<Scalar> logits, std::int64_t* actions) {
  for_each_group(logits, [&]<typename Choices>(Index i, Index k, Index, const Choices& choices) {
    actions[i * logits.groups + k] = choices.action(row_mode(choices.logits, choices.count));
  });
}

template <typename Scalar>
void categorical_sample(LogitRows<Scalar> logits, const RowKey& key, std::int64_t* actions, Scalar* log_prob) {
  for_each_group(logits, [&]<typename Choices>(Index i, Index k, Index, const Choices& choices) {
    const double u = uniform(key.block(i, k));
    const LogNormalizer<Scalar> normalizer(choices.logits, choices.count);
    const Index choice = row_sample(choices.logits, choices.count, u, normalizer);
    actions[i * logits.groups + k] = choices.action(choice);
    add_term(log_prob[i], k, normalizer.log_prob(choices.logits[choice]));
  });
}

template <typename Scalar>
void categorical_gradient(LogitRows<Scalar> logits, const std::int64_t* actions, const Scalar* weight_log_prob,
                          const Scalar* weight_entropy, Scalar* dlogits, Index dlogits_ld) {
  for_each_group(logits, [&]<typename Choices>(Index i, Index k, Index offset, const Choices& choices) {
    const Index choice = choices.choice(actions[i * logits.groups + k]);
    const Scalar entropy_weight = weight_entropy == nullptr ? Scalar(0) : weight_entropy[i];
    Scalar* to = dlogits + i * dlogits_ld + offset;
    if constexpr (!Choices::masked) {
      row_gradient(choices.logits, choices.count, choice, weight_log_prob[i], entropy_weight, to);
    } else {
      row_gradient(choices.logits, choices.count, std::max(choice, Index{0}),
                   choice < 0 ? Scalar(0) : weight_log_prob[i], entropy_weight, choices.scratch);
      std::fill_n(to, logits.sizes[k], Scalar(0));
      for (Index a = 0; a < choices.count; ++a) to[choices.action(a)] = choices.scratch[a];
    }
  });
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                  \
  template void categorical_log_prob(LogitRows<Scalar>, const std::int64_t*, Scalar*);                              \
  template void categorical_entropy(LogitRows<Scalar>, Scalar*);                                                    \
  template void categorical_kl(LogitRows<Scalar>, LogitRows<Scalar>, Scalar*);                                      \
  template void categorical_likelihood_ratio(LogitRows<Scalar>, LogitRows<Scalar>, const std::int64_t*, Scalar*);   \
  template void categorical_probabilities(LogitRows<Scalar>, Scalar*);                                              \
  template void categorical_mode(LogitRows<Scalar>, std::int64_t*);                                                 \
  template void categorical_sample(LogitRows<Scalar>, const RowKey&, std::int64_t*, Scalar*);                       \
  template void categorical_gradient(LogitRows<Scalar>, const std::int64_t*, const Scalar*, const Scalar*, Scalar*, \
                                     Index);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
