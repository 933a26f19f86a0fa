#include "pgfast/optim/optimizers.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>

#include "pgfast/optim/blocks.hpp"
#include "pgfast/optim/clip.hpp"

namespace pgfast {
namespace {

// Entries computed at a time: three arrays of them stay in the first-level cache.
constexpr Index kScratch = 1 << 10;

/// The largest size that an entry of the new state, and of the new parameters, can have: bounds, not the exact ones.
struct Bounds {
  double state;
  double parameters;
};

/// Computes the new values of every target from the old ones and writes them, all or none of them.
///
/// `bounds(g, p)` gives bounds from those of the clipped gradient and of the parameters. Where they are far from
/// overflow, one pass over the memory does, and memory is what a step costs; else a first pass sees whether all is
/// finite. `change(begin, count, g, updated)` computes `updated` from the clipped gradient `g`, both in scratch memory:
/// which elements Eigen takes one by one, and how those round, depends on how what it writes to is aligned.
template <typename Scalar, std::size_t Targets, typename BoundsOf, typename Change>
StepResult apply(const StepArguments<Scalar>& arguments, const std::array<Scalar*, Targets>& targets,
                 BoundsOf&& bounds_of, Change&& change) {
  const Index size = arguments.size;
  const double norm = global_norm(arguments.gradient, size);
  if (!std::isfinite(norm) && std::isfinite(arguments.max_norm)) return {false, norm, arguments.state_norm};
  const bool clipped = norm > arguments.max_norm;
  const auto scale = clipped ? static_cast<Scalar>(arguments.max_norm / norm) : Scalar(1);
  const Bounds bounds = bounds_of(norm * static_cast<double>(scale), global_norm(arguments.parameters, size));

  const auto for_each_part = [&](auto&& function) {
    for_each_block(size, [&](Index, Index block, Index block_size) {
      thread_local Buffer<Scalar> storage;
      Scalar* scratch = storage.reserve(static_cast<Index>(Targets + 1) * kScratch);
      std::array<Scalar*, Targets> updated;
      for (std::size_t i = 0; i < Targets; ++i) updated[i] = scratch + static_cast<Index>(i) * kScratch;
      for (Index begin = block; begin < block + block_size; begin += kScratch) {
        const Index count = std::min(kScratch, block + block_size - begin);
        ArrayView<Scalar> g(scratch + static_cast<Index>(Targets) * kScratch, count);
        g = ConstArrayView<Scalar>(arguments.gradient + begin, count) * scale;
        change(begin, count, g, updated);
        function(begin, count, updated);
      }
    });
  };
  constexpr double safe = static_cast<double>(std::numeric_limits<Scalar>::max()) / 16;  // room for rounding
  const bool surely_finite =
      std::isfinite(norm) && std::isfinite(arguments.state_norm) && bounds.state < safe && bounds.parameters < safe;
  if (!surely_finite) {
    std::atomic<bool> finite{true};
    for_each_part([&](Index, Index count, const std::array<Scalar*, Targets>& updated) {
      for (const Scalar* values : updated)
        if (!all_finite(values, count)) finite.store(false, std::memory_order_relaxed);
    });
    if (!finite.load(std::memory_order_relaxed)) return {false, norm, arguments.state_norm};
  }
  for_each_part([&](Index begin, Index count, const std::array<Scalar*, Targets>& updated) {
    for (std::size_t i = 0; i < Targets; ++i) std::copy_n(updated[i], count, targets[i] + begin);
  });
  return {true, norm, bounds.state};
}

}  // namespace

template <typename Scalar>
StepResult sgd_step(const StepArguments<Scalar>& arguments, Scalar* velocity, double momentum) {
  Scalar* parameters = arguments.parameters;
  const auto rate = static_cast<Scalar>(arguments.learning_rate);
  const auto kept = static_cast<Scalar>(momentum);
  return apply(
      arguments, std::array{parameters, velocity},
      [&](double g, double p) {
        const double state = momentum * arguments.state_norm + g;
        return Bounds{state, p + arguments.learning_rate * state};
      },
      [&](Index begin, Index count, const auto& g, auto& updated) {
        ArrayView<Scalar> p(updated[0], count);
        ArrayView<Scalar> v(updated[1], count);
        v = kept * ConstArrayView<Scalar>(velocity + begin, count) + g;
        p = ConstArrayView<Scalar>(parameters + begin, count) - rate * v;
      });
}

template <typename Scalar>
StepResult adam_step(const StepArguments<Scalar>& arguments, Scalar* mean, Scalar* mean_square, Index step,
                     double beta1, double beta2, double epsilon) {
  Scalar* parameters = arguments.parameters;
  const auto count_of_steps = static_cast<double>(step);
  const double unbiased_rate = arguments.learning_rate / (1.0 - std::pow(beta1, count_of_steps));
  const auto rate = static_cast<Scalar>(unbiased_rate);
  const auto unbias = static_cast<Scalar>(1.0 / std::sqrt(1.0 - std::pow(beta2, count_of_steps)));
  const auto b1 = static_cast<Scalar>(beta1);
  const auto b2 = static_cast<Scalar>(beta2);
  const auto eps = static_cast<Scalar>(epsilon);
  return apply(
      arguments, std::array{parameters, mean, mean_square},
      [&](double g, double p) {
        const double state = std::max(arguments.state_norm, std::max(g, g * g));  // both are weighted means
        return Bounds{state, p + unbiased_rate * state / static_cast<double>(eps)};
      },
      [&](Index begin, Index count, const auto& g, auto& updated) {
        ArrayView<Scalar> p(updated[0], count);
        ArrayView<Scalar> m(updated[1], count);
        ArrayView<Scalar> s(updated[2], count);
        m = b1 * ConstArrayView<Scalar>(mean + begin, count) + (Scalar(1) - b1) * g;
        s = b2 * ConstArrayView<Scalar>(mean_square + begin, count) + (Scalar(1) - b2) * g.square();
        p = ConstArrayView<Scalar>(parameters + begin, count) - rate * m / (s.sqrt() * unbias + eps);
      });
}

template <typename Scalar>
StepResult rmsprop_step(const StepArguments<Scalar>& arguments, Scalar* mean_square, double decay, double epsilon,
                        RmspropForm form) {
  Scalar* parameters = arguments.parameters;
  const auto rate = static_cast<Scalar>(arguments.learning_rate);
  const auto kept = static_cast<Scalar>(decay);
  const auto eps = static_cast<Scalar>(epsilon);
  const auto rounded = static_cast<double>(eps);  // 0 where epsilon is too small for the dtype: then nothing is bounded
  const double smallest_divisor = form == RmspropForm::pytorch ? rounded : std::sqrt(rounded);
  return apply(
      arguments, std::array{parameters, mean_square},
      [&](double g, double p) {
        return Bounds{std::max(arguments.state_norm, g * g), p + arguments.learning_rate * g / smallest_divisor};
      },
      [&](Index begin, Index count, const auto& g, auto& updated) {
        ArrayView<Scalar> p(updated[0], count);
        ArrayView<Scalar> s(updated[1], count);
        ConstArrayView<Scalar> old(parameters + begin, count);
        s = kept * ConstArrayView<Scalar>(mean_square + begin, count) + (Scalar(1) - kept) * g.square();
        if (form == RmspropForm::pytorch)
          p = old - rate * g / (s.sqrt() + eps);
        else
          p = old - rate * g / (s + eps).sqrt();
      });
}

template StepResult sgd_step(const StepArguments<float>&, float*, double);
template StepResult sgd_step(const StepArguments<double>&, double*, double);
template StepResult adam_step(const StepArguments<float>&, float*, float*, Index, double, double, double);
template StepResult adam_step(const StepArguments<double>&, double*, double*, Index, double, double, double);
template StepResult rmsprop_step(const StepArguments<float>&, float*, double, double, RmspropForm);
template StepResult rmsprop_step(const StepArguments<double>&, double*, double, double, RmspropForm);

}  // namespace pgfast
