// Splits elementwise updates among threads, in blocks that do not depend on the number of threads.
#pragma once

#include <algorithm>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/base/types.hpp"

namespace pgfast {

// Large enough to be worth waking a thread.
inline constexpr Index kUpdateBlock = 1 << 14;

/// Calls function(block, begin, count) for consecutive blocks of at most kUpdateBlock entries.
template <typename Function>
void for_each_block(Index size, Function&& function) {
  parallel_for(ceil_divide(size, kUpdateBlock), [&](Index block) {
    const Index begin = block * kUpdateBlock;
    function(block, begin, std::min(kUpdateBlock, size - begin));
  });
}

}  // namespace pgfast
