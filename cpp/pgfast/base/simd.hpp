// The widest vector of the instruction set this file is compiled for, through the GCC/Clang vector extension: one
// source for SSE, AVX2 and NEON without intrinsics.
#pragma once

#include <cstring>

#include "pgfast/base/types.hpp"

namespace pgfast {

#if defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <typename Scalar>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};

template <typename Scalar>
using Vector = typename VectorOf<Scalar>::type;

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

}  // namespace pgfast
