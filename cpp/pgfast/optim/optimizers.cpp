#include "pgfast/optim/optimizers.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "pgfast/optim/blocks.hpp"
#include "pgfast/optim/clip.hpp"

namespace pgfast {
namespace {

/// Runs `change(begin, count, updated)`, which computes the new values of a block of every target from the old ones:
/// once to see that all are finite, then, if they are, to keep them. All blocks of all targets, or none. Computing
/// twice is cheaper than keeping everything: the step is bound by memory. Values are always written to aligned scratch
/// memory first, because which elements Eigen takes one by one, and how those round, depends on where it writes.
template <typename Scalar, std::size_t Targets, typename Change>
bool apply(const std::array<Scalar*, Targets>& targets, Index size, Change&& change) {
  const auto computed = [&](Index begin, Index count) {
    thread_local Buffer<Scalar> storage;
    Scalar* scratch = storage.reserve(static_cast<Index>(Targets) * kUpdateBlock);
    std::array<Scalar*, Targets> updated;
    for (std::size_t i = 0; i < Targets; ++i) updated[i] = scratch + static_cast<Index>(i) * kUpdateBlock;
    change(begin, count, updated);
    return updated;
  };
  std::atomic<bool> finite{true};
  for_each_block(size, [&](Index, Index begin, Index count) {
    for (const Scalar* values : computed(begin, count))
      if (!all_finite(values, count)) finite.store(false, std::memory_order_relaxed);
  });
  if (!finite.load(std::memory_order_relaxed)) return false;
  for_each_block(size, [&](Index, Index begin, Index count) {
    const std::array<Scalar*, Targets> updated = computed(begin, count);
    for (std::size_t i = 0; i < Targets; ++i) std::copy_n(updated[i], count, targets[i] + begin);
  });
  return true;
}

}  // namespace

template <typename Scalar>
bool sgd_step(Scalar* parameters, const Scalar* gradient, Scalar* velocity, Index size, double learning_rate,
              double momentum) {
  const auto rate = static_cast<Scalar>(learning_rate);
  const auto kept = static_cast<Scalar>(momentum);
  return apply(std::array{parameters, velocity}, size, [&](Index begin, Index count, auto updated) {
    ArrayView<Scalar> p(updated[0], count);
    ArrayView<Scalar> v(updated[1], count);
    v = kept * ConstArrayView<Scalar>(velocity + begin, count) + ConstArrayView<Scalar>(gradient + begin, count);
    p = ConstArrayView<Scalar>(parameters + begin, count) - rate * v;
  });
}

template <typename Scalar>
bool adam_step(Scalar* parameters, const Scalar* gradient, Scalar* mean, Scalar* mean_square, Index size, Index step,
               double learning_rate, double beta1, double beta2, double epsilon) {
  const auto count_of_steps = static_cast<double>(step);
  const auto rate = static_cast<Scalar>(learning_rate / (1.0 - std::pow(beta1, count_of_steps)));
  const auto unbias = static_cast<Scalar>(1.0 / std::sqrt(1.0 - std::pow(beta2, count_of_steps)));
  const auto b1 = static_cast<Scalar>(beta1);
  const auto b2 = static_cast<Scalar>(beta2);
  const auto eps = static_cast<Scalar>(epsilon);
  return apply(std::array{parameters, mean, mean_square}, size, [&](Index begin, Index count, auto updated) {
    ConstArrayView<Scalar> g(gradient + begin, count);
    ArrayView<Scalar> p(updated[0], count);
    ArrayView<Scalar> m(updated[1], count);
    ArrayView<Scalar> s(updated[2], count);
    m = b1 * ConstArrayView<Scalar>(mean + begin, count) + (Scalar(1) - b1) * g;
    s = b2 * ConstArrayView<Scalar>(mean_square + begin, count) + (Scalar(1) - b2) * g.square();
    p = ConstArrayView<Scalar>(parameters + begin, count) - rate * m / (s.sqrt() * unbias + eps);
  });
}

template <typename Scalar>
bool rmsprop_step(Scalar* parameters, const Scalar* gradient, Scalar* mean_square, Index size, double learning_rate,
                  double decay, double epsilon, RmspropForm form) {
  const auto rate = static_cast<Scalar>(learning_rate);
  const auto kept = static_cast<Scalar>(decay);
  const auto eps = static_cast<Scalar>(epsilon);
  return apply(std::array{parameters, mean_square}, size, [&](Index begin, Index count, auto updated) {
    ConstArrayView<Scalar> g(gradient + begin, count);
    ConstArrayView<Scalar> old(parameters + begin, count);
    ArrayView<Scalar> p(updated[0], count);
    ArrayView<Scalar> s(updated[1], count);
    s = kept * ConstArrayView<Scalar>(mean_square + begin, count) + (Scalar(1) - kept) * g.square();
    if (form == RmspropForm::pytorch)
      p = old - rate * g / (s.sqrt() + eps);
    else
      p = old - rate * g / (s + eps).sqrt();
  });
}

template bool sgd_step(float*, const float*, float*, Index, double, double);
template bool sgd_step(double*, const double*, double*, Index, double, double);
template bool adam_step(float*, const float*, float*, float*, Index, Index, double, double, double, double);
template bool adam_step(double*, const double*, double*, double*, Index, Index, double, double, double, double);
template bool rmsprop_step(float*, const float*, float*, Index, double, double, double, RmspropForm);
template bool rmsprop_step(double*, const double*, double*, Index, double, double, double, RmspropForm);

}  // namespace pgfast
