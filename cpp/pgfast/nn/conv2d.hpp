// A two-dimensional convolution without padding. It reads image patches in place, through tables of offsets.
#pragma once

#include "pgfast/nn/layer.hpp"
#include "pgfast/nn/leaf.hpp"

namespace pgfast {

struct ConvolutionShape {
  Index channels;
  Index height;
  Index width;
  ImageLayout layout;
  Index filters;
  Index kernel;
  Index stride;

  Index output_height() const { return (height - kernel) / stride + 1; }
  Index output_width() const { return (width - kernel) / stride + 1; }
};

/// y[p, f] = activation(b[f] + sum over taps k of x[p, k] W[k, f]); taps in the order kernel row, kernel column,
/// channel; W [kernel, kernel, channels, filters]; y [output_height, output_width, filters].
template <typename Scalar>
class Conv2d final : public Layer<Scalar> {
 public:
  Conv2d(const ConvolutionShape& shape, Activation activation);

  Index input_size() const override { return shape_.channels * shape_.height * shape_.width; }
  Index output_size() const override { return positions() * shape_.filters; }
  std::vector<ParameterBlock> layout() const override;
  Index weight_size() const override { return taps() * shape_.filters; }
  Index bias_size() const override { return shape_.filters; }
  Index multiply_adds() const override { return positions() * weight_size(); }
  bool splits_columns() const override { return false; }

  void forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const override;
  void jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y, Index rows,
           Scalar* dy) const override;
  /// `dx` must be null unless images are channels_last: the first layer's input gradient is never needed.
  void backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta, Scalar* gradient,
                Scalar* dx) const override;
  void transpose_weight(const Scalar* w, Scalar* wt) const override;
  Index positions() const override { return static_cast<Index>(position_offsets_.size()); }
  void copy_inputs(const Scalar* x, Index position, Scalar* to) const override;

 private:
  Index taps() const { return static_cast<Index>(tap_offsets_.size()); }
  void add_convolution(const Scalar* weight, const Scalar* image, Scalar* output) const;

  ConvolutionShape shape_;
  std::vector<std::int32_t> position_offsets_;  // of each output position's first tap, within the image
  std::vector<std::int32_t> tap_offsets_;       // of each tap, relative to the first
};

extern template class Conv2d<float>;
extern template class Conv2d<double>;

}  // namespace pgfast
