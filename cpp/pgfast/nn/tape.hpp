// The memory of a forward pass.
#pragma once

#include <cstdint>
#include <vector>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// Rows of inputs: scalars taken as they are, or bytes that stand for byte / 255.
struct Inputs {
  const void* data;
  bool bytes;
};

template <typename Scalar>
class Network;

/// What a forward pass leaves behind for the products that follow it: the inputs and every layer's output for
/// `capacity` rows, and the working memory of the backward pass, reused from call to call. For the one network it was
/// made for, which must outlive it. Several threads may record different rows at once; all else is for one thread at a
/// time.
template <typename Scalar>
class Tape {
 public:
  Tape(const Network<Scalar>& network, Index capacity);
  Index capacity() const { return capacity_; }
  const Network<Scalar>& network() const { return network_; }
  /// The network's outputs [capacity, output_size].
  Scalar* outputs() { return outputs_.back().data(); }
  /// Memory for the gradient of a loss at the outputs of the first `rows` rows.
  Scalar* output_gradients(Index rows);

  /// The inputs of the rows; null before the first.
  Inputs inputs() const { return inputs_; }
  /// One more than the last row that was reserved.
  Index rows() const { return rows_; }
  /// The tape's own memory for inputs [capacity, input_size], zero at first. All are of one kind, bytes or scalars. To
  /// be called before rows up to `end` are recorded, by one thread at a time.
  void* reserve_inputs(bool bytes, Index end);
  /// Refers to the caller's memory instead, which holds rows from 0 on.
  void borrow_inputs(Inputs x) { inputs_ = x; }
  /// The forward pass of reserved rows from `first_row` on. Copies their inputs, unless `x` is the tape's memory of
  /// them.
  void record(const Scalar* parameters, Inputs x, Index first_row, Index rows);

 private:
  friend class Network<Scalar>;
  const Network<Scalar>& network_;
  Index capacity_;
  Index rows_ = 0;
  Inputs inputs_{nullptr, false};
  Buffer<std::uint8_t> own_inputs_;
  std::vector<Buffer<Scalar>> outputs_;  // per layer [capacity, its output size]
  Buffer<Scalar> output_gradients_;
  Buffer<Scalar> scaled_inputs_;  // bytes as scalars, where the first layer wants all rows at once
  Buffer<Scalar> deltas_[2];      // dL/dy, or the tangent, of one segment and of the one below it
  Buffer<Scalar> tangents_;       // of the outputs, where they are taken for all rows at once
  Buffer<Scalar> transposed_;     // the weights transposed, where the parameters have them
  Buffer<Scalar> partials_;       // the gradients of the chunks of rows
};

extern template class Tape<float>;
extern template class Tape<double>;

}  // namespace pgfast
