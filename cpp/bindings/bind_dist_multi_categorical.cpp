#include <limits>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "pgfast/dist/multi_categorical.hpp"

namespace pgfast::bindings {
namespace {

using Sizes = std::vector<Index>;

/// Gives the symbols "sum(sizes)" and "K" their values; a sum too large for any array stays so.
void check_sizes(Arguments& check, const Sizes& sizes) {
  if (sizes.empty()) check.fail("sizes", "must not be empty");
  constexpr Index kMost = std::numeric_limits<Index>::max();
  Index sum = 0;
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    if (sizes[k] < 1)
      check.fail("sizes", "must be at least 1, got " + std::to_string(sizes[k]) + " at index " + std::to_string(k));
    sum = sizes[k] > kMost - sum ? kMost : sum + sizes[k];
  }
  check.extent("sum(sizes)", sum).extent("K", static_cast<Index>(sizes.size()));
}

template <typename Scalar>
GroupedLogitRows<Scalar> checked_groups(Arguments& check, const char* name, const py::object& logits,
                                        const Sizes& sizes) {
  const auto* data = check.finite_input<Scalar>(name, logits, {"B", "sum(sizes)"});
  return {data, check.extent("B"), sizes.data(), check.extent("K"), check.extent("sum(sizes)")};
}

/// Checks sizes and logits [B, sum(sizes)] and hands them to body(rows, check) in the precision of the logits.
template <typename Body>
auto with_groups(const char* function, const py::object& logits, const Sizes& sizes, Body&& body) {
  Arguments check(function);
  check_sizes(check, sizes);
  return check.dispatch("logits", logits, [&](auto tag) {
    return body(checked_groups<decltype(tag)>(check, "logits", logits, sizes), check);
  });
}

template <typename Scalar>
const std::int64_t* checked_group_actions(const GroupedLogitRows<Scalar>& rows, Arguments& check,
                                          const py::object& actions) {
  const auto* data = check.input<std::int64_t>("actions", actions, {"B", "K"});
  for (Index i = 0; i < rows.rows; ++i)
    for (Index k = 0; k < rows.groups; ++k) {
      const std::int64_t action = data[i * rows.groups + k];
      if (action < 0 || action >= rows.sizes[k])
        check.fail("actions", "must be in [0, " + std::to_string(rows.sizes[k]) + "), got " + std::to_string(action) +
                                  " at row " + std::to_string(i) + ", column " + std::to_string(k));
    }
  return data;
}

py::array bind_multi_log_prob(const py::object& logits, const Sizes& sizes, const py::object& actions) {
  const char* function = "MultiCategorical.log_prob";
  return with_groups(function, logits, sizes, [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) {
    const auto* acts = checked_group_actions(rows, check, actions);
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { multi_categorical_log_prob(rows, acts, to); });
  });
}

py::array bind_multi_entropy(const py::object& logits, const Sizes& sizes) {
  const char* function = "MultiCategorical.entropy";
  return with_groups(function, logits, sizes, [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) {
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { multi_categorical_entropy(rows, to); });
  });
}

py::array bind_multi_kl(const py::object& logits, const Sizes& sizes, const py::object& other) {
  const char* function = "MultiCategorical.kl";
  return with_groups(function, logits, sizes, [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) {
    const auto q = checked_groups<Scalar>(check, "other", other, sizes);
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { multi_categorical_kl(rows, q, to); });
  });
}

py::array bind_multi_likelihood_ratio(const py::object& logits, const Sizes& sizes, const py::object& old,
                                      const py::object& actions) {
  const char* function = "MultiCategorical.likelihood_ratio";
  return with_groups(function, logits, sizes, [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) {
    const auto before = checked_groups<Scalar>(check, "old", old, sizes);
    const auto* acts = checked_group_actions(rows, check, actions);
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { multi_categorical_likelihood_ratio(rows, before, acts, to); });
  });
}

py::array bind_multi_mode(const py::object& logits, const Sizes& sizes) {
  const char* function = "MultiCategorical.mode";
  return with_groups(function, logits, sizes, [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) {
    return check.filled<std::int64_t>({"B", "K"}, [&](std::int64_t* to) { multi_categorical_mode(rows, to); });
  });
}

py::tuple bind_multi_sample(const py::object& logits, const Sizes& sizes, std::uint64_t seed, std::uint16_t stream,
                            std::uint32_t environment, std::uint64_t step) {
  return with_groups("MultiCategorical.sample", logits, sizes,
                     [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) -> py::tuple {
                       auto actions = check.result<std::int64_t>({"B", "K"});
                       std::int64_t* actions_to = actions.mutable_data();
                       const auto log_prob = check.filled<Scalar>({"B"}, [&](Scalar* to) {
                         multi_categorical_sample(rows, seed, stream, environment, step, actions_to, to);
                       });
                       return py::make_tuple(actions, log_prob);
                     });
}

py::array bind_multi_gradient(const py::object& logits, const Sizes& sizes, const py::object& actions,
                              const py::object& weight_log_prob, const py::object& weight_entropy) {
  const char* function = "MultiCategorical.gradient";
  return with_groups(function, logits, sizes, [&]<typename Scalar>(GroupedLogitRows<Scalar> rows, Arguments& check) {
    const auto* acts = checked_group_actions(rows, check, actions);
    const auto* wl = check.finite_input<Scalar>("weight_log_prob", weight_log_prob, {"B"});
    const auto* we = check.optional_finite_input<Scalar>("weight_entropy", weight_entropy, {"B"});
    return check.filled<Scalar>({"B", "sum(sizes)"},
                                [&](Scalar* to) { multi_categorical_gradient(rows, acts, wl, we, to); });
  });
}

}  // namespace

void register_multi_categorical(py::module_& module) {
  module.def("multi_categorical_log_prob", &bind_multi_log_prob, py::arg("logits"), py::arg("sizes"),
             py::arg("actions"));
  module.def("multi_categorical_entropy", &bind_multi_entropy, py::arg("logits"), py::arg("sizes"));
  module.def("multi_categorical_kl", &bind_multi_kl, py::arg("logits"), py::arg("sizes"), py::arg("other"));
  module.def("multi_categorical_likelihood_ratio", &bind_multi_likelihood_ratio, py::arg("logits"), py::arg("sizes"),
             py::arg("old"), py::arg("actions"));
  module.def("multi_categorical_mode", &bind_multi_mode, py::arg("logits"), py::arg("sizes"));
  module.def("multi_categorical_sample", &bind_multi_sample, py::arg("logits"), py::arg("sizes"), py::arg("seed"),
             py::arg("stream"), py::arg("environment"), py::arg("step"));
  module.def("multi_categorical_gradient", &bind_multi_gradient, py::arg("logits"), py::arg("sizes"),
             py::arg("actions"), py::arg("weight_log_prob"), py::arg("weight_entropy") = py::none());
}

}  // namespace pgfast::bindings
