// A network over one flat parameter vector: a static graph of chains of layers and recurrences. Encoders read the
// leaves of an observation, later parts read what others have written, and the outputs are those of the heads, side by
// side.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/chain.hpp"
#include "pgfast/nn/leaf.hpp"
#include "pgfast/nn/recurrence.hpp"
#include "pgfast/nn/tape.hpp"

namespace pgfast {

/// A chain of layers, or one recurrent layer, on the concatenation of inputs: leaves of the observation, or earlier
/// nodes.
struct NodeSpec {
  struct Input {
    bool is_leaf;
    Index index;
  };
  std::string name;  // the prefix of its blocks' names, may be empty
  std::vector<Input> inputs;
  std::vector<LayerSpec> layers;
  bool is_head = false;  // its outputs are outputs of the network
};

/// The network holds no parameters and no state, so many threads may use one network. The states of its recurrences
/// stand side by side in a row [state_size].
template <typename Scalar>
class Network {
 public:
  /// Throws std::invalid_argument if the layers do not fit each other or are larger than offsets can hold, a leaf
  /// exceeds its row, or a node reads a later one.
  Network(std::vector<Leaf> leaves, Index row_bytes, const std::vector<NodeSpec>& nodes);

  const std::vector<Leaf>& leaves() const { return leaves_; }
  /// True if the only leaf fills the rows: then they may also be bytes, whatever the leaf says.
  bool plain() const { return plain_; }
  /// Bytes of a row of inputs.
  Index row_bytes(bool bytes) const;
  Index output_size() const { return output_size_; }
  /// 0 if the network has no recurrence. Otherwise the tape's rows are those of sequences, as `Tape::begin` says.
  Index state_size() const { return state_size_; }
  Index parameter_count() const { return parameter_count_; }
  const std::vector<ParameterBlock>& layout() const { return layout_; }
  /// The layers in the order of the layout, null for a recurrence; a visitor's number of a layer is its place here.
  std::vector<const Layer<Scalar>*> layers() const;

  /// Orthogonal weights (Saxe et al., 2014) times `hidden_gain`, the heads' last layers' times `output_gain`; zero
  /// biases. Recurrences have initial parameters of their own.
  void initialize(Scalar* parameters, std::uint64_t seed, Scalar hidden_gain, Scalar output_gain) const;

  /// Writes the outputs of rows [first_row, first_row + rows) of the tape, which holds their inputs. If the network has
  /// a state, these are whole steps, and the tape holds the outputs of the steps before.
  void forward(const Scalar* parameters, Index first_row, Index rows, Tape<Scalar>& tape) const;

  // The following require a forward pass of rows [0, rows) on the same tape with the same parameters.

  /// gradient [parameter_count] = sum over rows of dy[row] . d output[row] / d parameters. If the network has a state,
  /// the rows are whole steps, and the gradient with respect to the initial state is left on the tape.
  /// Each layer is shown to the visitor, unless it is null. Without a state, `gradient` may be null.
  void vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy, Scalar* gradient,
           const LayerVisitor<Scalar>* visitor = nullptr) const;
  /// gradients [rows, parameter_count], leading dimension `ld`: the terms of this sum. Requires a network without a
  /// state.
  void per_sample_vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy, Scalar* gradients,
                      Index ld) const;
  /// dy [rows, output_size] = d output / d parameters . tangent. The rows are those of `vjp`.
  void jvp(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape, Scalar* dy) const;

  /// Computes what all curvature products of one forward pass have in common: the transposed weights.
  void prepare_products(const Scalar* parameters, Tape<Scalar>& tape) const;
  /// product [parameter_count] = sum over rows of J' M J tangent: J is the Jacobian of the row's output, M its map. The
  /// rows are those of `vjp`.
  void curvature_product(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape,
                         const OutputMap<Scalar>& map, Scalar* product) const;

 private:
  friend class Tape<Scalar>;

  struct Node {
    std::variant<Chain<Scalar>, Recurrence<Scalar>> part;
    std::vector<NodeSpec::Input> inputs;
    std::vector<Index> widths;   // of the inputs
    Index offset;                // of its parameters
    Index head_column;           // of its outputs among those of the network; -1 if it is no head
    Index state_column;          // of its state among those of the network
    bool differentiates_inputs;  // whether an input is another node

    bool gathers() const { return inputs.size() > 1; }
    const Chain<Scalar>& chain() const { return *std::get_if<0>(&part); }
    /// Null if the node is a chain.
    const Recurrence<Scalar>* recurrence() const { return std::get_if<1>(&part); }
    Index input_size() const {
      return std::visit([](const auto& of) { return of.input_size(); }, part);
    }
    Index output_size() const {
      return std::visit([](const auto& of) { return of.output_size(); }, part);
    }
    Index parameter_count() const {
      return std::visit([](const auto& of) { return of.parameter_count(); }, part);
    }
  };

  Node make_node(const NodeSpec& spec, Index first_layer) const;
  std::variant<Chain<Scalar>, Recurrence<Scalar>> make_part(const NodeSpec& spec, Index inputs,
                                                            Index first_layer) const;
  Source<Scalar> leaf_source(Index leaf, const Tape<Scalar>& tape) const;
  Source<Scalar> source(Index node, Tape<Scalar>& tape) const;
  Sequences<Scalar> sequences(const Node& node, const Tape<Scalar>& tape) const;
  void gather(const Node& node, Index first_row, Index rows, Tape<Scalar>& tape, Scalar* to) const;
  const Scalar* gather_tangents(Index node, Index rows, Tape<Scalar>& tape) const;
  void take_output_gradients(const Scalar* dy, Index rows, Tape<Scalar>& tape) const;
  void pass_on(const Node& node, const Scalar* dx, Index rows, std::vector<bool>& has_delta, Tape<Scalar>& tape) const;

  std::vector<Leaf> leaves_;
  Index row_bytes_;
  bool plain_;
  std::vector<Node> nodes_;
  std::vector<ParameterBlock> layout_;
  Index parameter_count_ = 0;
  Index output_size_ = 0;
  Index state_size_ = 0;
};

}  // namespace pgfast
