#include <array>
#include <string>
#include <tuple>
#include <utility>

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "pgfast/optim/clip.hpp"
#include "pgfast/optim/optimizers.hpp"

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

/// What every step demands of its first two arguments, before anything is allocated for the third.
void bind_check_step(const std::string& name, const py::object& parameters, const py::object& gradient) {
  Arguments check(name.c_str());
  check.dispatch("parameters", parameters, [&](auto tag) {
    using Scalar = decltype(tag);
    check.output<Scalar>("parameters", parameters, {"P"});
    check.input<Scalar>("gradient", gradient, {"P"});
    check.distinct("parameters", parameters, "gradient", gradient);
  });
}

/// What the Python face of an optimizer keeps between steps, beside its arrays.
struct StepSettings {
  double learning_rate;
  double max_norm;
  double state_norm;
};

using StepTuple = std::tuple<bool, double, double>;

/// What all steps share: parameters and gradient checked, state arrays of the same size, the step run without the GIL.
/// Gives (done, norm of the gradient before clipping, bound on the new state).
template <typename Step>
StepTuple run_step(const char* name, const py::object& parameters, const py::object& gradient,
                   std::initializer_list<std::pair<const char*, py::object>> state, const StepSettings& settings,
                   Step&& step) {
  Arguments check(name);
  return check.dispatch("parameters", parameters, [&](auto tag) -> StepTuple {
    using Scalar = decltype(tag);
    auto* p = check.output<Scalar>("parameters", parameters, {"P"});
    const auto* g = check.input<Scalar>("gradient", gradient, {"P"});
    check.distinct("parameters", parameters, "gradient", gradient);
    std::array<Scalar*, 2> arrays{};
    std::size_t count = 0;
    for (const auto& [state_name, array] : state) {
      arrays[count++] = check.output<Scalar>(state_name, array, {"P"});
      check.distinct(state_name, array, "parameters", parameters);
      check.distinct(state_name, array, "gradient", gradient);
    }
    if (!(settings.max_norm > 0)) check.positive("max_norm", settings.max_norm);
    const Index size = check.extent("P");
    const StepResult result = without_gil([&] {
      return step(StepArguments<Scalar>{p, g, size, settings.learning_rate, settings.max_norm, settings.state_norm},
                  arrays);
    });
    if (!result.done) check.finite("gradient", g, size);  // the first reason to refuse a step
    if (!std::isfinite(result.gradient_norm) && std::isfinite(settings.max_norm))
      check.fail("gradient", "has a norm that overflows");
    return {result.done, result.gradient_norm, result.state_norm};
  });
}

StepTuple bind_sgd(const py::object& parameters, const py::object& gradient, const py::object& velocity,
                   double learning_rate, double max_norm, double state_norm, double momentum) {
  return run_step("SGD.step", parameters, gradient, {{"velocity", velocity}}, {learning_rate, max_norm, state_norm},
                  [&](const auto& arguments, auto& state) { return sgd_step(arguments, state[0], momentum); });
}

StepTuple bind_adam(const py::object& parameters, const py::object& gradient, const py::object& mean,
                    const py::object& mean_square, double learning_rate, double max_norm, double state_norm,
                    std::int64_t step, double beta1, double beta2, double epsilon) {
  return run_step("Adam.step", parameters, gradient, {{"mean", mean}, {"mean_square", mean_square}},
                  {learning_rate, max_norm, state_norm}, [&](const auto& arguments, auto& state) {
                    return adam_step(arguments, state[0], state[1], static_cast<Index>(step), beta1, beta2, epsilon);
                  });
}

StepTuple bind_rmsprop(const py::object& parameters, const py::object& gradient, const py::object& mean_square,
                       double learning_rate, double max_norm, double state_norm, double decay, double epsilon,
                       const std::string& form) {
  if (form != "pytorch" && form != "tensorflow")
    throw py::value_error("RMSprop.step: form must be \"pytorch\" or \"tensorflow\", got \"" + form + "\"");
  const RmspropForm where = form == "pytorch" ? RmspropForm::pytorch : RmspropForm::tensorflow;
  return run_step(
      "RMSprop.step", parameters, gradient, {{"mean_square", mean_square}}, {learning_rate, max_norm, state_norm},
      [&](const auto& arguments, auto& state) { return rmsprop_step(arguments, state[0], decay, epsilon, where); });
}

}  // namespace

void register_optim(py::module_& module) {
  module.def("clip_by_global_norm", &bind_clip, py::arg("gradient"), py::arg("max_norm"));
  module.def("check_step", &bind_check_step, py::arg("name"), py::arg("parameters"), py::arg("gradient"));
  module.def("sgd_step", &bind_sgd, py::arg("parameters"), py::arg("gradient"), py::arg("velocity"),
             py::arg("learning_rate"), py::arg("max_norm"), py::arg("state_norm"), py::arg("momentum"));
  module.def("adam_step", &bind_adam, py::arg("parameters"), py::arg("gradient"), py::arg("mean"),
             py::arg("mean_square"), py::arg("learning_rate"), py::arg("max_norm"), py::arg("state_norm"),
             py::arg("step"), py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"));
  module.def("rmsprop_step", &bind_rmsprop, py::arg("parameters"), py::arg("gradient"), py::arg("mean_square"),
             py::arg("learning_rate"), py::arg("max_norm"), py::arg("state_norm"), py::arg("decay"), py::arg("epsilon"),
             py::arg("form"));
}

}  // namespace pgfast::bindings
