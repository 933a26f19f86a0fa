// A feed-forward network over one flat parameter vector: forward pass, vector-Jacobian and Jacobian-vector products,
// and per-sample gradients. The network holds no parameters and no state, so many threads may use one network.
#pragma once

#include <memory>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/layer.hpp"
#include "pgfast/nn/tape.hpp"

namespace pgfast {

struct LayerSpec {
  enum class Kind { dense, conv2d };
  Kind kind;
  Index outputs;  // units of a dense layer, filters of a convolution
  Index kernel;   // convolution only
  Index stride;   // convolution only
  Activation activation;
};

/// A symmetric linear map of each row's output tangent.
template <typename Scalar>
class OutputMap {
 public:
  virtual ~OutputMap() = default;
  /// Maps rows [row, row + rows) in place; `dy` points at the first of these rows. Called from several threads.
  virtual void apply(Index row, Index rows, Scalar* dy) const = 0;
};

template <typename Scalar>
class Network {
 public:
  /// `input_shape` is {features} for a dense first layer, {channels, height, width} for a convolution.
  /// Throws std::invalid_argument if the layers do not fit each other or are larger than offsets can hold.
  Network(std::vector<Index> input_shape, const std::vector<LayerSpec>& specs);

  Index input_size() const { return layers_.front()->input_size(); }
  Index output_size() const { return layers_.back()->output_size(); }
  Index parameter_count() const { return parameter_count_; }
  Index layer_count() const { return static_cast<Index>(layers_.size()); }
  const Layer<Scalar>& layer(Index i) const { return *layers_[i]; }
  const std::vector<Index>& input_shape() const { return input_shape_; }
  const std::vector<ParameterBlock>& layout() const { return layout_; }
  /// Multiply-adds of one row's forward pass.
  Index multiply_adds() const;

  /// Orthogonal weights (Saxe et al., 2014) times `hidden_gain`, the last layer's times `output_gain`; zero biases.
  void initialize(Scalar* parameters, std::uint64_t seed, Scalar hidden_gain, Scalar output_gain) const;

  /// Writes the outputs of rows [first_row, first_row + rows) of the tape, which holds their inputs.
  void forward(const Scalar* parameters, Index first_row, Index rows, Tape<Scalar>& tape) const;

  // The following require a forward pass of rows [0, rows) on the same tape with the same parameters.

  /// gradient [parameter_count] = sum over rows of dy[row] . d output[row] / d parameters.
  void vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy, Scalar* gradient) const;
  /// gradients [rows, parameter_count], leading dimension `ld`: the terms of this sum.
  void per_sample_vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy, Scalar* gradients,
                      Index ld) const;
  /// dy [rows, output_size] = d output / d parameters . tangent.
  void jvp(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape, Scalar* dy) const;

  /// Computes what all curvature products of one forward pass have in common: the transposed weights.
  void prepare_products(const Scalar* parameters, Tape<Scalar>& tape) const;
  /// product [parameter_count] = sum over rows of J' M J tangent: J is the Jacobian of the row's output, M its map.
  void curvature_product(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape,
                         const OutputMap<Scalar>& map, Scalar* product) const;

 private:
  /// Consecutive layers that are computed in chunks of rows, or one layer that is split by columns.
  struct Segment {
    Index first;
    Index last;  // exclusive
    bool split_columns;
    Index chunk_rows;  // rows per chunk, enough to be worth waking a thread
    Index block_rows;  // rows that pass through all its layers at a time, so that they stay in the cache
  };

  const Scalar* input_rows(Inputs x, Index row, Index rows, Buffer<Scalar>& scratch) const;
  const Scalar* segment_input(const Segment& segment, Index row, Index rows, Tape<Scalar>& tape) const;
  void forward_rows(const Segment& segment, const Scalar* parameters, Index first_row, Index rows,
                    Tape<Scalar>& tape) const;
  void forward_columns(const Segment& segment, const Scalar* parameters, Index first_row, Index rows,
                       Tape<Scalar>& tape) const;
  void backward_block(Index first, Index last, const Scalar* x, Index row, Index rows, Tape<Scalar>& tape,
                      Scalar* delta, Scalar* gradient, Scalar* dx) const;
  void backward_rows(const Segment& segment, Index rows, Tape<Scalar>& tape, Scalar* delta, Scalar* gradient,
                     Scalar* dx) const;
  void backward_columns(const Segment& segment, const Scalar* parameters, Index rows, Tape<Scalar>& tape, Scalar* delta,
                        Scalar* gradient, Scalar* dx) const;
  void jvp_block(const Segment& segment, const Scalar* parameters, const Scalar* tangent, const Scalar* x,
                 const Scalar* dx, Index row, Index rows, const Tape<Scalar>& tape, Scalar* dy) const;
  void jvp_rows(const Segment& segment, const Scalar* parameters, const Scalar* tangent, const Scalar* dx, Index rows,
                Tape<Scalar>& tape, Scalar* dy) const;
  void jvp_columns(const Segment& segment, const Scalar* parameters, const Scalar* tangent, const Scalar* dx,
                   Index rows, Tape<Scalar>& tape, Scalar* dy) const;
  void transpose_weights(Index first, Index last, const Scalar* parameters, Tape<Scalar>& tape) const;

  std::vector<Index> input_shape_;
  std::vector<std::unique_ptr<Layer<Scalar>>> layers_;
  std::vector<Index> offsets_;  // of each layer's parameters; one more entry than layers
  std::vector<ParameterBlock> layout_;
  std::vector<Segment> segments_;
  Index parameter_count_ = 0;
};

}  // namespace pgfast
