// The widest vector of the instruction set this file is compiled for, through the GCC/Clang vector extension: one
// source for SSE, AVX2, AVX-512 and NEON, nearly without intrinsics.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "pgfast/base/types.hpp"

namespace pgfast {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kVectorRegisters = 16;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kVectorRegisters = 16;
#endif

template <typename Scalar>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t mask __attribute__((vector_size(kVectorBytes)));
};

template <typename Scalar>
using Vector = typename VectorOf<Scalar>::type;

/// Each lane has all bits set or none.
template <typename Scalar>
using Mask = typename VectorOf<Scalar>::mask;

template <typename Scalar>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Scalar));

template <typename Scalar>
inline Vector<Scalar> load(const Scalar* from) {
  Vector<Scalar> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename Scalar>
inline void store(Scalar* to, Vector<Scalar> value) {
  std::memcpy(to, &value, sizeof value);
}

/// Loads the first `count` lanes; the others are 0.
template <typename Scalar>
inline Vector<Scalar> load_some(const Scalar* from, Index count) {
  Vector<Scalar> value = {};
  std::memcpy(&value, from, static_cast<std::size_t>(count) * sizeof(Scalar));
  return value;
}

template <typename Scalar>
inline void store_some(Scalar* to, Vector<Scalar> value, Index count) {
  std::memcpy(to, &value, static_cast<std::size_t>(count) * sizeof(Scalar));
}

/// The mask of the first `count` flags.
template <typename Scalar>
inline Mask<Scalar> load_flags(const bool* from, Index count = kLanes<Scalar>) {
  constexpr int lanes = kLanes<Scalar>;
#if defined(__AVX512F__)
  __m128i bytes = {};
  std::memcpy(&bytes, from, static_cast<std::size_t>(count));
  if constexpr (lanes == 16)
    return std::bit_cast<Mask<Scalar>>(_mm512_cvtepu8_epi32(bytes)) != 0;
  else
    return std::bit_cast<Mask<Scalar>>(_mm512_cvtepu8_epi64(bytes)) != 0;
#else
  // Each lane tests one byte of a word that four lanes share, because compilers split a conversion of bytes into one
  // instruction per byte.
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, from, static_cast<std::size_t>(count));
  Mask<Scalar> words;
  Mask<Scalar> byte_of_lane;
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) {
    words[i] = static_cast<std::int32_t>(i < 4 ? bytes : bytes >> 32);
    byte_of_lane[i] = static_cast<std::int32_t>(0xFFu << (8 * (i % 4)));
  }
  return (words & byte_of_lane) != 0;
#endif
}

/// `value` with the lanes of the mask set to 0.
template <typename Scalar>
inline Vector<Scalar> zero_where(Mask<Scalar> mask, Vector<Scalar> value) {
  return std::bit_cast<Vector<Scalar>>(std::bit_cast<Mask<Scalar>>(value) & ~mask);
}

}  // namespace pgfast
