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

// Entries computed at a time: three arrays of this length stay in the first-level cache.
constexpr Index kScratch = 1 << 10;

/// Upper bounds on the magnitude of the entries of the new slots and of the new parameters.
struct Bounds {
  double slots;
  double parameters;
};

/// Computes the new parameters and slots from the old ones and writes all of them or none.
///
/// The learning rates are divided by `rate_divisor`. `bounds_of(g, p, rate)` returns bounds, given bounds g of the
/// clipped gradient and p of the parameters and the largest rate. If they are far from overflow, one pass over memory
/// is enough, and memory traffic is the cost of a step. Otherwise, a first pass checks that all new values are finite.
/// `change(begin, g, rate, updated)` computes `updated` from the clipped gradient `g`. Both are in scratch memory,
/// because the alignment of Eigen's destination decides which elements it computes one by one, and how those are
/// rounded.
template <typename Scalar, std::size_t Count, typename BoundsOf, typename Change>
StepResult apply(const StepArguments<Scalar>& arguments, Slots<Scalar, Count>& slots, double rate_divisor,
                 BoundsOf&& bounds_of, Change&& change) {
  constexpr std::size_t Targets = Count + 1;  // the parameters, then the slots
  std::array<Scalar*, Targets> targets{arguments.parameters};
  for (std::size_t i = 0; i < Count; ++i) targets[i + 1] = slots.vectors[i].data();
  const Index size = arguments.size;
  const double norm = global_norm(arguments.gradient, size);
  if (!std::isfinite(norm) && std::isfinite(arguments.max_norm)) return {false, norm};
  const bool clipped = norm > arguments.max_norm;
  const auto scale = clipped ? static_cast<Scalar>(arguments.max_norm / norm) : Scalar(1);
  const PartRate& part = arguments.part;
  const double rate = arguments.learning_rate / rate_divisor;
  const double part_rate = part.learning_rate / rate_divisor;
  const Bounds bounds =
      bounds_of(norm * static_cast<double>(scale), global_norm(arguments.parameters, size), std::max(rate, part_rate));

  const auto for_each_part = [&](auto&& function) {
    for_each_block(size, [&](Index, Index block, Index block_size) {
      thread_local Buffer<Scalar> storage;
      Scalar* scratch = storage.reserve(static_cast<Index>(Targets + 1) * kScratch);
      std::array<Scalar*, Targets> updated;
      for (std::size_t i = 0; i < Targets; ++i) updated[i] = scratch + static_cast<Index>(i) * kScratch;
      const Index end = block + block_size;
      Index count = 0;
      for (Index begin = block; begin < end; begin += count) {
        const bool in_part = part.begin <= begin && begin < part.end;
        const Index rate_end = in_part              ? part.end
                               : begin < part.begin ? part.begin
                                                    : end;  // of the entries at one rate
        count = std::min({kScratch, end - begin, rate_end - begin});
        ArrayView<Scalar> g(scratch + static_cast<Index>(Targets) * kScratch, count);
        g = ConstArrayView<Scalar>(arguments.gradient + begin, count) * scale;
        change(begin, g, static_cast<Scalar>(in_part ? part_rate : rate), updated);
        function(begin, count, updated);
      }
    });
  };
  constexpr double safe = static_cast<double>(std::numeric_limits<Scalar>::max()) / 16;  // room for rounding
  const bool surely_finite =
      std::isfinite(norm) && std::isfinite(slots.largest) && bounds.slots < safe && bounds.parameters < safe;
  if (!surely_finite) {
    std::atomic<bool> finite{true};
    for_each_part([&](Index, Index count, const std::array<Scalar*, Targets>& updated) {
      for (const Scalar* values : updated)
        if (!all_finite(values, count)) finite.store(false, std::memory_order_relaxed);
    });
    if (!finite.load(std::memory_order_relaxed)) return {false, norm};
  }
  for_each_part([&](Index begin, Index count, const std::array<Scalar*, Targets>& updated) {
    for (std::size_t i = 0; i < Targets; ++i) std::copy_n(updated[i], count, targets[i] + begin);
  });
  slots.largest = bounds.slots;
  return {true, norm};
}

}  // namespace

template <typename Scalar>
StepResult SgdRule::step(const StepArguments<Scalar>& arguments, Slots<Scalar, 1>& slots, Index /*number*/) const {
  const Scalar* parameters = arguments.parameters;
  const Scalar* velocity = slots.vectors[0].data();
  const auto kept = static_cast<Scalar>(momentum);
  return apply(
      arguments, slots, 1.0,
      [&](double g, double p, double rate) {
        const double velocity_bound = momentum * slots.largest + g;
        return Bounds{velocity_bound, p + rate * velocity_bound};
      },
      [&](Index begin, const auto& g, Scalar rate, auto& updated) {
        const Index count = g.size();
        ArrayView<Scalar> p(updated[0], count);
        ArrayView<Scalar> v(updated[1], count);
        v = kept * ConstArrayView<Scalar>(velocity + begin, count) + g;
        p = ConstArrayView<Scalar>(parameters + begin, count) - rate * v;
      });
}

template <typename Scalar>
StepResult AdamRule::step(const StepArguments<Scalar>& arguments, Slots<Scalar, 2>& slots, Index number) const {
  const Scalar* parameters = arguments.parameters;
  const Scalar* mean = slots.vectors[0].data();
  const Scalar* mean_square = slots.vectors[1].data();
  const auto count_of_steps = static_cast<double>(number);
  const auto unbias = static_cast<Scalar>(1.0 / std::sqrt(1.0 - std::pow(beta2, count_of_steps)));
  const auto b1 = static_cast<Scalar>(beta1);
  const auto b2 = static_cast<Scalar>(beta2);
  const auto eps = static_cast<Scalar>(epsilon);
  return apply(
      arguments, slots, 1.0 - std::pow(beta1, count_of_steps),
      [&](double g, double p, double rate) {
        const double mean_bound = std::max(slots.largest, std::max(g, g * g));  // both slots are weighted means
        return Bounds{mean_bound, p + rate * mean_bound / static_cast<double>(eps)};
      },
      [&](Index begin, const auto& g, Scalar rate, auto& updated) {
        const Index count = g.size();
        ArrayView<Scalar> p(updated[0], count);
        ArrayView<Scalar> m(updated[1], count);
        ArrayView<Scalar> s(updated[2], count);
        m = b1 * ConstArrayView<Scalar>(mean + begin, count) + (Scalar(1) - b1) * g;
        s = b2 * ConstArrayView<Scalar>(mean_square + begin, count) + (Scalar(1) - b2) * g.square();
        p = ConstArrayView<Scalar>(parameters + begin, count) - rate * m / (s.sqrt() * unbias + eps);
      });
}

template <typename Scalar>
StepResult RmspropRule::step(const StepArguments<Scalar>& arguments, Slots<Scalar, 1>& slots, Index /*number*/) const {
  const Scalar* parameters = arguments.parameters;
  const Scalar* mean_square = slots.vectors[0].data();
  const auto kept = static_cast<Scalar>(decay);
  const auto eps = static_cast<Scalar>(epsilon);
  const auto rounded = static_cast<double>(eps);  // 0 if epsilon is too small for the dtype: nothing is bounded then
  const double smallest_divisor = form == RmspropForm::pytorch ? rounded : std::sqrt(rounded);
  return apply(
      arguments, slots, 1.0,
      [&](double g, double p, double rate) {
        return Bounds{std::max(slots.largest, g * g), p + rate * g / smallest_divisor};
      },
      [&](Index begin, const auto& g, Scalar rate, auto& updated) {
        const Index count = g.size();
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

template StepResult SgdRule::step(const StepArguments<float>&, Slots<float, 1>&, Index) const;
template StepResult SgdRule::step(const StepArguments<double>&, Slots<double, 1>&, Index) const;
template StepResult AdamRule::step(const StepArguments<float>&, Slots<float, 2>&, Index) const;
template StepResult AdamRule::step(const StepArguments<double>&, Slots<double, 2>&, Index) const;
template StepResult RmspropRule::step(const StepArguments<float>&, Slots<float, 1>&, Index) const;
template StepResult RmspropRule::step(const StepArguments<double>&, Slots<double, 1>&, Index) const;

}  // namespace pgfast
