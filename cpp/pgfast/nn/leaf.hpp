// The leaves of an observation: the place of their numbers in a row of inputs, and their meaning for a network.
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// The memory layout of an image: [channels, height, width] as environments stack frames, or [height, width, channels]
/// as every convolution here writes its output.
enum class ImageLayout { channels_first, channels_last };

struct Leaf {
  std::vector<Index> shape;  // {features}, or the three axes of an image
  ImageLayout layout = ImageLayout::channels_first;
  bool bytes = false;  // stored as bytes, else as scalars
  Index offset = 0;    // of the first number within a row, in bytes
  double low = 0.0;    // a byte b stands for (b - low) / (high - low)
  double high = 255.0;
  std::vector<Index> choices;  // unless empty, each number is a code from 0 on and below its entry, taken one-hot

  Index size() const { return std::accumulate(shape.begin(), shape.end(), Index{1}, std::multiplies<>()); }
};

/// Rows of inputs: scalars; bytes, if the only leaf is taken as bytes; or leaves side by side at their offsets.
struct Inputs {
  const void* data;
  bool bytes;
};

/// Where a chain of layers reads its rows: a leaf of the inputs, or rows of scalars that other chains have written.
template <typename Scalar>
struct Source {
  const Leaf* leaf;       // null: `numbers`
  const void* data;       // the inputs
  Index row_bytes;        // of the inputs
  bool bytes;             // whether the leaf is stored as bytes
  const Scalar* numbers;  // [rows, size]

  /// Rows [row, row + rows) as scalars [rows, size]: in place if they are stored so, else converted into `scratch`.
  const Scalar* rows(Index row, Index rows, Index size, Buffer<Scalar>& scratch) const {
    if (leaf == nullptr) return numbers + row * size;
    const std::uint8_t* first = static_cast<const std::uint8_t*>(data) + row * row_bytes + leaf->offset;
    if (!bytes && row_bytes == size * static_cast<Index>(sizeof(Scalar))) return reinterpret_cast<const Scalar*>(first);
    Scalar* values = scratch.reserve(rows * size);
    const auto low = static_cast<Scalar>(leaf->low);
    const Scalar scale = Scalar(1) / static_cast<Scalar>(leaf->high - leaf->low);
    for (Index i = 0; i < rows; ++i) {
      const std::uint8_t* from = first + i * row_bytes;
      Scalar* to = values + i * size;
      if (!bytes) {
        std::copy_n(reinterpret_cast<const Scalar*>(from), size, to);
      } else {
        for (Index j = 0; j < size; ++j) to[j] = (static_cast<Scalar>(from[j]) - low) * scale;
      }
    }
    return values;
  }
};

}  // namespace pgfast
