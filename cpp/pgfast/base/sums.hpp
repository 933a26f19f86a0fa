// Sums in double precision whose order depends on nothing but their length: not on threads, nor on where the numbers
// lie in memory.
#pragma once

#include <algorithm>
#include <vector>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/base/types.hpp"

namespace pgfast {

// Long enough to be worth waking another thread for, short enough that some arrays of it fit the second-level cache.
inline constexpr Index kSumBlock = 1 << 13;

/// sum over i < size of term(i), in eight interleaved sums that the compiler keeps in vector registers.
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

/// a'b of two vectors of any precision.
template <typename A, typename B>
double dot(const A* a, const B* b, Index size) {
  return sum_of(size, [=](Index i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

/// The sum of part(begin, count) over consecutive blocks, run side by side and added in their order. `parts` is
/// working memory that is kept between calls.
template <typename Part>
double sum_over_blocks(Index size, std::vector<double>& parts, Part&& part) {
  parts.resize(static_cast<std::size_t>(ceil_divide(size, kSumBlock)));
  parallel_for(static_cast<Index>(parts.size()), [&](Index block) {
    const Index begin = block * kSumBlock;
    parts[static_cast<std::size_t>(block)] = part(begin, std::min(kSumBlock, size - begin));
  });
  double sum = 0;
  for (const double value : parts) sum += value;
  return sum;
}

}  // namespace pgfast
