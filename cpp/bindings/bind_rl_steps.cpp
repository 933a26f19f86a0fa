// Binds the normalization of rows, and the inputs and results of an environment step.
#include <algorithm>
#include <utility>

#include "arrays.hpp"
#include "pgfast/rl/normalization.hpp"
#include "pgfast/rl/transitions.hpp"

namespace pgfast::bindings {
namespace {

py::array bind_standardize(const py::object& x, const py::object& mean, const py::object& variance, double epsilon,
                           double limit) {
  Arguments check("standardize");
  return check.dispatch("x", x, [&](auto tag) -> py::array {
    using Scalar = decltype(tag);
    const auto* rows = check.input<Scalar>("x", x, {"B", "K"});
    const auto* center = check.input<double>("mean", mean, {"K"});
    const auto* spread = check.input<double>("variance", variance, {"K"});
    return check.filled<Scalar>({"B", "K"}, [&](Scalar* to) {
      standardize(check.extent("B"), check.extent("K"), rows, center, spread, epsilon, limit, to);
    });
  });
}

py::array bind_column_sums(const py::object& x, const py::object& valid, const py::object& mean) {
  Arguments check("column_sums");
  return check.dispatch("x", x, [&](auto tag) -> py::array {
    using Scalar = decltype(tag);
    const auto* rows = check.input<Scalar>("x", x, {"B", "K"});
    const auto* used = check.optional_input<bool>("valid", valid, {"B"});
    const auto* center = check.optional_input<double>("mean", mean, {"K"});
    return check.filled<double>(
        {"K"}, [&](double* to) { column_sums(check.extent("B"), check.extent("K"), rows, used, center, to); });
  });
}

/// Writes to `out` and returns the first row with a number that is not finite, or -1.
Index bind_to_bounds(const py::object& actions, const py::object& low, const py::object& high, const py::object& scaled,
                     const py::object& out) {
  Arguments check("to_bounds");
  return check.dispatch("actions", actions, [&](auto tag) -> Index {
    using Scalar = decltype(tag);
    const auto* numbers = check.input<Scalar>("actions", actions, {"B", "K"});
    const auto* from = check.input<double>("low", low, {"K"});
    const auto* to = check.input<double>("high", high, {"K"});
    const auto* mapped = check.optional_input<bool>("scaled", scaled, {"K"});
    const Index rows = check.extent("B");
    const Index columns = check.extent("K");
    if (Arguments::has_dtype<float>(check.as_array("out", out)))
      return to_bounds(rows, columns, numbers, from, to, mapped, check.output<float>("out", out, {"B", "K"}));
    return to_bounds(rows, columns, numbers, from, to, mapped, check.output<double>("out", out, {"B", "K"}));
  });
}

/// Whether column k of `choices` is in [0, sizes[k]) in every row.
bool bind_are_choices(const py::object& choices, const py::object& sizes) {
  Arguments check("are_choices");
  const auto* given = check.input<std::int64_t>("choices", choices, {"B", "K"});
  const auto* counts = check.input<std::int64_t>("sizes", sizes, {"K"});
  return are_choices(check.extent("B"), check.extent("K"), given, counts);
}

/// What N environments returned, as new arrays (rewards, stepped, terminated, truncated, ended); None unless `rewards`,
/// `terminated` and `truncated` have shape (N,). They are converted as np.array does it, and raise as it does.
py::object bind_read_step(Index num_envs, const py::object& rewards, const py::object& terminated,
                          const py::object& truncated, const py::object& reset, const py::object& restarted) {
  const py::array_t<double, py::array::c_style | py::array::forcecast> given(rewards);
  const py::array_t<bool, py::array::c_style | py::array::forcecast> terminations(terminated);
  const py::array_t<bool, py::array::c_style | py::array::forcecast> truncations(truncated);
  for (const py::array& array : {py::array(given), py::array(terminations), py::array(truncations)})
    if (array.ndim() != 1 || array.size() != num_envs) return py::none();
  Arguments check("read_step");
  check.extent("N", num_envs);
  const auto* resets = check.input<bool>("reset", reset, {"N"});
  const auto* restarts = check.input<bool>("restarted", restarted, {"N"});
  py::array_t<double> numbers(num_envs);
  std::copy_n(given.data(), num_envs, numbers.mutable_data());
  py::array_t<bool> flags[4] = {py::array_t<bool>(num_envs), py::array_t<bool>(num_envs), py::array_t<bool>(num_envs),
                                py::array_t<bool>(num_envs)};
  read_flags(num_envs, terminations.data(), truncations.data(), resets, restarts,
             {flags[0].mutable_data(), flags[1].mutable_data(), flags[2].mutable_data(), flags[3].mutable_data()});
  return py::make_tuple(numbers, flags[0], flags[1], flags[2], flags[3]);
}

/// Returns (environment, return, length) of each episode that is `over`; the next one starts at 0.
py::list bind_add_step(const py::object& returns, const py::object& lengths, const py::object& rewards,
                       const py::object& stepped, const py::object& over) {
  Arguments check("add_step");
  auto* sums = check.output<double>("returns", returns, {"N"});
  auto* counts = check.output<std::int64_t>("lengths", lengths, {"N"});
  const auto* numbers = check.input<double>("rewards", rewards, {"N"});
  const auto* steps = check.input<bool>("stepped", stepped, {"N"});
  const auto* ends = check.input<bool>("over", over, {"N"});
  const Index n = check.extent("N");
  add_step(n, numbers, steps, sums, counts);
  py::list ended;
  for (Index i = 0; i < n; ++i)
    if (ends[i]) ended.append(py::make_tuple(i, std::exchange(sums[i], 0.0), std::exchange(counts[i], 0)));
  return ended;
}

void bind_store_row(Index t, const py::object& rewards, const py::object& terminated, const py::object& truncated,
                    const py::object& valid, const py::object& stepped, const py::object& rewards_to,
                    const py::object& terminated_to, const py::object& truncated_to, const py::object& valid_to,
                    const py::object& time_to) {
  Arguments check("store_row");
  check.dispatch("rewards_to", rewards_to, [&](auto tag) {
    using Scalar = decltype(tag);
    const auto* numbers = check.input<double>("rewards", rewards, {"N"});
    const auto* terminations = check.input<bool>("terminated", terminated, {"N"});
    const auto* truncations = check.input<bool>("truncated", truncated, {"N"});
    const auto* used = check.input<bool>("valid", valid, {"N"});
    const auto* steps = check.input<bool>("stepped", stepped, {"N"});
    const RolloutRows<Scalar> rollout{
        check.output<Scalar>("rewards_to", rewards_to, {"T", "N"}),
        check.output<bool>("terminated_to", terminated_to, {"T", "N"}),
        check.output<bool>("truncated_to", truncated_to, {"T", "N"}),
        check.output<bool>("valid_to", valid_to, {"T", "N"}),
        check.extent("T + 1", check.extent("T") + 1).output<std::int64_t>("time_to", time_to, {"T + 1", "N"})};
    if (t < 0 || t >= check.extent("T"))
      check.fail("t", "must be in [0, " + std::to_string(check.extent("T")) + "), got " + std::to_string(t));
    store_row(t, check.extent("N"), numbers, terminations, truncations, used, steps, rollout);
  });
}

}  // namespace

void register_steps(py::module_& module) {
  module.def("standardize", &bind_standardize, py::arg("x"), py::arg("mean"), py::arg("variance"), py::arg("epsilon"),
             py::arg("limit"));
  module.def("column_sums", &bind_column_sums, py::arg("x"), py::arg("valid"), py::arg("mean") = py::none());
  module.def("to_bounds", &bind_to_bounds, py::arg("actions"), py::arg("low"), py::arg("high"), py::arg("scaled"),
             py::arg("out"));
  module.def("are_choices", &bind_are_choices, py::arg("choices"), py::arg("sizes"));
  module.def("read_step", &bind_read_step, py::arg("num_envs"), py::arg("rewards"), py::arg("terminated"),
             py::arg("truncated"), py::arg("reset"), py::arg("restarted"));
  module.def("add_step", &bind_add_step, py::arg("returns"), py::arg("lengths"), py::arg("rewards"), py::arg("stepped"),
             py::arg("over"));
  module.def("store_row", &bind_store_row, py::arg("t"), py::arg("rewards"), py::arg("terminated"),
             py::arg("truncated"), py::arg("valid"), py::arg("stepped"), py::arg("rewards_to"),
             py::arg("terminated_to"), py::arg("truncated_to"), py::arg("valid_to"), py::arg("time_to"));
}

}  // namespace pgfast::bindings
