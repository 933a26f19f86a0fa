#include "pgfast/nn/tape.hpp"

#include <algorithm>
#include <cstring>

#include "pgfast/nn/network.hpp"

namespace pgfast {

template <typename Scalar>
Tape<Scalar>::Tape(const Network<Scalar>& network, Index capacity)
    : network_(network), capacity_(capacity), nodes_(network.nodes_.size()), has_delta_(network.nodes_.size()) {
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    const auto& node = network.nodes_[n];
    if (node.recurrence() != nullptr)
      node.recurrence()->reserve(capacity, nodes_[n].recurrence);
    else
      node.chain().reserve(capacity, nodes_[n].chain);
    if (node.gathers()) nodes_[n].inputs.reserve(capacity * node.input_size());
  }
  if (network.nodes_.back().output_size() != network.output_size()) heads_.reserve(capacity * network.output_size());
  if (network.state_size() == 0) return;
  starts_.reserve(capacity);
  held_.reserve(capacity);
}

template <typename Scalar>
Scalar* Tape<Scalar>::output_gradients(Index rows) {
  return output_gradients_.reserve(rows * network_.output_size());
}

template <typename Scalar>
void* Tape<Scalar>::reserve_inputs(bool bytes, Index end) {
  if (inputs_.data == nullptr) {
    const Index size = capacity_ * network_.row_bytes(bytes);
    std::uint8_t* memory = input_memory_.reserve(size);
    std::fill_n(memory, size, std::uint8_t{0});
    inputs_ = {memory, bytes};
  }
  rows_ = std::max(rows_, end);
  return input_memory_.data();
}

template <typename Scalar>
void Tape<Scalar>::record(const Scalar* parameters, Inputs x, Index first_row, Index rows) {
  const Index row_size = network_.row_bytes(x.bytes);
  const Index offset = first_row * row_size;
  // memmove, because x may be other rows of the same memory.
  if (static_cast<const std::uint8_t*>(inputs_.data) + offset != x.data)
    std::memmove(input_memory_.data() + offset, x.data, static_cast<std::size_t>(rows * row_size));
  network_.forward(parameters, first_row, rows, *this);
}

template <typename Scalar>
void Tape<Scalar>::begin(Index sequences, const Scalar* states) {
  const Index size = sequences * network_.state_size();
  sequences_ = sequences;
  rows_ = 0;
  std::copy_n(states, size, state_.reserve(size));
  std::fill_n(state_gradient_.reserve(size), size, Scalar(0));
  for (bool* flags : {starts(), held()}) std::fill_n(flags, capacity_, false);
}

template <typename Scalar>
void Tape<Scalar>::state_after(Index rows, Scalar* to) const {
  const Index size = network_.state_size();
  if (rows == 0) {
    std::copy_n(state_.data(), sequences_ * size, to);
    return;
  }
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    const auto& node = network_.nodes_[n];
    if (node.recurrence() == nullptr) continue;
    for (Index i = 0; i < sequences_; ++i)
      node.recurrence()->state_after(network_.sequences(node, *this), rows - sequences_ + i, nodes_[n].recurrence,
                                     to + i * size + node.state_column);
  }
}

template class Tape<float>;
template class Tape<double>;

}  // namespace pgfast
