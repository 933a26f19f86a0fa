// Binds returns, losses, the Fisher matrix and the natural gradient.
#include <algorithm>
#include <limits>
#include <numbers>
#include <string>
#include <tuple>
#include <utility>

#include "arrays.hpp"
#include "pgfast/rl/fisher.hpp"
#include "pgfast/rl/losses.hpp"
#include "pgfast/rl/natural_gradient.hpp"
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
                   const py::object& terminated, const py::object& truncated, double discount, double gae_lambda,
                   const py::object& out) {
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
    if (!out.is_none() && (!py::isinstance<py::tuple>(out) || py::len(out) != 2))
      throw py::type_error("gae: out must be a tuple (advantages, returns) or None");
    const py::tuple results = out.is_none()
                                  ? py::make_tuple(check.result<Scalar>({"T", "N"}), check.result<Scalar>({"T", "N"}))
                                  : py::tuple(out);
    const py::object advantages = results[0];
    const py::object returns = results[1];
    auto* advantages_to = check.output<Scalar>("out[0]", advantages, {"T", "N"});
    auto* returns_to = check.output<Scalar>("out[1]", returns, {"T", "N"});
    if (!out.is_none()) {
      check.distinct("out[0]", advantages, "out[1]", returns);
      for (const auto& [name, input] :
           {std::pair{"rewards", rewards}, std::pair{"values", values}, std::pair{"next_values", next_values},
            std::pair{"terminated", terminated}, std::pair{"truncated", truncated}}) {
        if (input.is_none()) continue;
        check.distinct("out[0]", advantages, name, input);
        check.distinct("out[1]", returns, name, input);
      }
    }
    without_gil([&] {
      gae(check.extent("T"), check.extent("N"), r, v, next, ends, cuts, discount, gae_lambda, advantages_to,
          returns_to);
    });
    return results;
  });
}

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

py::array bind_fisher_matrix(const py::object& scores, const py::object& count) {
  Arguments check("fisher_matrix");
  return check.dispatch("scores", scores, [&](auto tag) -> py::array {
    using Scalar = decltype(tag);
    const auto* s = check.input<Scalar>("scores", scores, {"B", "P"});
    const Index rows = check.extent("B");
    const Index divisor = count.is_none() ? rows : check.count("count", count);
    auto fisher = check.result<Scalar>({"P", "P"});
    Scalar* to = fisher.mutable_data();
    without_gil([&] { fisher_matrix(rows, check.extent("P"), s, divisor, to); });
    return py::array(std::move(fisher));
  });
}

/// Raises unless the system was solved.
void require_solved(const char* function, const char* matrix, SolveStatus status) {
  const std::string name = std::string(function) + ": ";
  if (status == SolveStatus::not_positive_definite) {
    const py::object kind = py::module_::import("numpy.linalg").attr("LinAlgError");
    py::set_error(kind, (name + matrix + " + damping I must be positive definite; a larger damping may help").c_str());
    throw py::error_already_set();
  }
  if (status == SolveStatus::overflow) throw py::value_error(name + "the solution overflows");
}

template <typename Scalar>
void require_symmetric(const Arguments& check, const char* name, const Scalar* matrix, Index n) {
  constexpr double tolerance = std::is_same_v<Scalar, float> ? 1e-5 : 1e-10;
  const Symmetry symmetry = without_gil([&] { return symmetry_of(n, matrix); });
  if (!symmetry.finite) check.finite(name, matrix, n * n);
  if (symmetry.difference > tolerance * symmetry.largest) {
    const Asymmetry worst = without_gil([&] { return worst_asymmetry(n, matrix); });
    const std::string i = std::to_string(worst.row);
    const std::string j = std::to_string(worst.column);
    check.fail(name, "must be symmetric to within " + Arguments::number(tolerance) + " of its largest entry " +
                         Arguments::number(symmetry.largest) + ", but [" + i + ", " + j + "] and [" + j + ", " + i +
                         "] differ by " + Arguments::number(worst.difference));
  }
}

py::array bind_natural_gradient(const py::object& fisher, const py::object& gradient, double damping) {
  Arguments check("natural_gradient");
  return check.dispatch("fisher", fisher, [&](auto tag) -> py::array {
    using Scalar = decltype(tag);
    const auto* f = check.input<Scalar>("fisher", fisher, {"P", "P"});
    const auto* g = check.input<Scalar>("gradient", gradient, {"P"});
    const Index size = check.extent("P");
    check.not_negative("damping", damping);
    check.finite("gradient", g, size);
    require_symmetric(check, "fisher", f, size);
    auto x = check.result<Scalar>({"P"});
    Scalar* to = x.mutable_data();
    const SolveStatus status = without_gil([&] { return solve_damped(size, f, g, damping, to); });
    require_solved("natural_gradient", "fisher", status);
    return py::array(std::move(x));
  });
}

py::array bind_natural_gradient_from_scores(const py::object& scores, const py::object& gradient, double damping,
                                            const std::string& method) {
  Arguments check("natural_gradient_from_scores");
  return check.dispatch("scores", scores, [&](auto tag) -> py::array {
    using Scalar = decltype(tag);
    const auto* s = check.input<Scalar>("scores", scores, {"B", "P"});
    const auto* g = check.input<Scalar>("gradient", gradient, {"P"});
    const Index rows = check.extent("B");
    const Index size = check.extent("P");
    if (method != "auto" && method != "cholesky" && method != "woodbury")
      check.fail("method", "must be \"auto\", \"cholesky\" or \"woodbury\", got \"" + method + "\"");
    const bool woodbury = method == "woodbury" || (method == "auto" && rows < size);
    if (woodbury)
      check.positive("damping", damping);
    else
      check.not_negative("damping", damping);
    check.finite("scores", s, rows * size);
    check.finite("gradient", g, size);
    auto x = check.result<Scalar>({"P"});
    Scalar* to = x.mutable_data();
    const SolveStatus status = without_gil([&] {
      if (woodbury) return natural_gradient_woodbury(rows, size, s, g, damping, to);
      Buffer<Scalar> storage;
      Scalar* fisher = storage.reserve(size * size);
      fisher_matrix(rows, size, s, rows, fisher);
      return solve_damped(size, fisher, g, damping, to);
    });
    require_solved("natural_gradient_from_scores", woodbury ? "SS' / B" : "S'S / B", status);
    return py::array(std::move(x));
  });
}

/// `fisher` is a matrix or a callable. For a callable, x'Fx is summed in float64 from its product, which has been
/// rounded to the dtype of x.
double bind_natural_step_size(const py::object& fisher, const py::object& natural_gradient, double max_kl) {
  Arguments check("natural_step_size");
  const bool is_callable = PyCallable_Check(fisher.ptr()) != 0;
  const auto deciding = is_callable ? std::pair{"natural_gradient", natural_gradient} : std::pair{"fisher", fisher};
  return check.dispatch(deciding.first, deciding.second, [&](auto tag) -> double {
    using Scalar = decltype(tag);
    const auto* f = is_callable ? nullptr : check.input<Scalar>("fisher", fisher, {"P", "P"});
    const auto* x = check.input<Scalar>("natural_gradient", natural_gradient, {"P"});
    check.positive("max_kl", max_kl);
    const Index size = check.extent("P");
    double form = 0;
    if (is_callable) {
      const py::object product = fisher(natural_gradient);
      const auto* fx = check.input<Scalar>("fisher(x)", product, {"P"});
      form = without_gil([&] { return pairwise_dot(size, x, fx); });
    } else {
      form = without_gil([&] { return quadratic_form(size, f, x); });
    }
    if (!(form > 0 && std::isfinite(form)))
      check.fail("x'Fx must be positive and finite, got " + Arguments::number(form));
    if (is_callable) return std::sqrt(2.0 * max_kl / form);
    return std::numbers::sqrt2 * std::sqrt(max_kl) / std::sqrt(form);
  });
}

template <bool kGradient>
void register_losses(py::module_& module, const char* policy_gradient, const char* trpo_surrogate, const char* a2c) {
  module.def(policy_gradient, &bind_policy_gradient<kGradient>, py::arg("log_prob"), py::arg("advantages"),
             py::arg("valid"), py::arg("entropy"), py::arg("entropy_coef"), py::arg("count"));
  module.def(trpo_surrogate, &bind_trpo_surrogate<kGradient>, py::arg("ratio"), py::arg("advantages"), py::arg("valid"),
             py::arg("count"));
  module.def(a2c, &bind_a2c<kGradient>, py::arg("log_prob"), py::arg("advantages"), py::arg("entropy"),
             py::arg("returns"), py::arg("values"), py::arg("entropy_coef"), py::arg("value_coef"), py::arg("valid"),
             py::arg("count"));
}

}  // namespace

void register_rl(py::module_& module) {
  module.def("discounted_returns", &bind_discounted_returns, py::arg("rewards"), py::arg("dones"),
             py::arg("next_values"), py::arg("discount"));
  module.def("gae", &bind_gae, py::arg("rewards"), py::arg("values"), py::arg("next_values"), py::arg("terminated"),
             py::arg("truncated"), py::arg("discount"), py::arg("gae_lambda"), py::arg("out") = py::none());
  register_losses<false>(module, "policy_gradient", "trpo_surrogate", "a2c");
  register_losses<true>(module, "policy_gradient_gradient", "trpo_surrogate_gradient", "a2c_gradient");
  module.def("fisher_matrix", &bind_fisher_matrix, py::arg("scores"), py::arg("count"));
  module.def("natural_gradient", &bind_natural_gradient, py::arg("fisher"), py::arg("gradient"), py::arg("damping"));
  module.def("natural_gradient_from_scores", &bind_natural_gradient_from_scores, py::arg("scores"), py::arg("gradient"),
             py::arg("damping"), py::arg("method"));
  module.def("natural_step_size", &bind_natural_step_size, py::arg("fisher"), py::arg("natural_gradient"),
             py::arg("max_kl"));
}

}  // namespace pgfast::bindings
