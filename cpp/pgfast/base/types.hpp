// Index, matrix, view and buffer types shared by the whole core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <Eigen/Core>

namespace pgfast {

using Index = std::ptrdiff_t;

template <typename Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <typename Scalar>
using MatrixView = Eigen::Map<Matrix<Scalar>>;

template <typename Scalar>
using ConstMatrixView = Eigen::Map<const Matrix<Scalar>>;

template <typename Scalar>
using ArrayView = Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>;

template <typename Scalar>
using ConstArrayView = Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>;

/// A buffer that grows on demand and is reused between calls. Its memory is aligned for SIMD.
template <typename Scalar>
class Buffer {
 public:
  /// Memory for at least `size` scalars, uninitialized after growth. Allocates only when the buffer grows.
  Scalar* reserve(Index size) {
    if (size > storage_.size()) storage_.resize(size);
    return storage_.data();
  }
  Scalar* data() { return storage_.data(); }
  const Scalar* data() const { return storage_.data(); }

 private:
  Eigen::Array<Scalar, Eigen::Dynamic, 1> storage_;
};

constexpr Index ceil_divide(Index numerator, Index denominator) { return (numerator + denominator - 1) / denominator; }

}  // namespace pgfast
