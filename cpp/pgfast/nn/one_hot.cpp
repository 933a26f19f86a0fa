#include "pgfast/nn/one_hot.hpp"

namespace pgfast {

template <typename Scalar>
OneHot<Scalar>::OneHot(std::vector<Index> choices, Index outputs, Activation activation)
    : Layer<Scalar>(activation), choices_(std::move(choices)), outputs_(outputs) {
  for (const Index count : choices_) {
    first_.push_back(weight_rows_);
    weight_rows_ += count;
  }
}

template <typename Scalar>
std::vector<ParameterBlock> OneHot<Scalar>::layout() const {
  return {{"weight", {weight_rows_, outputs_}, 0, weight_size()}, {"bias", {outputs_}, weight_size(), outputs_}};
}

template <typename Scalar>
void OneHot<Scalar>::add_up(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const {
  ConstArrayView<Scalar> bias(w + weight_size(), outputs_);
  for (Index row = 0; row < rows; ++row) {
    ArrayView<Scalar> sum(y + row * outputs_, outputs_);
    sum = bias;
    for (Index k = 0; k < input_size(); ++k)
      sum += ConstArrayView<Scalar>(w + weight_offset(x + row * input_size(), k), outputs_);
  }
}

template <typename Scalar>
void OneHot<Scalar>::forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const {
  add_up(w, x, rows, y);
  activate(this->activation_, y, rows * outputs_);
}

template <typename Scalar>
void OneHot<Scalar>::jvp(const Scalar* /*w*/, const Scalar* dw, const Scalar* x, const Scalar* /*dx*/, const Scalar* y,
                         Index rows, Scalar* dy) const {
  add_up(dw, x, rows, dy);
  multiply_by_derivative(this->activation_, y, dy, rows * outputs_);
}

template <typename Scalar>
void OneHot<Scalar>::backward(const Scalar* /*wt*/, const Scalar* x, const Scalar* y, Index rows, Scalar* delta,
                              Scalar* gradient, Scalar* /*dx*/) const {
  multiply_by_derivative(this->activation_, y, delta, rows * outputs_);
  if (gradient == nullptr) return;
  ArrayView<Scalar> bias_gradient(gradient + weight_size(), outputs_);
  for (Index row = 0; row < rows; ++row) {
    ConstArrayView<Scalar> output_gradient(delta + row * outputs_, outputs_);
    bias_gradient += output_gradient;
    for (Index k = 0; k < input_size(); ++k)
      ArrayView<Scalar>(gradient + weight_offset(x + row * input_size(), k), outputs_) += output_gradient;
  }
}

template <typename Scalar>
void OneHot<Scalar>::copy_inputs(const Scalar* x, Index /*position*/, Scalar* to) const {
  std::fill_n(to, weight_rows_, Scalar(0));
  for (Index k = 0; k < input_size(); ++k) to[weight_row(x, k)] = Scalar(1);
}

template class OneHot<float>;
template class OneHot<double>;

}  // namespace pgfast
