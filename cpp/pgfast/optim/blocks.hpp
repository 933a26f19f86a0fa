// The one way in which elementwise updates are split among threads.
#pragma once

#include <algorithm>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/base/types.hpp"

namespace pgfast {

// Large enough to be worth handing to a thread.
inline constexpr Index kUpdateBlock = 1 << 14;

/// function(block, begin, count) for consecutive blocks of at most kUpdateBlock entries.
template <typename Function>
void for_each_block(Index size, Function&& function) {
  parallel_for(ceil_divide(size, kUpdateBlock), [&](Index block) {
    const Index begin = block * kUpdateBlock;
    function(block, begin, std::min(kUpdateBlock, size - begin));
  });
}

}  // namespace pgfast
