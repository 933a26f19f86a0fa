// Splits rows into chunks by the size of the network alone, so that results do not depend on the number of threads.
#pragma once

#include <algorithm>

#include "pgfast/base/types.hpp"

namespace pgfast {

// A chunk of this many multiply-adds takes about ten microseconds, twice the time to wake a thread.
inline constexpr Index kChunkMultiplyAdds = 500'000;
// Rows that pass through the layers of a dense segment at a time.
inline constexpr Index kDenseBlockRows = 64;

/// Rows per chunk, given the multiply-adds of one row.
inline Index rows_per_chunk(Index multiply_adds) {
  return std::max<Index>(1, kChunkMultiplyAdds / std::max<Index>(1, multiply_adds));
}

}  // namespace pgfast
