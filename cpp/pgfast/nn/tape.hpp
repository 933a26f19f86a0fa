// The memory of a forward pass, reused from call to call.
#pragma once

#include <cstdint>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/chain.hpp"
#include "pgfast/nn/leaf.hpp"

namespace pgfast {

template <typename Scalar>
class Network;

/// The results of a forward pass that the products after it need: the inputs and every layer's output for `capacity`
/// rows, and the working memory of the backward pass. A tape belongs to one network, which must outlive it. Several
/// threads may record different rows at once; all other calls are for one thread at a time.
template <typename Scalar>
class Tape {
 public:
  Tape(const Network<Scalar>& network, Index capacity);
  Index capacity() const { return capacity_; }
  const Network<Scalar>& network() const { return network_; }
  /// The network's outputs [capacity, output_size].
  Scalar* outputs() { return heads_.data() == nullptr ? nodes_.back().chain.outputs.back().data() : heads_.data(); }
  /// Memory for the gradient of a loss with respect to the outputs of the first `rows` rows.
  Scalar* output_gradients(Index rows);

  /// The inputs of the rows; null before any are reserved or borrowed.
  Inputs inputs() const { return inputs_; }
  /// One past the last row that was reserved.
  Index rows() const { return rows_; }
  /// The tape's memory for the rows of inputs, initially zero. All inputs must be of one kind, bytes or not. Must be
  /// called before rows up to `end` are recorded, by one thread at a time.
  void* reserve_inputs(bool bytes, Index end);
  /// Refers to the caller's memory instead, which holds the rows from 0 on.
  void borrow_inputs(Inputs x) { inputs_ = x; }
  /// The forward pass of reserved rows from `first_row` on. Copies their inputs unless `x` is the tape's memory of
  /// these rows.
  void record(const Scalar* parameters, Inputs x, Index first_row, Index rows);

 private:
  friend class Network<Scalar>;

  struct NodeMemory {
    ChainMemory<Scalar> chain;
    Buffer<Scalar> inputs;       // [capacity, input_size], if the node has several
    Buffer<Scalar> delta;        // dL/dy, or the tangent, of its outputs
    Buffer<Scalar> input_delta;  // the same of its inputs
  };

  const Network<Scalar>& network_;
  Index capacity_;
  Index rows_ = 0;
  Inputs inputs_{nullptr, false};
  Buffer<std::uint8_t> input_memory_;
  std::vector<NodeMemory> nodes_;
  Buffer<Scalar> heads_;  // [capacity, output_size], if there are several
  Buffer<Scalar> output_gradients_;
  Buffer<Scalar> tangents_;      // of the outputs, if computed for all rows at once
  std::vector<bool> has_delta_;  // of the nodes, in a backward pass
};

extern template class Tape<float>;
extern template class Tape<double>;

}  // namespace pgfast
