// The one thread pool of the process. Kernels use it only through parallel_for.
//
// Work is split into chunks fixed by the size of the problem, never by the number of threads, and no two chunks write
// to the same memory. The result therefore has the same bits for any number of threads.
#pragma once

#include <type_traits>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// Number of threads that parallel_for may use, including the caller. At least 1.
int num_threads();

/// Sets the size of the pool (>= 1) once running work has finished. Safe to call from any thread outside a chunk.
void set_num_threads(int threads);

namespace thread_pool_detail {
using ChunkFunction = void (*)(void* context, Index chunk);
void run(Index chunks, Index most_threads, ChunkFunction function, void* context);
}  // namespace thread_pool_detail

/// Calls function(chunk) once for every chunk in [0, chunks), on up to num_threads() threads, and returns when all are
/// done. Chunks start in order. If a chunk throws, chunks not yet started are skipped and the exception of the lowest
/// chunk that threw is rethrown here. A call from inside a chunk, or while another thread uses the pool, runs inline.
/// At most `most_threads` take part: fewer than there are chunks if some chunks are not worth waking a thread.
/// Does not allocate.
template <typename Function>
void parallel_for(Index chunks, Index most_threads, Function&& function) {
  using Callable = std::remove_reference_t<Function>;
  thread_pool_detail::run(
      chunks, most_threads, [](void* context, Index chunk) { (*static_cast<Callable*>(context))(chunk); },
      const_cast<void*>(static_cast<const void*>(&function)));
}

template <typename Function>
void parallel_for(Index chunks, Function&& function) {
  parallel_for(chunks, chunks, function);
}

}  // namespace pgfast
