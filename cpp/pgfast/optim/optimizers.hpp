// First-order optimizers on flat parameter vectors. Each step descends: parameters move against the gradient.
//
// A step returns false, with parameters and state untouched, where it would write a non-finite number to either.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// v = momentum v + g; parameters -= learning_rate v.
template <typename Scalar>
bool sgd_step(Scalar* parameters, const Scalar* gradient, Scalar* velocity, Index size, double learning_rate,
              double momentum);

/// Adam (Kingma and Ba, 2015, algorithm 1). `step` counts from 1.
template <typename Scalar>
bool adam_step(Scalar* parameters, const Scalar* gradient, Scalar* mean, Scalar* mean_square, Index size, Index step,
               double learning_rate, double beta1, double beta2, double epsilon);

/// Where RMSprop adds epsilon: outside the square root (PyTorch, Chainer), or inside (TensorFlow).
enum class RmspropForm { pytorch, tensorflow };

/// s = decay s + (1 - decay) g^2; parameters -= learning_rate g / (sqrt(s) + epsilon), or / sqrt(s + epsilon).
template <typename Scalar>
bool rmsprop_step(Scalar* parameters, const Scalar* gradient, Scalar* mean_square, Index size, double learning_rate,
                  double decay, double epsilon, RmspropForm form);

}  // namespace pgfast
