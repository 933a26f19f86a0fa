// The mask of the losses: `valid` [rows], null where every row counts.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

inline bool is_valid(const bool* valid, Index row) { return valid == nullptr || valid[row]; }

inline Index count_valid(const bool* valid, Index rows) {
  if (valid == nullptr) return rows;
  Index count = 0;
  for (Index i = 0; i < rows; ++i) count += valid[i] ? 1 : 0;
  return count;
}

}  // namespace pgfast
