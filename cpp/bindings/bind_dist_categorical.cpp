#include "arrays.hpp"
#include "pgfast/dist/categorical.hpp"

namespace pgfast::bindings {
namespace {

template <typename Scalar>
LogitRows<Scalar> checked_logits(Arguments& check, const char* name, const py::object& logits) {
  const auto* data = check.finite_input<Scalar>(name, logits, {"B", "A"});
  return {data, check.extent("B"), check.extent("A"), check.extent("A")};
}

/// Checks logits [B, A] and hands them to body(rows, check) in their own precision.
template <typename Body>
auto with_logits(const char* function, const py::object& logits, Body&& body) {
  Arguments check(function);
  return check.dispatch("logits", logits,
                        [&](auto tag) { return body(checked_logits<decltype(tag)>(check, "logits", logits), check); });
}

template <typename Scalar>
const std::int64_t* checked_actions(const LogitRows<Scalar>& rows, Arguments& check, const py::object& actions) {
  const auto* data = check.input<std::int64_t>("actions", actions, {"B"});
  check.actions_in_range("actions", data, rows.rows, rows.choices);
  return data;
}

py::array bind_log_prob(const py::object& logits, const py::object& actions) {
  return with_logits("Categorical.log_prob", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    const auto* acts = checked_actions(rows, check, actions);
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { categorical_log_prob(rows, acts, to); });
  });
}

py::array bind_entropy(const py::object& logits) {
  return with_logits("Categorical.entropy", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { categorical_entropy(rows, to); });
  });
}

py::array bind_kl(const py::object& logits, const py::object& other) {
  return with_logits("Categorical.kl", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    const auto q = checked_logits<Scalar>(check, "other", other);
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { categorical_kl(rows, q, to); });
  });
}

py::array bind_likelihood_ratio(const py::object& logits, const py::object& old, const py::object& actions) {
  const char* function = "Categorical.likelihood_ratio";
  return with_logits(function, logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    const auto before = checked_logits<Scalar>(check, "old", old);
    const auto* acts = checked_actions(rows, check, actions);
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { categorical_likelihood_ratio(rows, before, acts, to); });
  });
}

py::array bind_probabilities(const py::object& logits) {
  const char* function = "Categorical.probabilities";
  return with_logits(function, logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    return check.filled<Scalar>({"B", "A"}, [&](Scalar* to) { categorical_probabilities(rows, to); });
  });
}

py::array bind_mode(const py::object& logits) {
  return with_logits("Categorical.mode", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    return check.filled<std::int64_t>({"B"}, [&](std::int64_t* to) { categorical_mode(rows, to); });
  });
}

py::tuple bind_sample(const py::object& logits, std::uint64_t seed, std::uint16_t stream, std::uint32_t environment,
                      std::uint64_t step) {
  return with_logits(
      "Categorical.sample", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) -> py::tuple {
        auto actions = check.result<std::int64_t>({"B"});
        std::int64_t* actions_to = actions.mutable_data();
        const auto log_prob = check.filled<Scalar>(
            {"B"}, [&](Scalar* to) { categorical_sample(rows, seed, stream, environment, step, actions_to, to); });
        return py::make_tuple(actions, log_prob);
      });
}

py::array bind_gradient(const py::object& logits, const py::object& actions, const py::object& weight_log_prob,
                        const py::object& weight_entropy) {
  return with_logits("Categorical.gradient", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    const auto* acts = checked_actions(rows, check, actions);
    const auto* wl = check.finite_input<Scalar>("weight_log_prob", weight_log_prob, {"B"});
    const auto* we = check.optional_finite_input<Scalar>("weight_entropy", weight_entropy, {"B"});
    return check.filled<Scalar>({"B", "A"}, [&](Scalar* to) { categorical_gradient(rows, acts, wl, we, to); });
  });
}

}  // namespace

void register_categorical(py::module_& module) {
  module.def("categorical_log_prob", &bind_log_prob, py::arg("logits"), py::arg("actions"));
  module.def("categorical_entropy", &bind_entropy, py::arg("logits"));
  module.def("categorical_kl", &bind_kl, py::arg("logits"), py::arg("other"));
  module.def("categorical_likelihood_ratio", &bind_likelihood_ratio, py::arg("logits"), py::arg("old"),
             py::arg("actions"));
  module.def("categorical_probabilities", &bind_probabilities, py::arg("logits"));
  module.def("categorical_mode", &bind_mode, py::arg("logits"));
  module.def("categorical_sample", &bind_sample, py::arg("logits"), py::arg("seed"), py::arg("stream"),
             py::arg("environment"), py::arg("step"));
  module.def("categorical_gradient", &bind_gradient, py::arg("logits"), py::arg("actions"), py::arg("weight_log_prob"),
             py::arg("weight_entropy") = py::none());
}

}  // namespace pgfast::bindings
