// Binds the Gaussian distributions with diagonal covariance: DiagGaussian in Python.
#include "arrays.hpp"
#include "pgfast/dist/diag_gaussian.hpp"

namespace pgfast::bindings {
namespace {

/// The parameters of one distribution, mean [B, A] and log_std [A] or [B, A], and their names in error texts.
struct GaussianArguments {
  const py::object& mean;
  const py::object& log_std;
  const char* mean_name = "mean";
  const char* log_std_name = "log_std";
};

template <typename Scalar>
GaussianRows<Scalar> checked_gaussian(Arguments& check, const GaussianArguments& arguments) {
  const auto* mean = check.finite_input<Scalar>(arguments.mean_name, arguments.mean, {"B", "A"});
  const Index size = check.extent("A");
  if (check.as_array(arguments.log_std_name, arguments.log_std).ndim() == 1) {
    const auto* shared = check.finite_input<Scalar>(arguments.log_std_name, arguments.log_std, {"A"});
    return {mean, check.extent("B"), size, size, shared, 0};
  }
  const auto* log_std = check.finite_input<Scalar>(arguments.log_std_name, arguments.log_std, {"B", "A"});
  return {mean, check.extent("B"), size, size, log_std, size};
}

/// Checks mean and log_std and passes them to body(rows, check) in the precision of the mean.
template <typename Body>
auto with_gaussian(const char* function, const py::object& mean, const py::object& log_std, Body&& body) {
  Arguments check(function);
  return check.dispatch("mean", mean,
                        [&](auto tag) { return body(checked_gaussian<decltype(tag)>(check, {mean, log_std}), check); });
}

py::array bind_gaussian_log_prob(const py::object& mean, const py::object& log_std, const py::object& actions) {
  const char* function = "DiagGaussian.log_prob";
  return with_gaussian(function, mean, log_std, [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) {
    const auto* acts = check.finite_input<Scalar>("actions", actions, {"B", "A"});
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { diag_gaussian_log_prob(rows, acts, to); });
  });
}

py::array bind_gaussian_entropy(const py::object& mean, const py::object& log_std) {
  const char* function = "DiagGaussian.entropy";
  return with_gaussian(function, mean, log_std, [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) {
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { diag_gaussian_entropy(rows, to); });
  });
}

py::array bind_gaussian_kl(const py::object& mean, const py::object& log_std, const py::object& other_mean,
                           const py::object& other_log_std) {
  const char* function = "DiagGaussian.kl";
  return with_gaussian(function, mean, log_std, [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) {
    const auto q = checked_gaussian<Scalar>(check, {other_mean, other_log_std, "other.mean", "other.log_std"});
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { diag_gaussian_kl(rows, q, to); });
  });
}

py::array bind_gaussian_likelihood_ratio(const py::object& mean, const py::object& log_std, const py::object& old_mean,
                                         const py::object& old_log_std, const py::object& actions) {
  const char* function = "DiagGaussian.likelihood_ratio";
  return with_gaussian(function, mean, log_std, [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) {
    const auto old = checked_gaussian<Scalar>(check, {old_mean, old_log_std, "old.mean", "old.log_std"});
    const auto* acts = check.finite_input<Scalar>("actions", actions, {"B", "A"});
    return check.filled<Scalar>({"B"}, [&](Scalar* to) { diag_gaussian_likelihood_ratio(rows, old, acts, to); });
  });
}

py::array bind_gaussian_mode(const py::object& mean, const py::object& log_std) {
  const char* function = "DiagGaussian.mode";
  return with_gaussian(function, mean, log_std, [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) {
    return check.filled<Scalar>({"B", "A"}, [&](Scalar* to) { diag_gaussian_mode(rows, to); });
  });
}

py::tuple bind_gaussian_sample(const py::object& mean, const py::object& log_std, std::uint64_t seed,
                               std::uint16_t stream, std::uint32_t environment, std::uint64_t step,
                               std::uint32_t draw) {
  return with_gaussian("DiagGaussian.sample", mean, log_std,
                       [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) -> py::tuple {
                         auto actions = check.result<Scalar>({"B", "A"});
                         Scalar* actions_to = actions.mutable_data();
                         const auto log_prob = check.filled<Scalar>({"B"}, [&](Scalar* to) {
                           diag_gaussian_sample(rows, {seed, stream, environment, step, draw}, actions_to, to);
                         });
                         return py::make_tuple(actions, log_prob);
                       });
}

py::tuple bind_gaussian_gradient(const py::object& mean, const py::object& log_std, const py::object& actions,
                                 const py::object& weight_log_prob, const py::object& weight_entropy) {
  return with_gaussian(
      "DiagGaussian.gradient", mean, log_std,
      [&]<typename Scalar>(GaussianRows<Scalar> rows, Arguments& check) -> py::tuple {
        const auto* acts = check.finite_input<Scalar>("actions", actions, {"B", "A"});
        const auto* wl = check.finite_input<Scalar>("weight_log_prob", weight_log_prob, {"B"});
        const auto* we = check.optional_finite_input<Scalar>("weight_entropy", weight_entropy, {"B"});
        auto dmean = check.result<Scalar>({"B", "A"});
        auto dlog_std = rows.shares_log_std() ? check.result<Scalar>({"A"}) : check.result<Scalar>({"B", "A"});
        Scalar* dmean_to = dmean.mutable_data();
        Scalar* dlog_std_to = dlog_std.mutable_data();
        const Index size = rows.size;
        without_gil([&] {
          diag_gaussian_gradient(rows, acts, wl, we, dmean_to, size, dlog_std_to, rows.shares_log_std() ? 0 : size);
        });
        return py::make_tuple(dmean, dlog_std);
      });
}

}  // namespace

void register_diag_gaussian(py::module_& module) {
  module.def("diag_gaussian_log_prob", &bind_gaussian_log_prob, py::arg("mean"), py::arg("log_std"),
             py::arg("actions"));
  module.def("diag_gaussian_entropy", &bind_gaussian_entropy, py::arg("mean"), py::arg("log_std"));
  module.def("diag_gaussian_kl", &bind_gaussian_kl, py::arg("mean"), py::arg("log_std"), py::arg("other_mean"),
             py::arg("other_log_std"));
  module.def("diag_gaussian_likelihood_ratio", &bind_gaussian_likelihood_ratio, py::arg("mean"), py::arg("log_std"),
             py::arg("old_mean"), py::arg("old_log_std"), py::arg("actions"));
  module.def("diag_gaussian_mode", &bind_gaussian_mode, py::arg("mean"), py::arg("log_std"));
  module.def("diag_gaussian_sample", &bind_gaussian_sample, py::arg("mean"), py::arg("log_std"), py::arg("seed"),
             py::arg("stream"), py::arg("environment"), py::arg("step"), py::arg("draw"));
  module.def("diag_gaussian_gradient", &bind_gaussian_gradient, py::arg("mean"), py::arg("log_std"), py::arg("actions"),
             py::arg("weight_log_prob"), py::arg("weight_entropy") = py::none());
}

}  // namespace pgfast::bindings
