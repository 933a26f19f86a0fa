#include "pgfast/nn/conv2d.hpp"

#include <algorithm>

#include "pgfast/linalg/gemm.hpp"

namespace pgfast {

template <typename Scalar>
Conv2d<Scalar>::Conv2d(const ConvolutionShape& shape, Activation activation)
    : Layer<Scalar>(activation), shape_(shape) {
  const bool last = shape.layout == ImageLayout::channels_last;
  const Index column_step = last ? shape.channels : 1;
  const Index row_step = shape.width * column_step;
  const Index channel_step = last ? 1 : shape.height * shape.width;
  for (Index row = 0; row < shape.output_height(); ++row)
    for (Index column = 0; column < shape.output_width(); ++column)
      position_offsets_.push_back(
          static_cast<std::int32_t>(row * shape.stride * row_step + column * shape.stride * column_step));
  for (Index row = 0; row < shape.kernel; ++row)
    for (Index column = 0; column < shape.kernel; ++column)
      for (Index channel = 0; channel < shape.channels; ++channel)
        tap_offsets_.push_back(
            static_cast<std::int32_t>(row * row_step + column * column_step + channel * channel_step));
}

template <typename Scalar>
std::vector<ParameterBlock> Conv2d<Scalar>::layout() const {
  const ConvolutionShape& s = shape_;
  return {{"weight", {s.kernel, s.kernel, s.channels, s.filters}, 0, weight_size()},
          {"bias", {s.filters}, weight_size(), s.filters}};
}

/// output [positions, filters] += patches(image) weight.
template <typename Scalar>
void Conv2d<Scalar>::add_convolution(const Scalar* weight, const Scalar* image, Scalar* output) const {
  const Index filters = shape_.filters;
  const std::int32_t* position = position_offsets_.data();
  multiply_add<Scalar>(
      positions(), filters, taps(), [=](Index p) { return image + position[p]; }, Table{tap_offsets_.data()}, weight,
      filters, [=](Index p) { return output + p * filters; });
}

template <typename Scalar>
void Conv2d<Scalar>::forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const {
  const Scalar* bias = w + weight_size();
  for (Index row = 0; row < rows; ++row) {
    Scalar* output = y + row * output_size();
    for (Index p = 0; p < positions(); ++p) std::copy_n(bias, shape_.filters, output + p * shape_.filters);
    add_convolution(w, x + row * input_size(), output);
    activate(this->activation_, output, output_size());
  }
}

template <typename Scalar>
void Conv2d<Scalar>::jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y,
                         Index rows, Scalar* dy) const {
  const Scalar* dbias = dw + weight_size();
  for (Index row = 0; row < rows; ++row) {
    Scalar* output = dy + row * output_size();
    for (Index p = 0; p < positions(); ++p) std::copy_n(dbias, shape_.filters, output + p * shape_.filters);
    add_convolution(dw, x + row * input_size(), output);
    if (dx != nullptr) add_convolution(w, dx + row * input_size(), output);
    multiply_by_derivative(this->activation_, y + row * output_size(), output, output_size());
  }
}

template <typename Scalar>
void Conv2d<Scalar>::backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta,
                              Scalar* gradient, Scalar* dx) const {
  const Index filters = shape_.filters;
  const std::int32_t* position = position_offsets_.data();
  const std::int32_t* tap = tap_offsets_.data();
  for (Index row = 0; row < rows; ++row) {
    const Scalar* image = x + row * input_size();
    Scalar* output = delta + row * output_size();
    multiply_by_derivative(this->activation_, y + row * output_size(), output, output_size());
    if (gradient != nullptr) {
      multiply_add<Scalar>(
          taps(), filters, positions(), [=](Index k) { return image + tap[k]; }, Table{position}, output, filters,
          [=](Index k) { return gradient + k * filters; });
      Scalar* bias_gradient = gradient + weight_size();
      for (Index p = 0; p < positions(); ++p)
        for (Index f = 0; f < filters; ++f) bias_gradient[f] += output[p * filters + f];
    }
    if (dx == nullptr) continue;
    // In a channels_last image the taps of one kernel row are adjacent in memory, so each row of the transposed
    // weight is scattered in `kernel` contiguous pieces.
    Scalar* image_gradient = dx + row * input_size();
    std::fill_n(image_gradient, input_size(), Scalar(0));
    const Index segment = shape_.kernel * shape_.channels;
    for (Index begin = 0; begin < taps(); begin += segment) {
      Scalar* shifted = image_gradient + tap[begin];
      multiply_add<Scalar>(
          positions(), segment, filters, [=](Index p) { return output + p * filters; }, Contiguous{}, wt + begin,
          taps(), [=](Index p) { return shifted + position[p]; });
    }
  }
}

template <typename Scalar>
void Conv2d<Scalar>::transpose_weight(const Scalar* w, Scalar* wt) const {
  transpose(w, taps(), shape_.filters, shape_.filters, wt);
}

template <typename Scalar>
void Conv2d<Scalar>::copy_inputs(const Scalar* x, Index position, Scalar* to) const {
  const Scalar* first = x + position_offsets_[position];
  for (Index k = 0; k < taps(); ++k) to[k] = first[tap_offsets_[k]];
}

template class Conv2d<float>;
template class Conv2d<double>;

}  // namespace pgfast
