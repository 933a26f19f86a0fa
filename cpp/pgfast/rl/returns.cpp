#include "pgfast/rl/returns.hpp"

#include <algorithm>

#include "pgfast/base/simd.hpp"
#include "pgfast/base/thread_pool.hpp"

namespace pgfast {
namespace {

// Environments are independent: a block of them is processed backward in time, along the rows of memory. It is
// wide because one descending stream through whole rows reads memory twice as fast as two threads that share the rows.
constexpr Index kBlock = 1024;

template <typename Function>
void for_each_block_of_environments(Index environments, Function&& function) {
  parallel_for(ceil_divide(environments, kBlock),
               [&](Index block) { function(block * kBlock, std::min(kBlock, environments - block * kBlock)); });
}

/// Access to a whole vector of a row; Partial is access to the last, shorter one.
template <typename Scalar>
struct Whole {
  Vector<Scalar> operator()(const Scalar* from) const { return load(from); }
  Mask<Scalar> operator()(const bool* from) const { return load_flags<Scalar>(from); }
  void write(Scalar* to, Vector<Scalar> value) const { store(to, value); }
};

template <typename Scalar>
struct Partial {
  Index count;
  Vector<Scalar> operator()(const Scalar* from) const { return load_some(from, count); }
  Mask<Scalar> operator()(const bool* from) const { return load_flags<Scalar>(from, count); }
  void write(Scalar* to, Vector<Scalar> value) const { store_some(to, value, count); }
};

/// Calls function(n, access) for every vector of environments, which begins at n, the last vector first. Rows also go
/// backward, so that all memory is read and written in one descending stream.
template <typename Scalar, typename Function>
void for_each_vector(Index size, Function&& function) {
  constexpr Index lanes = kLanes<Scalar>;
  Index n = size / lanes * lanes;
  if (n < size) function(n, Partial<Scalar>{size - n});
  while (n > 0) {
    n -= lanes;
    function(n, Whole<Scalar>{});
  }
}

}  // namespace

template <typename Scalar>
void discounted_returns(Index steps, Index environments, const Scalar* rewards, const bool* dones,
                        const Scalar* next_values, double discount, Scalar* returns) {
  const auto gamma = static_cast<Scalar>(discount);
  for_each_block_of_environments(environments, [&](Index begin, Index count) {
    for (Index t = steps - 1; t >= 0; --t) {
      const Index row = t * environments + begin;
      const Scalar* next = t == steps - 1 ? next_values + begin : returns + row + environments;
      for_each_vector<Scalar>(count, [=](Index n, auto access) {
        const Index i = row + n;
        const Vector<Scalar> following = zero_where<Scalar>(access(dones + i), gamma * access(next + n));
        access.write(returns + i, access(rewards + i) + following);
      });
    }
  });
}

template <typename Scalar>
void gae(Index steps, Index environments, const Scalar* rewards, const Scalar* values, NextValues<Scalar> next_values,
         const bool* terminated, const bool* truncated, double discount, double gae_lambda, Scalar* advantages,
         Scalar* returns) {
  const auto gamma = static_cast<Scalar>(discount);
  const auto decay = static_cast<Scalar>(discount * gae_lambda);
  for_each_block_of_environments(environments, [&](Index begin, Index count) {
    Scalar later[kBlock] = {};  // A_{t+1}
    for (Index t = steps - 1; t >= 0; --t) {
      const Index row = t * environments + begin;
      const Scalar* next = next_values.all != nullptr ? next_values.all + row
                           : t == steps - 1           ? next_values.last + begin
                                                      : values + row + environments;
      const auto step = [=, &later](Index n, auto access, Mask<Scalar> ended, Mask<Scalar> cut) {
        const Index i = row + n;
        const Vector<Scalar> value = access(values + i);
        const Vector<Scalar> following = zero_where<Scalar>(ended, gamma * access(next + n));
        const Vector<Scalar> error = access(rewards + i) + following - value;
        const Vector<Scalar> advantage = error + zero_where<Scalar>(cut, decay * load(later + n));
        store(later + n, advantage);
        access.write(advantages + i, advantage);
        access.write(returns + i, advantage + value);
      };
      if (truncated == nullptr) {
        for_each_vector<Scalar>(count, [=](Index n, auto access) {
          const Mask<Scalar> ended = access(terminated + row + n);
          step(n, access, ended, ended);
        });
      } else {
        for_each_vector<Scalar>(count, [=](Index n, auto access) {
          const Mask<Scalar> ended = access(terminated + row + n);
          step(n, access, ended, ended | access(truncated + row + n));
        });
      }
    }
  });
}

template void discounted_returns(Index, Index, const float*, const bool*, const float*, double, float*);
template void discounted_returns(Index, Index, const double*, const bool*, const double*, double, double*);
template void gae(Index, Index, const float*, const float*, NextValues<float>, const bool*, const bool*, double, double,
                  float*, float*);
template void gae(Index, Index, const double*, const double*, NextValues<double>, const bool*, const bool*, double,
                  double, double*, double*);

}  // namespace pgfast
