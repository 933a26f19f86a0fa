// The interface of a network's layers. Every call works on a block of rows on one thread, and neither checks its
// arguments nor allocates its results.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/activation.hpp"
#include "pgfast/nn/initialization.hpp"

namespace pgfast {

/// A named block of the flat parameter vector.
struct ParameterBlock {
  std::string name;
  std::vector<Index> shape;
  Index offset;
  Index size;
};

/// y = activation(linear(x; w)). Rows are contiguous: x [rows, input_size], y [rows, output_size]; `w` points at the
/// layer's parameters: weight [fan_in, outputs], then bias [outputs]. `linear` may stand for another map whose last
/// step is linear in the weight, such as layer normalization.
template <typename Scalar>
class Layer {
 public:
  virtual ~Layer() = default;

  virtual Index input_size() const = 0;
  virtual Index output_size() const = 0;
  /// The blocks of this layer's parameters, with offsets relative to the first.
  virtual std::vector<ParameterBlock> layout() const = 0;
  virtual Index weight_size() const = 0;
  virtual Index bias_size() const = 0;
  /// Multiply-adds of one row's forward pass.
  virtual Index multiply_adds() const = 0;
  /// True if rows are small relative to the weights, so that work is better split by columns than by rows.
  virtual bool splits_columns() const = 0;
  /// Initial parameters, a pure function of the shapes, `seed` and the number of the layer. The default is an
  /// orthogonal weight (Saxe et al., 2014) times `gain`, and a bias of zero.
  virtual void initialize(Scalar* w, Scalar gain, std::uint64_t seed, std::uint32_t layer) const {
    orthogonal(w, weight_size() / bias_size(), bias_size(), gain, seed, layer);
    std::fill_n(w + weight_size(), bias_size(), Scalar(0));
  }
  Index parameter_count() const { return weight_size() + bias_size(); }
  /// Whether `linear` is x W + b at every position, so that a row's weight gradient is a sum of outer products. If not,
  /// each of the row's inputs to the weight has one weight and one output.
  virtual bool has_outer_products() const { return true; }
  /// Positions of a row that share the weight, each with `bias_size()` outputs.
  virtual Index positions() const { return 1; }
  /// Copies what the weight multiplies at a position of one row, in the order of its fan_in rows.
  virtual void copy_inputs(const Scalar* x, Index position, Scalar* to) const = 0;
  Activation activation() const { return activation_; }

  virtual void forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const = 0;

  /// The tangent dy [rows, output_size] for parameter tangent dw and input tangent dx (null: zero), given y.
  virtual void jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y, Index rows,
                   Scalar* dy) const = 0;

  /// `delta` [rows, output_size] holds dL/dy and is overwritten with dL/d(linear). Adds to `gradient`
  /// [parameter_count] unless null; sets `dx` [rows, input_size] unless null. `wt` is what `transpose_weight` has
  /// written.
  virtual void backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta, Scalar* gradient,
                        Scalar* dx) const = 0;

  /// Writes the transposed weight [outputs, fan_in], or whatever else `backward` needs of the weight, in its size.
  virtual void transpose_weight(const Scalar* w, Scalar* wt) const = 0;

 protected:
  explicit Layer(Activation activation) : activation_(activation) {}
  Activation activation_;
};

}  // namespace pgfast
