// The memory of a forward pass, reused from call to call.
#pragma once

#include <cstdint>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/chain.hpp"
#include "pgfast/nn/leaf.hpp"
#include "pgfast/nn/recurrence.hpp"

namespace pgfast {

template <typename Scalar>
class Network;

/// The results of a forward pass that the products after it need: the inputs and every layer's output for `capacity`
/// rows, and the working memory of the backward pass. A tape belongs to one network, which must outlive it. Several
/// threads may record different rows at once; all other calls are for one thread at a time.
///
/// If the network has a state, `begin` comes first, and row t N + n is step t of sequence n. Whole steps are recorded,
/// one thread at a time, each after the steps before it.
template <typename Scalar>
class Tape {
 public:
  Tape(const Network<Scalar>& network, Index capacity);
  Index capacity() const { return capacity_; }
  const Network<Scalar>& network() const { return network_; }
  /// The network's outputs [capacity, output_size].
  Scalar* outputs() { return heads_.data() == nullptr ? nodes_.back().outputs() : heads_.data(); }
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

  /// Begins `sequences` sequences with copies of the states [sequences, state_size]. Discards all rows and flags.
  void begin(Index sequences, const Scalar* states);
  /// N; 0 before `begin`.
  Index sequences() const { return sequences_; }
  /// Flags of the rows [capacity], false after `begin`, to be set before a row is recorded: whether the state before
  /// the row is zero; whether the state after the row is the one before it. The outputs are those of a step in either
  /// case.
  bool* starts() { return starts_.data(); }
  bool* held() { return held_.data(); }
  /// Writes the states [N, state_size] after the first `rows` rows, which are whole steps.
  void state_after(Index rows, Scalar* to) const;
  /// The gradient [N, state_size] with respect to the initial states, which a vjp leaves.
  const Scalar* state_gradient() const { return state_gradient_.data(); }

 private:
  friend class Network<Scalar>;

  struct NodeMemory {
    ChainMemory<Scalar> chain;
    RecurrenceMemory<Scalar> recurrence;
    Buffer<Scalar> inputs;       // [capacity, input_size], if the node has several
    Buffer<Scalar> delta;        // dL/dy, or the tangent, of its outputs
    Buffer<Scalar> input_delta;  // the same of its inputs

    Scalar* outputs() { return chain.outputs.empty() ? recurrence.outputs.data() : chain.outputs.back().data(); }
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
  Index sequences_ = 0;
  Buffer<Scalar> state_;           // [N, state_size], before the first row
  Buffer<Scalar> state_gradient_;  // the same
  Buffer<bool> starts_;            // [capacity], if the network has a state
  Buffer<bool> held_;
};

extern template class Tape<float>;
extern template class Tape<double>;

}  // namespace pgfast
