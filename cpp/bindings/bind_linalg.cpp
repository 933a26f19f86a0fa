#include <string>

#include "arrays.hpp"
#include "pgfast/linalg/conjugate_gradient.hpp"
#include "pgfast/linalg/linear_operator.hpp"

namespace pgfast::bindings {
namespace {

template <typename Scalar>
py::array apply_operator(LinearOperator<Scalar>& linear_operator, const py::object& v) {
  Arguments check("LinearOperator");
  check.extent("P", linear_operator.size());
  const auto* from = check.input<Scalar>("v", v, {"P"});
  auto product = check.result<Scalar>({"P"});
  Scalar* to = product.mutable_data();
  without_gil([&] {
    const auto lock = linear_operator.exclusive();
    linear_operator.apply(from, to);
  });
  return py::array(std::move(product));
}

const char* status_name(ConjugateGradientReport::Status status) {
  switch (status) {
    case ConjugateGradientReport::Status::converged: return "converged";
    case ConjugateGradientReport::Status::max_iterations: return "max_iterations";
    default: return "breakdown";
  }
}

/// One product of a Python callable. It gets an array of its own, which it may keep or write to.
template <typename Scalar>
void call_matvec(const Arguments& arguments, const py::object& matvec, const Scalar* v, Index size, Scalar* to) {
  const py::gil_scoped_acquire acquire;
  const py::object product = matvec(py::array_t<Scalar>(size, v));
  Arguments check = arguments;
  std::copy_n(check.input<Scalar>("matvec(v)", product, {"P"}), size, to);
}

py::tuple bind_conjugate_gradient(const py::object& matvec, const py::object& b, Index max_iterations, double tolerance,
                                  double damping) {
  Arguments check("conjugate_gradient");
  return check.dispatch("b", b, [&](auto tag) -> py::tuple {
    using Scalar = decltype(tag);
    using Other = std::conditional_t<std::is_same_v<Scalar, float>, double, float>;
    LinearOperator<Scalar>* native = nullptr;
    const std::string kind = py::str(py::type::of(matvec).attr("__name__"));
    if (py::isinstance<LinearOperator<Scalar>>(matvec)) {
      native = py::cast<LinearOperator<Scalar>*>(matvec);
      check.extent("P", native->size());
    } else if (py::isinstance<LinearOperator<Other>>(matvec)) {
      throw py::type_error(std::string("conjugate_gradient: matvec must be an operator of ") + dtype_name<Scalar>() +
                           " as b, got " + kind);
    } else if (!PyCallable_Check(matvec.ptr())) {
      throw py::type_error("conjugate_gradient: matvec must be callable, got " + kind);
    }
    const auto* right = check.input<Scalar>("b", b, {"P"});
    if (max_iterations < 0) check.fail("max_iterations", "must be at least 0, got " + std::to_string(max_iterations));
    check.not_negative("tolerance", tolerance);
    check.not_negative("damping", damping);
    const Index size = check.extent("P");
    auto solution = check.result<Scalar>({"P"});
    Scalar* x = solution.mutable_data();
    const ConjugateGradientReport report = without_gil([&] {
      const auto solve = [&](auto&& product) {
        return conjugate_gradient(size, product, right, max_iterations, tolerance, damping, x);
      };
      if (native == nullptr)
        return solve([&](const Scalar* v, Scalar* to) { call_matvec(check, matvec, v, size, to); });
      const auto lock = native->exclusive();
      return solve([&](const Scalar* v, Scalar* to) { native->apply(v, to); });
    });
    return py::make_tuple(solution, report.iterations, report.residual_norm, status_name(report.status));
  });
}

template <typename Scalar>
void register_operator(py::module_& module, const char* name) {
  using Operator = LinearOperator<Scalar>;
  py::class_<Operator>(module, name)
      .def_property_readonly("size", &Operator::size)
      .def("__call__", &apply_operator<Scalar>, py::arg("v"));
}

}  // namespace

void register_linalg(py::module_& module) {
  register_operator<float>(module, "LinearOperatorFloat32");
  register_operator<double>(module, "LinearOperatorFloat64");
  module.def("conjugate_gradient", &bind_conjugate_gradient, py::arg("matvec"), py::arg("b"), py::arg("max_iterations"),
             py::arg("tolerance"), py::arg("damping"));
}

}  // namespace pgfast::bindings
