// How rows are split into chunks: by the size of the network alone, so that threads do not matter.
#pragma once

#include <algorithm>

#include "pgfast/base/types.hpp"

namespace pgfast {

// A chunk of this many multiply-adds takes some microseconds, several times what handing it to a thread costs.
inline constexpr Index kChunkMultiplyAdds = 250'000;
// Rows of a dense segment taken through its layers at a time.
inline constexpr Index kDenseBlockRows = 64;

/// Rows that make a chunk, from the multiply-adds of one.
inline Index rows_per_chunk(Index multiply_adds) {
  return std::max<Index>(1, kChunkMultiplyAdds / std::max<Index>(1, multiply_adds));
}

}  // namespace pgfast
