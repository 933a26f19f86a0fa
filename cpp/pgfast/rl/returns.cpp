#include "pgfast/rl/returns.hpp"

#include <algorithm>

#include "pgfast/base/thread_pool.hpp"

namespace pgfast {
namespace {

// Environments are independent: a block of them walks backwards through time together, along the rows of memory.
constexpr Index kBlock = 128;

template <typename Function>
void for_each_block_of_environments(Index environments, Function&& function) {
  parallel_for(ceil_divide(environments, kBlock),
               [&](Index block) { function(block * kBlock, std::min(environments, (block + 1) * kBlock)); });
}

}  // namespace

template <typename Scalar>
void discounted_returns(Index steps, Index environments, const Scalar* rewards, const bool* dones,
                        const Scalar* next_values, double discount, Scalar* returns) {
  const auto gamma = static_cast<Scalar>(discount);
  for_each_block_of_environments(environments, [&](Index begin, Index end) {
    const Scalar* next = next_values;
    for (Index t = steps - 1; t >= 0; --t) {
      const Index row = t * environments;
      for (Index n = begin; n < end; ++n)
        returns[row + n] = rewards[row + n] + (dones[row + n] ? Scalar(0) : gamma * next[n]);
      next = returns + row;
    }
  });
}

template <typename Scalar>
void gae(Index steps, Index environments, const Scalar* rewards, const Scalar* values, NextValues<Scalar> next_values,
         const bool* terminated, const bool* truncated, double discount, double gae_lambda, Scalar* advantages,
         Scalar* returns) {
  const auto gamma = static_cast<Scalar>(discount);
  const auto decay = static_cast<Scalar>(discount * gae_lambda);
  for_each_block_of_environments(environments, [&](Index begin, Index end) {
    for (Index t = steps - 1; t >= 0; --t) {
      const Index row = t * environments;
      const bool last = t == steps - 1;
      const Scalar* next = next_values.all != nullptr ? next_values.all + row
                           : last                     ? next_values.last
                                                      : values + row + environments;
      for (Index n = begin; n < end; ++n) {
        const Index i = row + n;
        const Scalar bootstrap = terminated[i] ? Scalar(0) : gamma * next[n];
        const bool cut = last || terminated[i] || (truncated != nullptr && truncated[i]);
        const Scalar carried = cut ? Scalar(0) : decay * advantages[i + environments];
        advantages[i] = (rewards[i] + bootstrap - values[i]) + carried;
        returns[i] = advantages[i] + values[i];
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
