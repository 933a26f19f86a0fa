// Splits rows into chunks by the size of the network alone, so that results do not depend on the number of threads.
#pragma once

#include <algorithm>

#include "pgfast/base/thread_pool.hpp"
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

/// The number of threads that pay for these rows: one for every two chunks, as small products come with pauses between
/// them, after which a thread must be woken. A row that fills a chunk alone may take much longer than that.
inline Index worthwhile_threads(Index rows, Index chunk_rows) {
  return chunk_rows == 1 ? rows : rows / (2 * chunk_rows);
}

/// Calls function(begin, end) for consecutive chunks of at most `chunk_rows` rows.
template <typename Function>
void for_each_chunk(Index rows, Index chunk_rows, Function&& function) {
  parallel_for(ceil_divide(rows, chunk_rows), worthwhile_threads(rows, chunk_rows),
               [&](Index chunk) { function(chunk * chunk_rows, std::min(rows, (chunk + 1) * chunk_rows)); });
}

}  // namespace pgfast
