// Binds the optimizers and gradient clipping.
#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <pybind11/stl.h>

#include "optimizer_call.hpp"
#include "pgfast/optim/clip.hpp"

namespace pgfast::bindings {
namespace {

double bind_clip(const py::object& gradient, double max_norm) {
  Arguments check("clip_by_global_norm");
  return check.dispatch("gradient", gradient, [&](auto tag) -> double {
    using Scalar = decltype(tag);
    auto* g = check.output<Scalar>("gradient", gradient, {"P"});
    check.positive("max_norm", max_norm);
    const Index size = check.extent("P");
    const double norm = without_gil([&] { return clip_by_global_norm(g, size, max_norm); });
    if (!std::isfinite(norm)) {
      check.finite("gradient", g, size);
      check.fail("gradient", "has a norm that overflows");
    }
    return norm;
  });
}

double learning_rate_of(const char* function, double value) {
  return Arguments(function).not_negative("learning_rate", value);
}

/// Copies a slot that was read from a file.
template <typename Scalar>
std::vector<Scalar> loaded(Arguments& check, const char* name, const py::object& array) {
  const auto* values = check.input<Scalar>(name, array, {"P"});
  const Index size = check.extent("P");
  if (std::string_view(name) == "mean_square" && std::any_of(values, values + size, [](Scalar x) { return x < 0; }))
    check.fail(name, "must be at least 0");
  return {values, values + size};
}

/// (first entry, end, learning rate)
using Part = std::tuple<Index, Index, double>;

PartRate part_rate(const Arguments& check, const std::optional<Part>& part, Index size) {
  if (!part) return {};
  const auto [begin, end, rate] = *part;
  if (begin < 0 || end < begin || end > size)
    check.fail("part", "must be a slice of the " + std::to_string(size) + " parameters, got " + std::to_string(begin) +
                           " to " + std::to_string(end));
  return {begin, end, check.not_negative("part", rate)};
}

template <typename Rule>
double bind_step(Optimizer<Rule>& optimizer, const py::object& parameters, const py::object& gradient, double max_norm,
                 std::optional<double> learning_rate, const std::optional<Part>& part) {
  const std::string function = std::string(Rule::name) + ".step";
  Arguments check(function.c_str());
  const auto lock = locked(optimizer);
  const double rate = learning_rate ? learning_rate_of(function.c_str(), *learning_rate) : optimizer.learning_rate();
  const auto step = [&](auto tag) -> double {
    using Scalar = decltype(tag);
    auto* p = check.output<Scalar>("parameters", parameters, {"P"});
    const auto* g = check.input<Scalar>("gradient", gradient, {"P"});
    check.distinct("parameters", parameters, "gradient", gradient);
    if (!(max_norm > 0)) check.positive("max_norm", max_norm);
    const Index size = check.extent("P");
    const StepArguments<Scalar> arguments{p, g, size, rate, max_norm, part_rate(check, part, size)};
    const StepResult result = without_gil([&] { return optimizer.step(arguments); });
    require_done(check, result, arguments);
    return result.gradient_norm;
  };
  return std::visit(
      [&](const auto& slots) -> double {
        using Kept = std::decay_t<decltype(slots)>;
        if constexpr (std::is_same_v<Kept, std::monostate>) {
          return check.dispatch("parameters", parameters, step);
        } else {
          check.extent("P", slots.size());
          return step(typename Kept::value_type{});
        }
      },
      optimizer.slots());
}

template <typename Rule>
py::dict bind_state(Optimizer<Rule>& optimizer) {
  const auto lock = locked(optimizer);
  py::dict state;
  state["steps"] = optimizer.steps();
  state["learning_rate"] = optimizer.learning_rate();
  std::visit(
      [&](const auto& slots) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(slots)>, std::monostate>)
          for (std::size_t i = 0; i < slots.vectors.size(); ++i)
            state[Rule::slot_names[i]] = py::array(slots.size(), slots.vectors[i].data());
      },
      optimizer.slots());
  return state;
}

/// `arrays` are in the order of the slots' names; empty before the first step.
template <typename Rule>
void bind_load_state(Optimizer<Rule>& optimizer, Index steps, double learning_rate,
                     const std::vector<py::object>& arrays) {
  const std::string function = std::string(Rule::name) + ".load_state";
  Arguments check(function.c_str());
  if (steps < 0) check.fail("steps", "must be at least 0, got " + std::to_string(steps));
  learning_rate_of(function.c_str(), learning_rate);
  typename Optimizer<Rule>::AnySlots slots;
  if (!arrays.empty())
    check.dispatch(Rule::slot_names[0], arrays[0], [&](auto tag) {
      using Scalar = decltype(tag);
      std::array<std::vector<Scalar>, Rule::slot_names.size()> vectors;
      for (std::size_t i = 0; i < vectors.size(); ++i)
        vectors[i] = loaded<Scalar>(check, Rule::slot_names[i], arrays.at(i));
      slots = Slots<Scalar, Rule::slot_names.size()>(std::move(vectors));
    });
  const auto lock = locked(optimizer);
  optimizer.load(steps, learning_rate, std::move(slots));
}

/// Registers the class without its constructor.
template <typename Rule>
py::class_<Optimizer<Rule>> register_optimizer(py::module_& module) {
  return py::class_<Optimizer<Rule>>(module, Rule::name)
      .def("step", &bind_step<Rule>, py::arg("parameters"), py::arg("gradient"), py::arg("max_norm"),
           py::arg("learning_rate"), py::arg("part"))
      .def("state", &bind_state<Rule>)
      .def("load_state", &bind_load_state<Rule>, py::arg("steps"), py::arg("learning_rate"), py::arg("arrays"))
      .def_property_readonly("slot_names", [](const Optimizer<Rule>&) { return Rule::slot_names; })
      .def_property_readonly("steps", &Optimizer<Rule>::steps)
      .def_property("learning_rate", &Optimizer<Rule>::learning_rate, [](Optimizer<Rule>& optimizer, double value) {
        optimizer.set_learning_rate(learning_rate_of(Rule::name, value));
      });
}

/// Returns the value, which must be in [0, 1).
double fraction(const char* function, const char* argument, double value) {
  if (!(value >= 0 && value < 1))
    Arguments(function).fail(argument, "must be in [0, 1), got " + Arguments::number(value));
  return value;
}

std::unique_ptr<Optimizer<SgdRule>> make_sgd(double learning_rate, double momentum) {
  learning_rate_of(SgdRule::name, learning_rate);
  return std::make_unique<Optimizer<SgdRule>>(SgdRule{fraction(SgdRule::name, "momentum", momentum)}, learning_rate);
}

std::unique_ptr<Optimizer<AdamRule>> make_adam(double learning_rate, double beta1, double beta2, double epsilon) {
  learning_rate_of(AdamRule::name, learning_rate);
  const AdamRule rule{fraction(AdamRule::name, "beta1", beta1), fraction(AdamRule::name, "beta2", beta2),
                      Arguments(AdamRule::name).positive("epsilon", epsilon)};
  return std::make_unique<Optimizer<AdamRule>>(rule, learning_rate);
}

std::unique_ptr<Optimizer<RmspropRule>> make_rmsprop(double learning_rate, double decay, double epsilon,
                                                     const std::string& form) {
  const Arguments check(RmspropRule::name);
  learning_rate_of(RmspropRule::name, learning_rate);
  fraction(RmspropRule::name, "decay", decay);
  check.positive("epsilon", epsilon);
  if (form != "pytorch" && form != "tensorflow")
    check.fail("form", "must be \"pytorch\" or \"tensorflow\", got \"" + form + "\"");
  const RmspropRule rule{decay, epsilon, form == "pytorch" ? RmspropForm::pytorch : RmspropForm::tensorflow};
  return std::make_unique<Optimizer<RmspropRule>>(rule, learning_rate);
}

}  // namespace

void register_optim(py::module_& module) {
  module.def("clip_by_global_norm", &bind_clip, py::arg("gradient"), py::arg("max_norm"));
  register_optimizer<SgdRule>(module).def(py::init(&make_sgd), py::arg("learning_rate"), py::arg("momentum"));
  register_optimizer<AdamRule>(module).def(py::init(&make_adam), py::arg("learning_rate"), py::arg("beta1"),
                                           py::arg("beta2"), py::arg("epsilon"));
  register_optimizer<RmspropRule>(module).def(py::init(&make_rmsprop), py::arg("learning_rate"), py::arg("decay"),
                                              py::arg("epsilon"), py::arg("form"));
}

}  // namespace pgfast::bindings
