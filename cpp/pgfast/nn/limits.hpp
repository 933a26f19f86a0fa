// The largest networks: far above the sizes of any policy, and far below those at which 32-bit offsets or products of
// sizes overflow.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

inline constexpr Index kMaxOutputs = Index{1} << 26;
inline constexpr Index kMaxParameters = Index{1} << 32;

}  // namespace pgfast
