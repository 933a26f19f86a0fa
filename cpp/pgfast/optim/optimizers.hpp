// First-order optimizers on flat parameter vectors. Each step descends: parameters move against the gradient.
//
// A step clips the gradient to a global norm without writing to it. It changes nothing if it would write a non-finite
// number to the parameters or to its state.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/optim/clip.hpp"

namespace pgfast {

struct StepResult {
  bool done;             // false if a new value was not finite; nothing was changed then
  double gradient_norm;  // before clipping; NaN or infinite if the gradient is, or if its norm overflows
};

/// Entries [begin, end) that have a learning rate of their own; none by default.
struct PartRate {
  Index begin = 0;
  Index end = 0;
  double learning_rate = 0;
};

template <typename Scalar>
struct StepArguments {
  Scalar* parameters;
  const Scalar* gradient;
  Index size;
  double learning_rate;
  double max_norm;  // infinite: no clipping
  PartRate part;
};

/// The vectors that a rule keeps between steps, each of the parameters' size.
template <typename Scalar, std::size_t Count>
struct Slots {
  using value_type = Scalar;

  std::array<std::vector<Scalar>, Count> vectors;
  double largest;  // a bound on the magnitude of every entry; NaN if one is not finite

  Slots(Index size, Scalar value) : largest(static_cast<double>(value)) {
    vectors.fill(std::vector<Scalar>(static_cast<std::size_t>(size), value));
  }
  /// Takes ownership of vectors of equal size.
  explicit Slots(std::array<std::vector<Scalar>, Count> values) : vectors(std::move(values)), largest(0) {
    for (const auto& vector : vectors) {
      if (!all_finite(vector.data(), size())) {
        largest = std::numeric_limits<double>::quiet_NaN();
        return;
      }
      const ConstArrayView<Scalar> entries(vector.data(), size());
      largest = std::max(largest, static_cast<double>(entries.abs().maxCoeff()));
    }
  }

  Index size() const { return static_cast<Index>(vectors[0].size()); }
};

/// v = momentum v + g; parameters -= learning_rate v.
struct SgdRule {
  static constexpr const char* name = "SGD";
  static constexpr std::array slot_names{"velocity"};
  double momentum;

  static double initial_value() { return 0; }
  template <typename Scalar>
  StepResult step(const StepArguments<Scalar>& arguments, Slots<Scalar, 1>& slots, Index number) const;
};

/// Adam (Kingma and Ba, 2015, algorithm 1). Steps are numbered from 1.
struct AdamRule {
  static constexpr const char* name = "Adam";
  static constexpr std::array slot_names{"mean", "mean_square"};
  double beta1;
  double beta2;
  double epsilon;

  static double initial_value() { return 0; }
  template <typename Scalar>
  StepResult step(const StepArguments<Scalar>& arguments, Slots<Scalar, 2>& slots, Index number) const;
};

/// The place of RMSprop's epsilon: outside the square root (PyTorch, Chainer), or inside (TensorFlow).
enum class RmspropForm { pytorch, tensorflow };

/// s = decay s + (1 - decay) g^2; parameters -= learning_rate g / (sqrt(s) + epsilon), or / sqrt(s + epsilon).
struct RmspropRule {
  static constexpr const char* name = "RMSprop";
  static constexpr std::array slot_names{"mean_square"};
  double decay;
  double epsilon;
  RmspropForm form;

  double initial_value() const { return form == RmspropForm::pytorch ? 0 : 1; }
  template <typename Scalar>
  StepResult step(const StepArguments<Scalar>& arguments, Slots<Scalar, 1>& slots, Index number) const;
};

/// A rule with its state between steps. The first step allocates the slots.
template <typename Rule>
class Optimizer {
 public:
  template <typename Scalar>
  using SlotsOf = Slots<Scalar, Rule::slot_names.size()>;
  using AnySlots = std::variant<std::monostate, SlotsOf<float>, SlotsOf<double>>;

  Optimizer(const Rule& rule, double learning_rate) : learning_rate_(learning_rate), rule_(rule) {}

  /// Updates parameters of the slots' dtype and size. A step that is done also stores its learning rate.
  template <typename Scalar>
  StepResult step(const StepArguments<Scalar>& arguments) {
    if (std::holds_alternative<std::monostate>(slots_)) {
      SlotsOf<Scalar> slots(arguments.size, static_cast<Scalar>(rule_.initial_value()));
      const StepResult result = count(rule_.step(arguments, slots, steps_ + 1), arguments.learning_rate);
      if (result.done) slots_ = std::move(slots);
      return result;
    }
    return count(rule_.step(arguments, std::get<SlotsOf<Scalar>>(slots_), steps_ + 1), arguments.learning_rate);
  }

  void load(Index steps, double learning_rate, AnySlots slots) {
    steps_ = steps;
    learning_rate_ = learning_rate;
    slots_ = std::move(slots);
  }

  Index steps() const { return steps_; }
  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double learning_rate) { learning_rate_ = learning_rate; }
  const AnySlots& slots() const { return slots_; }

  /// Locks the optimizer. A thread that uses an optimizer which other threads may use must hold this lock.
  std::unique_lock<std::mutex> exclusive() { return std::unique_lock(mutex_); }

 private:
  StepResult count(const StepResult& result, double learning_rate) {
    if (!result.done) return result;
    ++steps_;
    learning_rate_ = learning_rate;
    return result;
  }

  Index steps_ = 0;
  double learning_rate_;
  Rule rule_;
  AnySlots slots_;
  std::mutex mutex_;
};

}  // namespace pgfast
