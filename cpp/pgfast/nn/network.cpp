#include "pgfast/nn/network.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "pgfast/nn/limits.hpp"

namespace pgfast {

template <typename Scalar>
Network<Scalar>::Network(std::vector<Leaf> leaves, Index row_bytes, const std::vector<NodeSpec>& nodes)
    : leaves_(std::move(leaves)), row_bytes_(row_bytes) {
  if (leaves_.empty() || nodes.empty()) throw std::invalid_argument("a network needs at least one input and one layer");
  for (const Leaf& leaf : leaves_) {
    Index size = 1;
    for (const Index extent : leaf.shape) {
      if (extent < 1 || extent > kMaxOutputs / size)
        throw std::invalid_argument("input sizes must be at least 1, and their product at most " +
                                    std::to_string(kMaxOutputs));
      size *= extent;
    }
    const auto width = static_cast<Index>(leaf.bytes ? 1 : sizeof(Scalar));
    if (leaf.offset < 0 || leaf.offset % width != 0 || row_bytes % width != 0 || leaf.offset + size * width > row_bytes)
      throw std::invalid_argument("a leaf of the input lies outside of its row");
    if (!leaf.choices.empty() && std::ssize(leaf.choices) != size)
      throw std::invalid_argument("one-hot inputs need a number of choices for each code");
  }
  const Leaf& first = leaves_.front();
  plain_ = leaves_.size() == 1 && first.size() * static_cast<Index>(first.bytes ? 1 : sizeof(Scalar)) == row_bytes;
  Index layer = 0;
  for (const NodeSpec& spec : nodes) {
    nodes_.push_back(make_node(spec, layer));
    Node& node = nodes_.back();
    std::visit(
        [&](const auto& part) {
          layer += part.layer_count();
          for (ParameterBlock block : part.layout()) {
            block.offset += parameter_count_;
            layout_.push_back(block);
          }
        },
        node.part);
    node.offset = parameter_count_;
    parameter_count_ += node.parameter_count();
    if (parameter_count_ > kMaxParameters)
      throw std::invalid_argument("the network is too large: " + std::to_string(parameter_count_) + " parameters");
    if (node.recurrence() != nullptr) {
      node.state_column = state_size_;
      state_size_ += node.recurrence()->state_size();
    }
    if (!spec.is_head) continue;
    node.head_column = output_size_;
    output_size_ += node.output_size();
  }
  if (!nodes.back().is_head) throw std::invalid_argument("the last part of a network must be a head");
}

template <typename Scalar>
auto Network<Scalar>::make_node(const NodeSpec& spec, Index first_layer) const -> Node {
  std::vector<Index> widths;
  Index size = 0;
  bool differentiates_inputs = false;
  for (const auto& [is_leaf, index] : spec.inputs) {
    if (index < 0 || index >= static_cast<Index>(is_leaf ? leaves_.size() : nodes_.size()))
      throw std::invalid_argument("part \"" + spec.name + "\" reads what does not exist before it");
    if (is_leaf && spec.inputs.size() > 1 && !leaves_[index].choices.empty())
      throw std::invalid_argument("one-hot inputs need a dense layer of their own");
    widths.push_back(is_leaf ? leaves_[index].size() : nodes_[index].output_size());
    size += widths.back();
    differentiates_inputs = differentiates_inputs || !is_leaf;
  }
  if (spec.inputs.empty() || size > kMaxOutputs)
    throw std::invalid_argument("part \"" + spec.name + "\" must read between 1 and " + std::to_string(kMaxOutputs) +
                                " numbers");
  return {make_part(spec, size, first_layer), spec.inputs, widths, 0, -1, -1, differentiates_inputs};
}

template <typename Scalar>
std::variant<Chain<Scalar>, Recurrence<Scalar>> Network<Scalar>::make_part(const NodeSpec& spec, Index inputs,
                                                                           Index first_layer) const {
  const Leaf* leaf =
      spec.inputs.size() == 1 && spec.inputs.front().is_leaf ? &leaves_[spec.inputs.front().index] : nullptr;
  if (spec.layers.size() == 1 && spec.layers.front().recurrent()) {
    if (leaf != nullptr && !leaf->choices.empty())
      throw std::invalid_argument("one-hot inputs need a dense layer before the memory");
    const auto& [kind, outputs, kernel, stride, activation] = spec.layers.front();
    using Kind = typename Recurrence<Scalar>::Kind;
    return Recurrence<Scalar>(kind == LayerSpec::Kind::gru ? Kind::gru : Kind::lstm, inputs, outputs, spec.name,
                              first_layer);
  }
  if (leaf != nullptr) return Chain<Scalar>(*leaf, spec.layers, spec.name, first_layer);
  return Chain<Scalar>(inputs, spec.layers, spec.name, first_layer);
}

template <typename Scalar>
Index Network<Scalar>::row_bytes(bool bytes) const {
  return plain_ ? leaves_.front().size() * static_cast<Index>(bytes ? 1 : sizeof(Scalar)) : row_bytes_;
}

template <typename Scalar>
std::vector<const Layer<Scalar>*> Network<Scalar>::layers() const {
  std::vector<const Layer<Scalar>*> layers;
  for (const Node& node : nodes_) {
    const auto first = std::ssize(layers);
    layers.resize(first + std::visit([](const auto& part) { return part.layer_count(); }, node.part));
    if (node.recurrence() != nullptr) continue;
    for (Index i = 0; i < node.chain().layer_count(); ++i) layers[first + i] = &node.chain().layer(i);
  }
  return layers;
}

template <typename Scalar>
void Network<Scalar>::initialize(Scalar* parameters, std::uint64_t seed, Scalar hidden_gain, Scalar output_gain) const {
  for (const Node& node : nodes_) {
    Scalar* of_node = parameters + node.offset;
    if (node.recurrence() != nullptr)
      node.recurrence()->initialize(of_node, seed);
    else
      node.chain().initialize(of_node, seed, hidden_gain, node.head_column >= 0 ? output_gain : hidden_gain);
  }
}

template <typename Scalar>
Source<Scalar> Network<Scalar>::leaf_source(Index leaf, const Tape<Scalar>& tape) const {
  const bool bytes = plain_ ? tape.inputs_.bytes : leaves_[leaf].bytes;
  return {&leaves_[leaf], tape.inputs_.data, row_bytes(bytes), bytes, nullptr};
}

/// What a node reads, after `gather` if it has several inputs.
template <typename Scalar>
Source<Scalar> Network<Scalar>::source(Index node, Tape<Scalar>& tape) const {
  const auto& [is_leaf, index] = nodes_[node].inputs.front();
  if (nodes_[node].gathers()) return {nullptr, nullptr, 0, false, tape.nodes_[node].inputs.data()};
  if (is_leaf) return leaf_source(index, tape);
  return {nullptr, nullptr, 0, false, tape.nodes_[index].outputs()};
}

template <typename Scalar>
Sequences<Scalar> Network<Scalar>::sequences(const Node& node, const Tape<Scalar>& tape) const {
  return {tape.sequences_, tape.state_.data() + node.state_column, state_size_, tape.starts_.data(), tape.held_.data()};
}

/// Writes the inputs of rows [first_row, first_row + rows) of a node side by side, to `to`.
template <typename Scalar>
void Network<Scalar>::gather(const Node& node, Index first_row, Index rows, Tape<Scalar>& tape, Scalar* to) const {
  thread_local Buffer<Scalar> scratch;
  const Index size = node.input_size();
  Scalar* column = to + first_row * size;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const auto& [is_leaf, index] = node.inputs[i];
    const Index width = node.widths[i];
    const Scalar* from = is_leaf ? leaf_source(index, tape).rows(first_row, rows, width, scratch)
                                 : tape.nodes_[index].outputs() + first_row * width;
    for (Index row = 0; row < rows; ++row) std::copy_n(from + row * width, width, column + row * size);
    column += width;
  }
}

template <typename Scalar>
void Network<Scalar>::forward(const Scalar* parameters, Index first_row, Index rows, Tape<Scalar>& tape) const {
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = nodes_[n];
    if (node.gathers()) gather(node, first_row, rows, tape, tape.nodes_[n].inputs.data());
    const Source<Scalar> inputs = source(static_cast<Index>(n), tape);
    if (node.recurrence() != nullptr)
      node.recurrence()->forward(parameters + node.offset, inputs, sequences(node, tape), first_row, rows,
                                 tape.nodes_[n].recurrence);
    else
      node.chain().forward(parameters + node.offset, inputs, first_row, rows, tape.nodes_[n].chain);
    if (node.head_column < 0 || tape.heads_.data() == nullptr) continue;
    const Index width = node.output_size();
    const Scalar* from = tape.nodes_[n].outputs() + first_row * width;
    Scalar* to = tape.heads_.data() + first_row * output_size_ + node.head_column;
    for (Index row = 0; row < rows; ++row) std::copy_n(from + row * width, width, to + row * output_size_);
  }
}

template class Network<float>;
template class Network<double>;

}  // namespace pgfast
