#include "pgfast/rl/transitions.hpp"

#include <algorithm>
#include <cmath>

namespace pgfast {

template <typename Scalar, typename Number>
Index to_bounds(Index rows, Index columns, const Scalar* actions, const double* low, const double* high,
                const bool* scaled, Number* out) {
  for (Index i = 0; i < rows; ++i) {
    bool is_finite = true;
    for (Index j = 0; j < columns; ++j) {
      auto number = static_cast<double>(actions[i * columns + j]);
      is_finite &= std::isfinite(number);
      if (scaled != nullptr && scaled[j]) {
        // Exactly low and high at the ends, without an overflow between them.
        const double share = (std::min(std::max(number, -1.0), 1.0) + 1.0) / 2.0;
        number = (1.0 - share) * low[j] + share * high[j];
      }
      out[i * columns + j] = static_cast<Number>(std::min(std::max(number, low[j]), high[j]));
    }
    if (!is_finite) return i;
  }
  return -1;
}

bool are_choices(Index rows, Index columns, const std::int64_t* choices, const std::int64_t* sizes) {
  bool all = true;
  for (Index i = 0; i < rows; ++i)
    for (Index k = 0; k < columns; ++k) {
      const std::int64_t choice = choices[i * columns + k];
      all &= choice >= 0 && choice < sizes[k];
    }
  return all;
}

void read_flags(Index n, const bool* terminated, const bool* truncated, const bool* reset, const bool* restarted,
                const StepFlags& flags) {
  for (Index i = 0; i < n; ++i) {
    const bool stepped = !(reset[i] || restarted[i]);
    flags.stepped[i] = stepped;
    flags.terminated[i] = terminated[i] && stepped;
    flags.truncated[i] = (truncated[i] && stepped) || restarted[i];
    flags.ended[i] = (terminated[i] || truncated[i]) && stepped;
  }
}

void add_step(Index n, const double* rewards, const bool* stepped, double* returns, std::int64_t* lengths) {
  for (Index i = 0; i < n; ++i) {
    returns[i] += rewards[i];
    lengths[i] += static_cast<std::int64_t>(stepped[i]);
  }
}

template <typename Scalar>
void store_row(Index t, Index n, const double* rewards, const bool* terminated, const bool* truncated,
               const bool* valid, const bool* stepped, const RolloutRows<Scalar>& rollout) {
  const Index row = t * n;
  for (Index i = 0; i < n; ++i) rollout.rewards[row + i] = static_cast<Scalar>(rewards[i]);
  std::copy_n(terminated, n, rollout.terminated + row);
  std::copy_n(truncated, n, rollout.truncated + row);
  std::copy_n(valid, n, rollout.valid + row);
  for (Index i = 0; i < n; ++i) rollout.time[row + n + i] = stepped[i] ? rollout.time[row + i] + 1 : 0;
}

template Index to_bounds(Index, Index, const float*, const double*, const double*, const bool*, float*);
template Index to_bounds(Index, Index, const float*, const double*, const double*, const bool*, double*);
template Index to_bounds(Index, Index, const double*, const double*, const double*, const bool*, float*);
template Index to_bounds(Index, Index, const double*, const double*, const double*, const bool*, double*);
template void store_row(Index, Index, const double*, const bool*, const bool*, const bool*, const bool*,
                        const RolloutRows<float>&);
template void store_row(Index, Index, const double*, const bool*, const bool*, const bool*, const bool*,
                        const RolloutRows<double>&);

}  // namespace pgfast
