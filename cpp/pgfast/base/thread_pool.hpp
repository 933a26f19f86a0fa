// One pool of threads for the whole process, and the only way to use it: parallel_for.
//
// Work is split into chunks fixed by the size of the problem, never by the number of threads; a chunk writes only what
// is its own. So the result is the same bits for any number of threads.
#pragma once

#include <type_traits>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// Threads that parallel_for may use, the caller included. At least 1.
int num_threads();

/// Sets the size of the pool (>= 1). Running work is finished first. Safe to call from any thread outside a chunk.
void set_num_threads(int threads);

namespace thread_pool_detail {
using ChunkFunction = void (*)(void* context, Index chunk);
void run(Index chunks, ChunkFunction function, void* context);
}  // namespace thread_pool_detail

/// Calls function(chunk) once for every chunk in [0, chunks), on up to num_threads() threads, and returns when all are
/// done. Chunks start in order. If some throw, the exception of the lowest chunk that threw is rethrown here; chunks
/// not yet started are then skipped. Called from inside a chunk, or while another thread uses the pool, it runs inline.
/// Does not allocate.
template <typename Function>
void parallel_for(Index chunks, Function&& function) {
  using Callable = std::remove_reference_t<Function>;
  thread_pool_detail::run(
      chunks, [](void* context, Index chunk) { (*static_cast<Callable*>(context))(chunk); },
      const_cast<void*>(static_cast<const void*>(&function)));
}

}  // namespace pgfast
