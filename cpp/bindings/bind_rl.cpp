#include <limits>

#include "arrays.hpp"
#include "pgfast/rl/a2c_loss.hpp"
#include "pgfast/rl/policy_loss.hpp"
#include "pgfast/rl/returns.hpp"

namespace pgfast::bindings {
namespace {

py::array bind_discounted_returns(const py::object& rewards, const py::object& dones, const py::object& next_values,
                                  double discount) {
  Arguments check("discounted_returns");
  return check.dispatch("rewards", rewards, [&](auto tag) -> py::array {
    using Scalar = decltype(tag);
    const auto* r = check.input<Scalar>("rewards", rewards, {"T", "N"});
    const auto* d = check.input<bool>("dones", dones, {"T", "N"});
    const auto* v = check.input<Scalar>("next_values", next_values, {"N"});
    check.in_range("discount", discount, 0, 1);
    auto returns = check.result<Scalar>({"T", "N"});
    Scalar* to = returns.mutable_data();
    without_gil([&] { discounted_returns(check.extent("T"), check.extent("N"), r, d, v, discount, to); });
    return py::array(std::move(returns));
  });
}

py::tuple bind_gae(const py::object& rewards, const py::object& values, const py::object& next_values,
                   const py::object& terminated, const py::object& truncated, double discount, double gae_lambda) {
  Arguments check("gae");
  return check.dispatch("rewards", rewards, [&](auto tag) -> py::tuple {
    using Scalar = decltype(tag);
    const auto* r = check.input<Scalar>("rewards", rewards, {"T", "N"});
    const auto* v = check.input<Scalar>("values", values, {"T", "N"});
    NextValues<Scalar> next{nullptr, nullptr};
    if (check.as_array("next_values", next_values).ndim() == 2)
      next.all = check.input<Scalar>("next_values", next_values, {"T", "N"});
    else
      next.last = check.input<Scalar>("next_values", next_values, {"N"});
    const auto* ends = check.input<bool>("terminated", terminated, {"T", "N"});
    const auto* cuts = check.optional_input<bool>("truncated", truncated, {"T", "N"});
    check.in_range("discount", discount, 0, 1);
    check.in_range("gae_lambda", gae_lambda, 0, 1);
    auto advantages = check.result<Scalar>({"T", "N"});
    auto returns = check.result<Scalar>({"T", "N"});
    Scalar* advantages_to = advantages.mutable_data();
    Scalar* returns_to = returns.mutable_data();
    without_gil([&] {
      gae(check.extent("T"), check.extent("N"), r, v, next, ends, cuts, discount, gae_lambda, advantages_to,
          returns_to);
    });
    return py::make_tuple(advantages, returns);
  });
}

/// Coefficients in the range of the arrays' own precision.
template <typename Scalar>
A2cCoefficients coefficients(const Arguments& check, double entropy_coef, double value_coef) {
  const double most = static_cast<double>(std::numeric_limits<Scalar>::max()) / 4;
  check.not_negative("entropy_coef", entropy_coef);
  check.not_negative("value_coef", value_coef);
  return {check.in_range("entropy_coef", entropy_coef, 0, most), check.in_range("value_coef", value_coef, 0, most)};
}

void require_valid_row(const Arguments& check, const bool* valid, Index rows) {
  if (valid == nullptr) return;
  for (Index i = 0; i < rows; ++i)
    if (valid[i]) return;
  check.fail("valid", "must mark at least one row");
}

double bind_policy_gradient(const py::object& log_prob, const py::object& advantages, const py::object& valid) {
  Arguments check("policy_gradient");
  return check.dispatch("log_prob", log_prob, [&](auto tag) {
    using Scalar = decltype(tag);
    const auto* l = check.input<Scalar>("log_prob", log_prob, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const auto* mask = check.optional_input<bool>("valid", valid, {"B"});
    const Index rows = check.extent("B");
    require_valid_row(check, mask, rows);
    return without_gil([&] { return policy_gradient_loss(rows, l, a, mask); });
  });
}

/// `ratio` is what new.likelihood_ratio(old, actions) gave: errors name what the caller passed.
double bind_trpo_surrogate(const py::object& ratio, const py::object& advantages, const py::object& valid) {
  Arguments check("trpo_surrogate");
  return check.dispatch("new", ratio, [&](auto tag) {
    using Scalar = decltype(tag);
    const auto* q = check.input<Scalar>("new", ratio, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const auto* mask = check.optional_input<bool>("valid", valid, {"B"});
    const Index rows = check.extent("B");
    require_valid_row(check, mask, rows);
    return without_gil([&] { return trpo_surrogate_loss(rows, q, a, mask); });
  });
}

py::tuple as_tuple(const A2cLosses& losses) { return py::make_tuple(losses.policy, losses.value, losses.total); }

py::tuple bind_a2c(const py::object& log_prob, const py::object& advantages, const py::object& entropy,
                   const py::object& returns, const py::object& values, double entropy_coef, double value_coef,
                   const py::object& valid) {
  Arguments check("a2c");
  return check.dispatch("log_prob", log_prob, [&](auto tag) -> py::tuple {
    using Scalar = decltype(tag);
    const auto* l = check.input<Scalar>("log_prob", log_prob, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const auto* h = check.input<Scalar>("entropy", entropy, {"B"});
    const auto* r = check.input<Scalar>("returns", returns, {"B"});
    const auto* v = check.input<Scalar>("values", values, {"B"});
    const auto* mask = check.optional_input<bool>("valid", valid, {"B"});
    const Index rows = check.extent("B");
    require_valid_row(check, mask, rows);
    return as_tuple(a2c_losses(rows, l, a, h, r, v, coefficients<Scalar>(check, entropy_coef, value_coef), mask));
  });
}

py::tuple bind_a2c_gradient(const py::object& logits, const py::object& values, const py::object& actions,
                            const py::object& advantages, const py::object& returns, double entropy_coef,
                            double value_coef, const py::object& valid) {
  Arguments check("a2c_gradient");
  return check.dispatch("logits", logits, [&](auto tag) -> py::tuple {
    using Scalar = decltype(tag);
    const auto* l = check.input<Scalar>("logits", logits, {"B", "A"});
    const auto* v = check.input<Scalar>("values", values, {"B"});
    const auto* acts = check.input<std::int64_t>("actions", actions, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const auto* r = check.input<Scalar>("returns", returns, {"B"});
    const auto* mask = check.optional_input<bool>("valid", valid, {"B"});
    const Index rows = check.extent("B");
    const Index choices = check.extent("A");
    check.actions_in_range("actions", acts, rows, choices);
    check.finite("logits", l, rows * choices);
    require_valid_row(check, mask, rows);
    const A2cCoefficients c = coefficients<Scalar>(check, entropy_coef, value_coef);
    auto dlogits = check.result<Scalar>({"B", "A"});
    auto dvalues = check.result<Scalar>({"B"});
    Scalar* dlogits_to = dlogits.mutable_data();
    Scalar* dvalues_to = dvalues.mutable_data();
    const A2cLosses losses = without_gil([&] {
      return a2c_gradient<Scalar>({l, rows, choices, choices}, v, acts, a, r, c, mask, dlogits_to, dvalues_to);
    });
    return py::make_tuple(losses.policy, losses.value, losses.total, dlogits, dvalues);
  });
}

}  // namespace

void register_rl(py::module_& module) {
  module.def("discounted_returns", &bind_discounted_returns, py::arg("rewards"), py::arg("dones"),
             py::arg("next_values"), py::arg("discount"));
  module.def("gae", &bind_gae, py::arg("rewards"), py::arg("values"), py::arg("next_values"), py::arg("terminated"),
             py::arg("truncated"), py::arg("discount"), py::arg("gae_lambda"));
  module.def("policy_gradient", &bind_policy_gradient, py::arg("log_prob"), py::arg("advantages"),
             py::arg("valid") = py::none());
  module.def("trpo_surrogate", &bind_trpo_surrogate, py::arg("ratio"), py::arg("advantages"),
             py::arg("valid") = py::none());
  module.def("a2c", &bind_a2c, py::arg("log_prob"), py::arg("advantages"), py::arg("entropy"), py::arg("returns"),
             py::arg("values"), py::arg("entropy_coef"), py::arg("value_coef"), py::arg("valid") = py::none());
  module.def("a2c_gradient", &bind_a2c_gradient, py::arg("logits"), py::arg("values"), py::arg("actions"),
             py::arg("advantages"), py::arg("returns"), py::arg("entropy_coef"), py::arg("value_coef"),
             py::arg("valid") = py::none());
}

}  // namespace pgfast::bindings
