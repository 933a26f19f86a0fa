// First-order optimizers on flat parameter vectors. Each step descends: parameters move against the gradient.
//
// A step clips the gradient to a global norm on its way, without writing to it, and changes nothing at all where it
// would write a non-finite number to the parameters or to its state.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

struct StepResult {
  bool done;             // false: a number would not have been finite, and nothing was changed
  double gradient_norm;  // before clipping; NaN or infinite where the gradient is, or where its norm overflows
  double state_norm;     // a bound on the size of every entry of the state after the step
};

/// Arguments that all steps share. `state_norm` is a bound on the size of every entry of the state: what the last step
/// gave, or what holds for the state it starts from.
template <typename Scalar>
struct StepArguments {
  Scalar* parameters;
  const Scalar* gradient;
  Index size;
  double learning_rate;
  double max_norm;  // infinite: no clipping
  double state_norm;
};

/// v = momentum v + g; parameters -= learning_rate v.
template <typename Scalar>
StepResult sgd_step(const StepArguments<Scalar>& arguments, Scalar* velocity, double momentum);

/// Adam (Kingma and Ba, 2015, algorithm 1). `step` counts from 1.
template <typename Scalar>
StepResult adam_step(const StepArguments<Scalar>& arguments, Scalar* mean, Scalar* mean_square, Index step,
                     double beta1, double beta2, double epsilon);

/// Where RMSprop adds epsilon: outside the square root (PyTorch, Chainer), or inside (TensorFlow).
enum class RmspropForm { pytorch, tensorflow };

/// s = decay s + (1 - decay) g^2; parameters -= learning_rate g / (sqrt(s) + epsilon), or / sqrt(s + epsilon).
template <typename Scalar>
StepResult rmsprop_step(const StepArguments<Scalar>& arguments, Scalar* mean_square, double decay, double epsilon,
                        RmspropForm form);

}  // namespace pgfast
