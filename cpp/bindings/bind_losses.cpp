// Binds the losses of the algorithms and their row gradients.
#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "pgfast/rl/losses.hpp"

namespace pgfast::bindings {
namespace {

/// The rows that `valid` marks and the divisor of their means: `count`, or the number of these rows if it is None.
LossRows loss_rows(Arguments& check, const py::object& valid, const py::object& count) {
  const auto* mask = check.optional_input<bool>("valid", valid, {"B"});
  const Index rows = check.extent("B");
  if (!count.is_none()) return {rows, mask, check.count("count", count)};
  const Index marked = mask == nullptr ? rows : std::count(mask, mask + rows, true);
  if (marked == 0) check.fail("valid", "must mark at least one row");
  return {rows, mask, marked};
}

/// Checks that a coefficient is in the range of the arrays' precision.
template <typename Scalar>
double coefficient(const Arguments& check, const char* name, double value) {
  check.not_negative(name, value);
  return check.in_range(name, value, 0, static_cast<double>(std::numeric_limits<Scalar>::max()) / 4);
}

/// Sets `array` to a new array [B] and returns its memory. Unless `wanted`, leaves it None and returns nullptr.
template <typename Scalar>
Scalar* new_rows(Arguments& check, bool wanted, py::object& array) {
  if (!wanted) return nullptr;
  auto rows = check.result<Scalar>({"B"});
  Scalar* memory = rows.mutable_data();
  array = std::move(rows);
  return memory;
}

/// (-mean(log_prob A), mean(H), d loss / d log_prob or None, d loss / d entropy or None).
using PolicyGradientResult = std::tuple<double, double, py::object, py::object>;

template <bool kGradient>
PolicyGradientResult bind_policy_gradient(const py::object& log_prob, const py::object& advantages,
                                          const py::object& valid, const py::object& entropy, double entropy_coef,
                                          const py::object& count) {
  Arguments check(kGradient ? "policy_gradient_gradient" : "policy_gradient");
  return check.dispatch("log_prob", log_prob, [&](auto tag) -> PolicyGradientResult {
    using Scalar = decltype(tag);
    const auto* l = check.input<Scalar>("log_prob", log_prob, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const auto* h = check.optional_input<Scalar>("entropy", entropy, {"B"});
    const LossRows rows = loss_rows(check, valid, count);
    coefficient<Scalar>(check, "entropy_coef", entropy_coef);
    if (h == nullptr && entropy_coef != 0) check.fail("entropy", "must be given if entropy_coef is not 0");
    py::object dlog_prob = py::none();
    py::object dentropy = py::none();
    RowGradients<Scalar> gradient;
    gradient.log_prob = new_rows<Scalar>(check, kGradient, dlog_prob);
    gradient.entropy = new_rows<Scalar>(check, kGradient && entropy_coef != 0, dentropy);
    const PolicyGradientLoss loss = without_gil([&] { return policy_gradient(rows, l, a, h, entropy_coef, gradient); });
    return {loss.policy, loss.mean_entropy, dlog_prob, dentropy};
  });
}

/// (loss, d loss / d log_prob or None). The Python function computes `ratio` as new.likelihood_ratio(old, actions), so
/// error texts name its argument `new`.
using SurrogateResult = std::tuple<double, py::object>;

template <bool kGradient>
SurrogateResult bind_trpo_surrogate(const py::object& ratio, const py::object& advantages, const py::object& valid,
                                    const py::object& count) {
  Arguments check(kGradient ? "trpo_surrogate_gradient" : "trpo_surrogate");
  return check.dispatch("new", ratio, [&](auto tag) -> SurrogateResult {
    using Scalar = decltype(tag);
    const auto* q = check.input<Scalar>("new", ratio, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const LossRows rows = loss_rows(check, valid, count);
    py::object dlog_prob = py::none();
    RowGradients<Scalar> gradient;
    gradient.log_prob = new_rows<Scalar>(check, kGradient, dlog_prob);
    const double loss = without_gil([&] { return trpo_surrogate(rows, q, a, gradient); });
    return {loss, dlog_prob};
  });
}

/// ((policy, value, total), d total / d log_prob, entropy and values), the last three None without gradient.
using A2cResult = std::tuple<std::tuple<double, double, double>, py::object, py::object, py::object>;

template <bool kGradient>
A2cResult bind_a2c(const py::object& log_prob, const py::object& advantages, const py::object& entropy,
                   const py::object& returns, const py::object& values, double entropy_coef, double value_coef,
                   const py::object& valid, const py::object& count) {
  Arguments check(kGradient ? "a2c_gradient" : "a2c");
  return check.dispatch("log_prob", log_prob, [&](auto tag) -> A2cResult {
    using Scalar = decltype(tag);
    const auto* l = check.input<Scalar>("log_prob", log_prob, {"B"});
    const auto* a = check.input<Scalar>("advantages", advantages, {"B"});
    const auto* h = check.input<Scalar>("entropy", entropy, {"B"});
    const auto* r = check.input<Scalar>("returns", returns, {"B"});
    const auto* v = check.input<Scalar>("values", values, {"B"});
    const LossRows rows = loss_rows(check, valid, count);
    const A2cCoefficients coefficients{coefficient<Scalar>(check, "entropy_coef", entropy_coef),
                                       coefficient<Scalar>(check, "value_coef", value_coef)};
    py::object dlog_prob = py::none();
    py::object dentropy = py::none();
    py::object dvalues = py::none();
    RowGradients<Scalar> gradient;
    gradient.log_prob = new_rows<Scalar>(check, kGradient, dlog_prob);
    gradient.entropy = new_rows<Scalar>(check, kGradient, dentropy);
    gradient.values = new_rows<Scalar>(check, kGradient, dvalues);
    const A2cLosses losses = without_gil([&] { return a2c(rows, l, a, h, r, v, coefficients, gradient); });
    return {{losses.policy, losses.value, losses.total}, dlog_prob, dentropy, dvalues};
  });
}

/// ((policy, value, total, clip_fraction, approx_kl), d total / d log_prob, entropy and values), the last three None
/// without gradient.
using PpoResult = std::tuple<std::tuple<double, double, double, double, double>, py::object, py::object, py::object>;

template <bool kGradient>
PpoResult bind_ppo(const py::object& log_prob, const py::object& old_log_prob, const py::object& advantages,
                   const py::object& entropy, const py::object& returns, const py::object& values, double clip_range,
                   double entropy_coef, double value_coef, const py::object& valid, const py::object& old_values,
                   std::optional<double> value_clip_range, const py::object& count) {
  Arguments check(kGradient ? "ppo_gradient" : "ppo");
  return check.dispatch("log_prob", log_prob, [&](auto tag) -> PpoResult {
    using Scalar = decltype(tag);
    const PpoColumns<Scalar> columns{check.input<Scalar>("log_prob", log_prob, {"B"}),
                                     check.input<Scalar>("old_log_prob", old_log_prob, {"B"}),
                                     check.input<Scalar>("advantages", advantages, {"B"}),
                                     check.input<Scalar>("entropy", entropy, {"B"}),
                                     check.input<Scalar>("returns", returns, {"B"}),
                                     check.input<Scalar>("values", values, {"B"}),
                                     check.optional_input<Scalar>("old_values", old_values, {"B"})};
    const LossRows rows = loss_rows(check, valid, count);
    if ((columns.old_values != nullptr) != value_clip_range.has_value())
      check.fail("value_clip_range", "must be given with old_values, and only then");
    const PpoCoefficients coefficients{coefficient<Scalar>(check, "clip_range", clip_range),
                                       coefficient<Scalar>(check, "entropy_coef", entropy_coef),
                                       coefficient<Scalar>(check, "value_coef", value_coef),
                                       coefficient<Scalar>(check, "value_clip_range", value_clip_range.value_or(0))};
    py::object dlog_prob = py::none();
    py::object dentropy = py::none();
    py::object dvalues = py::none();
    RowGradients<Scalar> gradient;
    gradient.log_prob = new_rows<Scalar>(check, kGradient, dlog_prob);
    gradient.entropy = new_rows<Scalar>(check, kGradient, dentropy);
    gradient.values = new_rows<Scalar>(check, kGradient, dvalues);
    const PpoLosses losses = without_gil([&] { return ppo(rows, columns, coefficients, gradient); });
    return {{losses.policy, losses.value, losses.total, losses.clip_fraction, losses.approx_kl},
            dlog_prob,
            dentropy,
            dvalues};
  });
}

template <bool kGradient>
void register_losses(py::module_& module, const char* policy_gradient, const char* trpo_surrogate, const char* a2c,
                     const char* ppo) {
  module.def(policy_gradient, &bind_policy_gradient<kGradient>, py::arg("log_prob"), py::arg("advantages"),
             py::arg("valid"), py::arg("entropy"), py::arg("entropy_coef"), py::arg("count"));
  module.def(trpo_surrogate, &bind_trpo_surrogate<kGradient>, py::arg("ratio"), py::arg("advantages"), py::arg("valid"),
             py::arg("count"));
  module.def(a2c, &bind_a2c<kGradient>, py::arg("log_prob"), py::arg("advantages"), py::arg("entropy"),
             py::arg("returns"), py::arg("values"), py::arg("entropy_coef"), py::arg("value_coef"), py::arg("valid"),
             py::arg("count"));
  module.def(ppo, &bind_ppo<kGradient>, py::arg("log_prob"), py::arg("old_log_prob"), py::arg("advantages"),
             py::arg("entropy"), py::arg("returns"), py::arg("values"), py::arg("clip_range"), py::arg("entropy_coef"),
             py::arg("value_coef"), py::arg("valid"), py::arg("old_values"), py::arg("value_clip_range"),
             py::arg("count"));
}

}  // namespace

void register_losses(py::module_& module) {
  register_losses<false>(module, "policy_gradient", "trpo_surrogate", "a2c", "ppo");
  register_losses<true>(module, "policy_gradient_gradient", "trpo_surrogate_gradient", "a2c_gradient", "ppo_gradient");
}

}  // namespace pgfast::bindings
