// Products of a network's Jacobian with vectors. Gradients flow against the order of the nodes; where a node is read
// twice, they are added in this order, so that they do not depend on the number of threads.
#include <algorithm>
#include <vector>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast {

/// Divides dL/d outputs [rows, output_size] among the heads.
template <typename Scalar>
void Network<Scalar>::take_output_gradients(const Scalar* dy, Index rows, Tape<Scalar>& tape) const {
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    if (nodes_[n].head_column < 0) continue;
    const Index width = nodes_[n].output_size();
    Scalar* to = tape.nodes_[n].delta.reserve(rows * width);
    if (width == output_size_) {
      std::copy_n(dy, rows * width, to);
    } else {
      const Scalar* from = dy + nodes_[n].head_column;
      for (Index row = 0; row < rows; ++row) std::copy_n(from + row * output_size_, width, to + row * width);
    }
  }
}

/// Adds dx [rows, input_size] of a node to the gradients of the nodes that it reads, which have one if `has_delta`.
template <typename Scalar>
void Network<Scalar>::pass_on(const Node& node, const Scalar* dx, Index rows, std::vector<bool>& has_delta,
                              Tape<Scalar>& tape) const {
  const Index size = node.input_size();
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const auto& [is_leaf, index] = node.inputs[i];
    const Index width = node.widths[i];
    if (!is_leaf) {
      Scalar* delta = tape.nodes_[index].delta.reserve(rows * width);
      if (!has_delta[index]) std::fill_n(delta, rows * width, Scalar(0));
      for (Index row = 0; row < rows; ++row)
        ArrayView<Scalar>(delta + row * width, width) += ConstArrayView<Scalar>(dx + row * size, width);
      has_delta[index] = true;
    }
    dx += width;
  }
}

template <typename Scalar>
void Network<Scalar>::vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy, Scalar* gradient,
                          const LayerVisitor<Scalar>* visitor) const {
  take_output_gradients(dy, rows, tape);
  std::vector<bool>& has_delta = tape.has_delta_;
  for (std::size_t n = 0; n < nodes_.size(); ++n) has_delta[n] = nodes_[n].head_column >= 0;
  for (Index n = static_cast<Index>(nodes_.size()) - 1; n >= 0; --n) {
    const Node& node = nodes_[n];
    auto& memory = tape.nodes_[n];
    if (!has_delta[n]) {  // no head reads it
      if (gradient != nullptr) std::fill_n(gradient + node.offset, node.parameter_count(), Scalar(0));
      continue;
    }
    Scalar* dx = node.differentiates_inputs ? memory.input_delta.reserve(rows * node.input_size()) : nullptr;
    const Source<Scalar> inputs = source(n, tape);
    Scalar* to = gradient == nullptr ? nullptr : gradient + node.offset;
    if (node.recurrence() != nullptr)
      node.recurrence()->vjp(parameters + node.offset, inputs, sequences(node, tape), rows, memory.recurrence,
                             memory.delta.data(), to, dx, tape.state_gradient_.data() + node.state_column);
    else
      node.chain().vjp(parameters + node.offset, inputs, rows, memory.chain, memory.delta.data(), to, dx, visitor);
    if (dx != nullptr) pass_on(node, dx, rows, has_delta, tape);
  }
}

template <typename Scalar>
void Network<Scalar>::per_sample_vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy,
                                     Scalar* gradients, Index ld) const {
  prepare_products(parameters, tape);
  Index multiply_adds = 0;
  for (const Node& node : nodes_) multiply_adds += node.chain().multiply_adds();
  const Index chunk_rows = rows_per_chunk(multiply_adds);
  for_each_chunk(rows, chunk_rows, [&](Index begin, Index end) {
    thread_local std::vector<Buffer<Scalar>> deltas;
    thread_local Buffer<Scalar> input_delta;
    if (deltas.size() < nodes_.size()) deltas.resize(nodes_.size());
    for (Index row = begin; row < end; ++row) {
      std::fill_n(gradients + row * ld, parameter_count_, Scalar(0));
      for (std::size_t n = 0; n < nodes_.size(); ++n) {
        const Index width = nodes_[n].output_size();
        Scalar* delta = deltas[n].reserve(width);
        if (nodes_[n].head_column >= 0)
          std::copy_n(dy + row * output_size_ + nodes_[n].head_column, width, delta);
        else
          std::fill_n(delta, width, Scalar(0));
      }
      for (Index n = static_cast<Index>(nodes_.size()) - 1; n >= 0; --n) {
        const Node& node = nodes_[n];
        Scalar* dx = node.differentiates_inputs ? input_delta.reserve(node.input_size()) : nullptr;
        node.chain().row_vjp(source(n, tape), row, tape.nodes_[n].chain, deltas[n].data(),
                             gradients + row * ld + node.offset, dx);
        if (dx == nullptr) continue;
        for (std::size_t i = 0; i < node.inputs.size(); ++i) {
          if (!node.inputs[i].is_leaf)
            ArrayView<Scalar>(deltas[node.inputs[i].index].data(), node.widths[i]) +=
                ConstArrayView<Scalar>(dx, node.widths[i]);
          dx += node.widths[i];
        }
      }
    }
  });
}

/// The tangents [rows, input_size] of a node's inputs; null if it reads only leaves, which have none.
template <typename Scalar>
const Scalar* Network<Scalar>::gather_tangents(Index n, Index rows, Tape<Scalar>& tape) const {
  const Node& node = nodes_[n];
  if (!node.differentiates_inputs) return nullptr;
  if (!node.gathers()) return tape.nodes_[node.inputs.front().index].delta.data();
  const Index size = node.input_size();
  Scalar* tangents = tape.nodes_[n].input_delta.reserve(rows * size);
  Scalar* column = tangents;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const auto& [is_leaf, index] = node.inputs[i];
    const Index width = node.widths[i];
    const Scalar* from = is_leaf ? nullptr : tape.nodes_[index].delta.data();
    for (Index row = 0; row < rows; ++row) {
      if (from == nullptr)
        std::fill_n(column + row * size, width, Scalar(0));
      else
        std::copy_n(from + row * width, width, column + row * size);
    }
    column += width;
  }
  return tangents;
}

template <typename Scalar>
void Network<Scalar>::jvp(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape,
                          Scalar* dy) const {
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = nodes_[n];
    const auto index = static_cast<Index>(n);
    const Index width = node.output_size();
    const bool writes_dy = node.head_column >= 0 && width == output_size_;
    Scalar* to = writes_dy ? dy : tape.nodes_[n].delta.reserve(rows * width);
    const Scalar* dx = gather_tangents(index, rows, tape);
    if (node.recurrence() != nullptr)
      node.recurrence()->jvp(parameters + node.offset, tangent + node.offset, source(index, tape),
                             sequences(node, tape), dx, rows, tape.nodes_[n].recurrence, to);
    else
      node.chain().jvp(parameters + node.offset, tangent + node.offset, source(index, tape), dx, rows,
                       tape.nodes_[n].chain, to);
    if (node.head_column < 0 || writes_dy) continue;
    for (Index row = 0; row < rows; ++row)
      std::copy_n(to + row * width, width, dy + row * output_size_ + node.head_column);
  }
}

template <typename Scalar>
void Network<Scalar>::prepare_products(const Scalar* parameters, Tape<Scalar>& tape) const {
  for (std::size_t n = 0; n < nodes_.size(); ++n)
    if (nodes_[n].recurrence() == nullptr)
      nodes_[n].chain().prepare_products(parameters + nodes_[n].offset, tape.nodes_[n].chain);
}

template <typename Scalar>
void Network<Scalar>::curvature_product(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape,
                                        const OutputMap<Scalar>& map, Scalar* product) const {
  if (nodes_.size() == 1 && state_size_ == 0 && nodes_.front().chain().one_segment()) {
    nodes_.front().chain().curvature_product(parameters, tangent, source(0, tape), rows, tape.nodes_.front().chain, map,
                                             product);
    return;
  }
  Scalar* dy = tape.tangents_.reserve(rows * output_size_);
  jvp(parameters, tangent, rows, tape, dy);
  map.apply(0, rows, dy);
  vjp(parameters, rows, tape, dy, product);
}

// The other members are instantiated in network.cpp, with the constructor.
#define PGFAST_INSTANTIATE(Scalar)                                                                                  \
  template void Network<Scalar>::vjp(const Scalar*, Index, Tape<Scalar>&, const Scalar*, Scalar*,                   \
                                     const LayerVisitor<Scalar>*) const;                                            \
  template void Network<Scalar>::per_sample_vjp(const Scalar*, Index, Tape<Scalar>&, const Scalar*, Scalar*, Index) \
      const;                                                                                                        \
  template void Network<Scalar>::jvp(const Scalar*, const Scalar*, Index, Tape<Scalar>&, Scalar*) const;            \
  template void Network<Scalar>::prepare_products(const Scalar*, Tape<Scalar>&) const;                              \
  template void Network<Scalar>::curvature_product(const Scalar*, const Scalar*, Index, Tape<Scalar>&,              \
                                                   const OutputMap<Scalar>&, Scalar*) const;
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
