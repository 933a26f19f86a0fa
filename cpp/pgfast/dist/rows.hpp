// What the distributions share: the split of rows among threads, the keys of random numbers, and the ratio of two
// likelihoods.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "pgfast/base/random.hpp"
#include "pgfast/base/thread_pool.hpp"
#include "pgfast/base/types.hpp"

namespace pgfast {

inline constexpr Index kRowsPerChunk = 2048;

/// Calls function(chunk, begin, end) for consecutive chunks of at most kRowsPerChunk rows.
template <typename Function>
void for_each_row_chunk(Index rows, Function&& function) {
  parallel_for(ceil_divide(rows, kRowsPerChunk), [&](Index chunk) {
    const Index begin = chunk * kRowsPerChunk;
    function(chunk, begin, std::min(rows, begin + kRowsPerChunk));
  });
}

template <typename Function>
void for_each_row(Index rows, Function&& function) {
  for_each_row_chunk(rows, [&](Index, Index begin, Index end) {
    for (Index i = begin; i < end; ++i) function(i);
  });
}

/// The key of a sample's random numbers. Draw k of row i is that of (seed, stream, first_environment + i, step,
/// first_draw + k).
struct RowKey {
  std::uint64_t seed;
  std::uint16_t stream;
  std::uint32_t first_environment;
  std::uint64_t step;
  std::uint32_t first_draw = 0;

  PhiloxBlock block(Index row, Index k) const {
    return random_block(seed, stream, first_environment + static_cast<std::uint32_t>(row), step,
                        first_draw + static_cast<std::uint32_t>(k));
  }
};

inline constexpr int kLargestLogRatio = 80;

/// new - old, clamped to +-kLargestLogRatio, so that its exponential is finite and positive in either precision.
/// Log-probabilities are clamped first: if both were infinite with the same sign, their difference would be NaN.
template <typename Scalar>
Scalar clamped_log_ratio(Scalar new_log_prob, Scalar old_log_prob) {
  constexpr Scalar kMax = std::numeric_limits<Scalar>::max() / 2;
  const Scalar log_ratio = std::clamp(new_log_prob, -kMax, kMax) - std::clamp(old_log_prob, -kMax, kMax);
  return std::clamp(log_ratio, Scalar(-kLargestLogRatio), Scalar(kLargestLogRatio));
}

/// exp(new - old), the exponent clamped.
template <typename Scalar>
Scalar likelihood_ratio(Scalar new_log_prob, Scalar old_log_prob) {
  return std::exp(clamped_log_ratio(new_log_prob, old_log_prob));
}

}  // namespace pgfast
