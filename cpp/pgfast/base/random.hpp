// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Each number is a pure function of (seed, stream, environment, step), so it does not depend on the order of the draws.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pgfast {

using PhiloxBlock = std::array<std::uint32_t, 4>;

inline PhiloxBlock philox(std::uint64_t key, PhiloxBlock counter) {
  auto low = static_cast<std::uint32_t>(key);
  auto high = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ low, static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ high, static_cast<std::uint32_t>(product0)};
    low += 0x9E3779B9u;
    high += 0xBB67AE85u;
  }
  return counter;
}

/// The block of random bits with the key (seed, stream, environment, step, draw). The lower 48 bits of `step` are used;
/// the upper 16 bits of the last counter word hold the stream.
inline PhiloxBlock random_block(std::uint64_t seed, std::uint16_t stream, std::uint32_t environment, std::uint64_t step,
                                std::uint32_t draw = 0) {
  return philox(seed, {environment, draw, static_cast<std::uint32_t>(step),
                       (static_cast<std::uint32_t>(step >> 32) & 0xFFFFu) | (std::uint32_t{stream} << 16)});
}

/// Uniform in [0, 1) with 53 bits, from words 0 and 1 (half 0) or 2 and 3 (half 1) of a block.
inline double uniform(const PhiloxBlock& block, std::size_t half = 0) {
  const std::uint64_t bits = (std::uint64_t{block[2 * half]} << 32) | block[2 * half + 1];
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

/// Two independent standard normal numbers (Box and Muller, 1958) from one block.
inline std::array<double, 2> normal_pair(const PhiloxBlock& block) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform(block, 0)));
  const double angle = 6.283185307179586476925 * uniform(block, 1);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace pgfast
