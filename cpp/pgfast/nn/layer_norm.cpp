#include "pgfast/nn/layer_norm.hpp"

#include <cmath>

#include "pgfast/base/sums.hpp"

namespace pgfast {
namespace {

constexpr double kEpsilon = 1e-5;  // as in PyTorch and JAX

/// The mean of a row's terms. Eigen's would depend on the alignment of the row, and so on its place in a batch.
template <typename Terms>
typename Terms::Scalar mean_of(const Terms& terms, Index size) {
  const double sum = sum_of(size, [&](Index i) { return static_cast<double>(terms.coeff(i)); });
  return static_cast<typename Terms::Scalar>(sum / static_cast<double>(size));
}

/// Mean and 1 / standard deviation of a row.
template <typename Scalar>
struct Moments {
  Scalar mean;
  Scalar inverse_std;

  Moments(const Scalar* x, Index size) {
    ConstArrayView<Scalar> row(x, size);
    mean = mean_of(row, size);
    inverse_std = Scalar(1) / std::sqrt(mean_of((row - mean).square(), size) + Scalar(kEpsilon));
  }
};

}  // namespace

template <typename Scalar>
std::vector<ParameterBlock> LayerNorm<Scalar>::layout() const {
  return {{"weight", {size_}, 0, size_}, {"bias", {size_}, size_, size_}};
}

template <typename Scalar>
void LayerNorm<Scalar>::initialize(Scalar* w, Scalar /*gain*/, std::uint64_t /*seed*/, std::uint32_t /*layer*/) const {
  std::fill_n(w, size_, Scalar(1));
  std::fill_n(w + size_, size_, Scalar(0));
}

template <typename Scalar>
void LayerNorm<Scalar>::forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const {
  ConstArrayView<Scalar> gain(w, size_);
  ConstArrayView<Scalar> bias(w + size_, size_);
  for (Index row = 0; row < rows; ++row) {
    const Moments<Scalar> moments(x + row * size_, size_);
    ArrayView<Scalar>(y + row * size_, size_) =
        (ConstArrayView<Scalar>(x + row * size_, size_) - moments.mean) * moments.inverse_std * gain + bias;
  }
  activate(this->activation_, y, rows * size_);
}

template <typename Scalar>
void LayerNorm<Scalar>::jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y,
                            Index rows, Scalar* dy) const {
  ConstArrayView<Scalar> gain(w, size_);
  ConstArrayView<Scalar> gain_tangent(dw, size_);
  ConstArrayView<Scalar> bias_tangent(dw + size_, size_);
  for (Index row = 0; row < rows; ++row) {
    const Moments<Scalar> moments(x + row * size_, size_);
    const auto normalized = (ConstArrayView<Scalar>(x + row * size_, size_) - moments.mean) * moments.inverse_std;
    ArrayView<Scalar> tangent(dy + row * size_, size_);
    tangent = normalized * gain_tangent + bias_tangent;
    if (dx == nullptr) continue;
    ConstArrayView<Scalar> input_tangent(dx + row * size_, size_);
    const Scalar mean = mean_of(input_tangent, size_);
    const Scalar along = mean_of(normalized * input_tangent, size_);
    tangent += (input_tangent - mean - normalized * along) * moments.inverse_std * gain;
  }
  multiply_by_derivative(this->activation_, y, dy, rows * size_);
}

template <typename Scalar>
void LayerNorm<Scalar>::backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta,
                                 Scalar* gradient, Scalar* dx) const {
  multiply_by_derivative(this->activation_, y, delta, rows * size_);
  ConstArrayView<Scalar> gain(wt, size_);
  for (Index row = 0; row < rows; ++row) {
    const Moments<Scalar> moments(x + row * size_, size_);
    const auto normalized = (ConstArrayView<Scalar>(x + row * size_, size_) - moments.mean) * moments.inverse_std;
    ConstArrayView<Scalar> output_gradient(delta + row * size_, size_);
    if (gradient != nullptr) {
      ArrayView<Scalar>(gradient, size_) += output_gradient * normalized;
      ArrayView<Scalar>(gradient + size_, size_) += output_gradient;
    }
    if (dx == nullptr) continue;
    const auto scaled = output_gradient * gain;
    const Scalar mean = mean_of(scaled, size_);
    const Scalar along = mean_of(scaled * normalized, size_);
    ArrayView<Scalar>(dx + row * size_, size_) = (scaled - mean - normalized * along) * moments.inverse_std;
  }
}

template <typename Scalar>
void LayerNorm<Scalar>::copy_inputs(const Scalar* x, Index /*position*/, Scalar* to) const {
  const Moments<Scalar> moments(x, size_);
  ArrayView<Scalar>(to, size_) = (ConstArrayView<Scalar>(x, size_) - moments.mean) * moments.inverse_std;
}

template class LayerNorm<float>;
template class LayerNorm<double>;

}  // namespace pgfast
