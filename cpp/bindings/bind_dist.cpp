#include "arrays.hpp"
#include "pgfast/dist/categorical.hpp"

namespace pgfast::bindings {
namespace {

/// Checks logits [B, A] and hands them to body(rows, check) in their own precision.
template <typename Body>
auto with_logits(const char* function, const py::object& logits, Body&& body) {
  Arguments check(function);
  return check.dispatch("logits", logits, [&](auto tag) {
    using Scalar = decltype(tag);
    const auto* data = check.input<Scalar>("logits", logits, {"B", "A"});
    const Index rows = check.extent("B");
    const Index choices = check.extent("A");
    check.finite("logits", data, rows * choices);
    return body(LogitRows<Scalar>{data, rows, choices, choices}, check);
  });
}

template <typename Scalar>
const std::int64_t* checked_actions(const LogitRows<Scalar>& rows, Arguments& check, const py::object& actions) {
  const auto* data = check.template input<std::int64_t>("actions", actions, {"B"});
  check.actions_in_range("actions", data, rows.rows, rows.choices);
  return data;
}

py::array bind_log_prob(const py::object& logits, const py::object& actions) {
  return with_logits("Categorical.log_prob", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    const auto* acts = checked_actions(rows, check, actions);
    auto result = check.template result<Scalar>({"B"});
    Scalar* to = result.mutable_data();
    without_gil([&] { categorical_log_prob(rows, acts, to); });
    return py::array(std::move(result));
  });
}

py::array bind_entropy(const py::object& logits) {
  return with_logits("Categorical.entropy", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    auto result = check.template result<Scalar>({"B"});
    Scalar* to = result.mutable_data();
    without_gil([&] { categorical_entropy(rows, to); });
    return py::array(std::move(result));
  });
}

py::array bind_kl(const py::object& logits, const py::object& other) {
  return with_logits("Categorical.kl", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    const auto* q = check.template input<Scalar>("other", other, {"B", "A"});
    check.finite("other", q, rows.rows * rows.choices);
    auto result = check.template result<Scalar>({"B"});
    Scalar* to = result.mutable_data();
    without_gil([&] { categorical_kl(rows, LogitRows<Scalar>{q, rows.rows, rows.choices, rows.choices}, to); });
    return py::array(std::move(result));
  });
}

py::array bind_probabilities(const py::object& logits) {
  return with_logits("Categorical.probabilities", logits,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
                       auto result = check.template result<Scalar>({"B", "A"});
                       Scalar* to = result.mutable_data();
                       without_gil([&] { categorical_probabilities(rows, to); });
                       return py::array(std::move(result));
                     });
}

py::array bind_mode(const py::object& logits) {
  return with_logits("Categorical.mode", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) {
    auto result = check.template result<std::int64_t>({"B"});
    std::int64_t* to = result.mutable_data();
    without_gil([&] { categorical_mode(rows, to); });
    return py::array(std::move(result));
  });
}

py::tuple bind_sample(const py::object& logits, std::uint64_t seed, std::uint16_t stream, std::uint32_t environment,
                      std::uint64_t step) {
  return with_logits(
      "Categorical.sample", logits, [&]<typename Scalar>(LogitRows<Scalar> rows, Arguments& check) -> py::tuple {
        auto actions = check.template result<std::int64_t>({"B"});
        auto log_prob = check.template result<Scalar>({"B"});
        std::int64_t* actions_to = actions.mutable_data();
        Scalar* log_prob_to = log_prob.mutable_data();
        without_gil([&] { categorical_sample(rows, seed, stream, environment, step, actions_to, log_prob_to); });
        return py::make_tuple(actions, log_prob);
      });
}

}  // namespace

void register_dist(py::module_& module) {
  module.def("categorical_log_prob", &bind_log_prob, py::arg("logits"), py::arg("actions"));
  module.def("categorical_entropy", &bind_entropy, py::arg("logits"));
  module.def("categorical_kl", &bind_kl, py::arg("logits"), py::arg("other"));
  module.def("categorical_probabilities", &bind_probabilities, py::arg("logits"));
  module.def("categorical_mode", &bind_mode, py::arg("logits"));
  module.def("categorical_sample", &bind_sample, py::arg("logits"), py::arg("seed"), py::arg("stream"),
             py::arg("environment"), py::arg("step"));
}

}  // namespace pgfast::bindings
