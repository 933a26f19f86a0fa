// Elementwise activations and their derivatives, expressed through the output so that the input need not be kept.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

enum class Activation { identity, relu, tanh };

/// y = activation(y), in place.
template <typename Scalar>
void activate(Activation activation, Scalar* y, Index size) {
  ArrayView<Scalar> values(y, size);
  switch (activation) {
    case Activation::identity: break;
    case Activation::relu: values = values.max(Scalar(0)); break;
    case Activation::tanh: values = values.tanh(); break;
  }
}

/// delta *= activation'(linear), in place, where y = activation(linear): relu' = [y > 0], tanh' = 1 - y^2.
template <typename Scalar>
void multiply_by_derivative(Activation activation, const Scalar* y, Scalar* delta, Index size) {
  ConstArrayView<Scalar> outputs(y, size);
  ArrayView<Scalar> values(delta, size);
  switch (activation) {
    case Activation::identity: break;
    case Activation::relu: values = (outputs > Scalar(0)).select(values, Scalar(0)); break;
    case Activation::tanh: values *= Scalar(1) - outputs.square(); break;
  }
}

}  // namespace pgfast
