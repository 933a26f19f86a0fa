#include <string>

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

/// What all steps share: parameters and gradient checked, state arrays of the same size, the step run without the GIL.
template <typename Step>
bool run_step(const char* name, const py::object& parameters, const py::object& gradient,
              std::initializer_list<std::pair<const char*, py::object>> state, Step&& step) {
  Arguments check(name);
  return check.dispatch("parameters", parameters, [&](auto tag) -> bool {
    using Scalar = decltype(tag);
    auto* p = check.output<Scalar>("parameters", parameters, {"P"});
    const auto* g = check.input<Scalar>("gradient", gradient, {"P"});
    check.distinct("parameters", parameters, "gradient", gradient);
    std::vector<Scalar*> arrays;
    for (const auto& [state_name, array] : state) {
      arrays.push_back(check.output<Scalar>(state_name, array, {"P"}));
      check.distinct(state_name, array, "parameters", parameters);
      check.distinct(state_name, array, "gradient", gradient);
    }
    const Index size = check.extent("P");
    const bool done = without_gil([&] { return step(p, g, arrays, size); });
    if (!done) check.finite("gradient", g, size);  // a gradient that is not finite is the first reason to refuse a step
    return done;
  });
}

/// What every step demands of its first two arguments, before anything is allocated for the third.
void bind_check_step(const std::string& name, const py::object& parameters, const py::object& gradient) {
  run_step(name.c_str(), parameters, gradient, {}, [](auto*, auto*, auto&, Index) { return true; });
}

bool bind_sgd(const py::object& parameters, const py::object& gradient, const py::object& velocity,
              double learning_rate, double momentum) {
  return run_step("SGD.step", parameters, gradient, {{"velocity", velocity}},
                  [&](auto* p, auto* g, auto& s, Index n) { return sgd_step(p, g, s[0], n, learning_rate, momentum); });
}

bool bind_adam(const py::object& parameters, const py::object& gradient, const py::object& mean,
               const py::object& mean_square, std::int64_t step, double learning_rate, double beta1, double beta2,
               double epsilon) {
  return run_step("Adam.step", parameters, gradient, {{"mean", mean}, {"mean_square", mean_square}},
                  [&](auto* p, auto* g, auto& s, Index n) {
                    return adam_step(p, g, s[0], s[1], n, static_cast<Index>(step), learning_rate, beta1, beta2,
                                     epsilon);
                  });
}

bool bind_rmsprop(const py::object& parameters, const py::object& gradient, const py::object& mean_square,
                  double learning_rate, double decay, double epsilon, const std::string& form) {
  if (form != "pytorch" && form != "tensorflow")
    throw py::value_error("RMSprop.step: form must be \"pytorch\" or \"tensorflow\", got \"" + form + "\"");
  const RmspropForm where = form == "pytorch" ? RmspropForm::pytorch : RmspropForm::tensorflow;
  return run_step("RMSprop.step", parameters, gradient, {{"mean_square", mean_square}},
                  [&](auto* p, auto* g, auto& s, Index n) {
                    return rmsprop_step(p, g, s[0], n, learning_rate, decay, epsilon, where);
                  });
}

}  // namespace

void register_optim(py::module_& module) {
  module.def("clip_by_global_norm", &bind_clip, py::arg("gradient"), py::arg("max_norm"));
  module.def("check_step", &bind_check_step, py::arg("name"), py::arg("parameters"), py::arg("gradient"));
  module.def("sgd_step", &bind_sgd, py::arg("parameters"), py::arg("gradient"), py::arg("velocity"),
             py::arg("learning_rate"), py::arg("momentum"));
  module.def("adam_step", &bind_adam, py::arg("parameters"), py::arg("gradient"), py::arg("mean"),
             py::arg("mean_square"), py::arg("step"), py::arg("learning_rate"), py::arg("beta1"), py::arg("beta2"),
             py::arg("epsilon"));
  module.def("rmsprop_step", &bind_rmsprop, py::arg("parameters"), py::arg("gradient"), py::arg("mean_square"),
             py::arg("learning_rate"), py::arg("decay"), py::arg("epsilon"), py::arg("form"));
}

}  // namespace pgfast::bindings
