// Binds returns, the Fisher matrix and the natural gradient.
#include <algorithm>
#include <limits>
#include <numbers>
#include <string>
#include <tuple>
#include <utility>

#include "arrays.hpp"
#include "pgfast/rl/fisher.hpp"
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

}  // namespace

void register_rl(py::module_& module) {
  module.def("discounted_returns", &bind_discounted_returns, py::arg("rewards"), py::arg("dones"),
             py::arg("next_values"), py::arg("discount"));
  module.def("gae", &bind_gae, py::arg("rewards"), py::arg("values"), py::arg("next_values"), py::arg("terminated"),
             py::arg("truncated"), py::arg("discount"), py::arg("gae_lambda"), py::arg("out") = py::none());
  module.def("fisher_matrix", &bind_fisher_matrix, py::arg("scores"), py::arg("count"));
  module.def("natural_gradient", &bind_natural_gradient, py::arg("fisher"), py::arg("gradient"), py::arg("damping"));
  module.def("natural_gradient_from_scores", &bind_natural_gradient_from_scores, py::arg("scores"), py::arg("gradient"),
             py::arg("damping"), py::arg("method"));
  module.def("natural_step_size", &bind_natural_step_size, py::arg("fisher"), py::arg("natural_gradient"),
             py::arg("max_kl"));
}

}  // namespace pgfast::bindings
