// Sums in double precision. The order of the additions depends only on their number, neither on the threads nor on the
// alignment of the terms in memory, so that equal terms have equal sums bit for bit.
#pragma once

#include <algorithm>
#include <vector>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/base/types.hpp"

namespace pgfast {

// Short enough for a few arrays of this length to fit the second-level cache.
inline constexpr Index kSumBlock = 1 << 13;
// Up to this many blocks are summed on the calling thread: waking another takes as long.
inline constexpr Index kFewBlocks = 4;

/// The sum of term(i) over i < size, in eight interleaved sums that the compiler keeps in vector registers.
template <typename Term>
double sum_of(Index size, Term&& term) {
  constexpr Index lanes = 8;
  double sums[lanes] = {};
  Index i = 0;
  for (; i + lanes <= size; i += lanes)
    for (Index k = 0; k < lanes; ++k) sums[k] += term(i + k);
  for (; i < size; ++i) sums[i % lanes] += term(i);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/// The sum of term(i) over begin <= i < begin + count, by halves down to 128 terms. This is NumPy's order, so that
/// results once computed by NumPy keep their bits. The rounding error grows only with log(count).
template <typename Term>
// NOLINTNEXTLINE(misc-no-recursion): the depth is log2(count / 128)
double pairwise_sum(Index begin, Index count, const Term& term) {
  constexpr Index lanes = 8;
  if (count > 16 * lanes) {
    const Index half = count / 2 / lanes * lanes;
    return pairwise_sum(begin, half, term) + pairwise_sum(begin + half, count - half, term);
  }
  double s[lanes] = {};
  const Index even = count / lanes * lanes;
  for (Index i = 0; i < even; i += lanes)
    for (Index k = 0; k < lanes; ++k) s[k] += term(begin + i + k);
  double sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  for (Index i = even; i < count; ++i) sum += term(begin + i);
  return sum;
}

/// a'b of two vectors of any precision.
template <typename A, typename B>
double dot(const A* a, const B* b, Index size) {
  return sum_of(size, [=](Index i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

/// The sum of part(begin, count) over consecutive blocks, computed in parallel and added in block order. `parts` is
/// working memory, which callers keep between calls.
template <typename Part>
double sum_over_blocks(Index size, std::vector<double>& parts, Part&& part) {
  const Index blocks = ceil_divide(size, kSumBlock);
  parts.resize(static_cast<std::size_t>(blocks));
  const auto add_up = [&](Index block) {
    const Index begin = block * kSumBlock;
    parts[static_cast<std::size_t>(block)] = part(begin, std::min(kSumBlock, size - begin));
  };
  if (blocks > kFewBlocks) {
    parallel_for(blocks, add_up);
  } else {
    for (Index block = 0; block < blocks; ++block) add_up(block);
  }
  double sum = 0;
  for (const double value : parts) sum += value;
  return sum;
}

}  // namespace pgfast
