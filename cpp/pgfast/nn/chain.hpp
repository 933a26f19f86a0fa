// A chain of layers, a part of a network: forward pass, vector-Jacobian and Jacobian-vector products. It holds neither
// parameters nor results, so many threads may use one chain.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/layer.hpp"
#include "pgfast/nn/leaf.hpp"

namespace pgfast {

struct LayerSpec {
  enum class Kind { dense, conv2d, layer_norm, gru, lstm };
  Kind kind;
  Index outputs;  // units, or filters of a convolution; layer_norm has those of the layer before
  Index kernel;   // convolution only
  Index stride;   // convolution only
  Activation activation;

  /// Whether the layer is a recurrence, which is no layer of a chain.
  bool recurrent() const { return kind == Kind::gru || kind == Kind::lstm; }
};

/// A symmetric linear map of each row's output tangent.
template <typename Scalar>
class OutputMap {
 public:
  virtual ~OutputMap() = default;
  /// Maps rows [row, row + rows) in place; `dy` points at the first of these rows. Called from several threads.
  virtual void apply(Index row, Index rows, Scalar* dy) const = 0;
};

/// Sees the layers of a backward pass, except recurrences and parts that no head reads: what statistics of a layer are
/// made of.
template <typename Scalar>
class LayerVisitor {
 public:
  virtual ~LayerVisitor() = default;
  /// Rows [row, row + rows) of a layer, by its number in the network: its inputs `x` [rows, input_size], and the
  /// gradient of the loss with respect to its outputs before the activation, `delta` [rows, output_size]. Every row
  /// comes once. Called from several threads.
  virtual void visit(Index layer, Index row, Index rows, const Scalar* x, const Scalar* delta) const = 0;
};

/// The results of a chain's forward pass for `capacity` rows, and the working memory of its products.
template <typename Scalar>
struct ChainMemory {
  std::vector<Buffer<Scalar>> outputs;  // per layer [capacity, its output size]
  Buffer<Scalar> scaled_inputs;         // bytes as scalars, if the first layer needs all rows at once
  Buffer<Scalar> deltas[2];             // dL/dy, or the tangent, of a segment and of the next
  Buffer<Scalar> transposed;            // the transposed weights, at the offsets of the weights
  Buffer<Scalar> partials;              // the gradients of the chunks of rows
};

/// Pointers to parameters, tangents and gradients are to the chain's part of the network's.
template <typename Scalar>
class Chain {
 public:
  /// The layers of a chain that reads a leaf. The names of their blocks begin with `prefix` and are numbered from
  /// `first_layer` on, which also keys their initial weights.
  /// Throws std::invalid_argument if the layers do not fit each other or are larger than offsets can hold.
  Chain(const Leaf& leaf, const std::vector<LayerSpec>& specs, const std::string& prefix, Index first_layer);
  /// The same for a chain that reads `inputs` numbers of other chains.
  Chain(Index inputs, const std::vector<LayerSpec>& specs, const std::string& prefix, Index first_layer);

  Index input_size() const { return layers_.front()->input_size(); }
  Index output_size() const { return layers_.back()->output_size(); }
  Index parameter_count() const { return offsets_.back(); }
  Index layer_count() const { return static_cast<Index>(layers_.size()); }
  const Layer<Scalar>& layer(Index i) const { return *layers_[i]; }
  /// The blocks of the parameters, with offsets relative to the first.
  const std::vector<ParameterBlock>& layout() const { return layout_; }
  /// Multiply-adds of one row's forward pass.
  Index multiply_adds() const;
  /// Whether all rows can be computed block by block, each through all layers.
  bool one_segment() const { return segments_.size() == 1 && !segments_.front().split_columns; }

  /// Initial parameters; the last layer's gain is `last_gain`.
  void initialize(Scalar* parameters, std::uint64_t seed, Scalar gain, Scalar last_gain) const;
  void reserve(Index capacity, ChainMemory<Scalar>& memory) const;

  /// Writes the outputs of rows [first_row, first_row + rows).
  void forward(const Scalar* parameters, const Source<Scalar>& source, Index first_row, Index rows,
               ChainMemory<Scalar>& memory) const;

  // The following require a forward pass of rows [0, rows) with the same memory, source and parameters.

  /// gradient [parameter_count] = sum over rows of dy[row] . d output[row] / d parameters, and `dx` [rows, input_size],
  /// unless null. Overwrites `dy`. Each layer is shown to the visitor, unless it is null.
  void vjp(const Scalar* parameters, const Source<Scalar>& source, Index rows, ChainMemory<Scalar>& memory, Scalar* dy,
           Scalar* gradient, Scalar* dx, const LayerVisitor<Scalar>* visitor) const;
  /// dy [rows, output_size] = d output / d parameters . tangent + d output / d input . dx (null: zero).
  void jvp(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source, const Scalar* dx, Index rows,
           ChainMemory<Scalar>& memory, Scalar* dy) const;

  /// Computes what the products below have in common: the transposed weights.
  void prepare_products(const Scalar* parameters, ChainMemory<Scalar>& memory) const;
  /// The vjp of one row: adds to `gradient`, sets `dx` unless null and overwrites `dy`.
  void row_vjp(const Source<Scalar>& source, Index row, ChainMemory<Scalar>& memory, Scalar* dy, Scalar* gradient,
               Scalar* dx) const;
  /// product [parameter_count] = sum over rows of J' M J tangent: J is the Jacobian of the row's output, M its map.
  /// Requires one_segment().
  void curvature_product(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source, Index rows,
                         ChainMemory<Scalar>& memory, const OutputMap<Scalar>& map, Scalar* product) const;

 private:
  /// Consecutive layers that are computed in chunks of rows, or one layer that is split by columns.
  struct Segment {
    Index first;
    Index last;  // exclusive
    bool split_columns;
    Index chunk_rows;  // rows per chunk, enough to be worth waking a thread
    Index block_rows;  // rows that pass through all its layers at a time, so that they stay in the cache
  };

  void add_layers(const Leaf& input, const std::vector<LayerSpec>& specs, const std::string& prefix, Index first_layer);
  void divide_into_segments(const std::vector<LayerSpec>& specs);
  const Scalar* segment_input(const Segment& segment, const Source<Scalar>& source, Index row, Index rows,
                              const ChainMemory<Scalar>& memory) const;
  const Scalar* all_inputs(const Segment& segment, const Source<Scalar>& source, Index row, Index rows,
                           const ChainMemory<Scalar>& memory, Buffer<Scalar>& scratch) const;
  void forward_rows(const Segment& segment, const Scalar* parameters, const Source<Scalar>& source, Index first_row,
                    Index rows, ChainMemory<Scalar>& memory) const;
  void forward_columns(const Segment& segment, const Scalar* parameters, const Source<Scalar>& source, Index first_row,
                       Index rows, ChainMemory<Scalar>& memory) const;
  void backward_block(Index first, Index last, const Scalar* x, Index row, Index rows, ChainMemory<Scalar>& memory,
                      Scalar* delta, Scalar* gradient, Scalar* dx, const LayerVisitor<Scalar>* visitor) const;
  void backward_rows(const Segment& segment, const Source<Scalar>& source, Index rows, ChainMemory<Scalar>& memory,
                     Scalar* delta, Scalar* gradient, Scalar* dx, const LayerVisitor<Scalar>* visitor) const;
  void backward_columns(const Segment& segment, const Scalar* parameters, const Source<Scalar>& source, Index rows,
                        ChainMemory<Scalar>& memory, Scalar* delta, Scalar* gradient, Scalar* dx,
                        const LayerVisitor<Scalar>* visitor) const;
  void jvp_block(const Segment& segment, const Scalar* parameters, const Scalar* tangent, const Scalar* x,
                 const Scalar* dx, Index row, Index rows, const ChainMemory<Scalar>& memory, Scalar* dy) const;
  void jvp_rows(const Segment& segment, const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source,
                const Scalar* dx, Index rows, ChainMemory<Scalar>& memory, Scalar* dy) const;
  void jvp_columns(const Segment& segment, const Scalar* parameters, const Scalar* tangent,
                   const Source<Scalar>& source, const Scalar* dx, Index rows, ChainMemory<Scalar>& memory,
                   Scalar* dy) const;
  void transpose_weights(Index first, Index last, const Scalar* parameters, ChainMemory<Scalar>& memory) const;

  std::vector<std::unique_ptr<Layer<Scalar>>> layers_;
  std::vector<Index> offsets_{0};  // of each layer's parameters; one more entry than layers
  std::vector<ParameterBlock> layout_;
  std::vector<Segment> segments_;
  Index first_layer_;
  bool reads_leaf_;
};

}  // namespace pgfast
