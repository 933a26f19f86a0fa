// Binds linear operators and the conjugate gradient method.
#include <string>

#include "native_operator.hpp"
#include "pgfast/linalg/conjugate_gradient.hpp"

namespace pgfast::bindings {
namespace {

py::array apply_operator(const Either<LinearOperator>& either, const py::object& v) {
  return either.visit([&]<typename Scalar>(LinearOperator<Scalar>& linear_operator) {
    Arguments check("LinearOperator");
    check.extent("P", linear_operator.size());
    const auto* from = check.input<Scalar>("v", v, {"P"});
    return check.filled<Scalar>({"P"}, [&](Scalar* to) {
      const auto lock = linear_operator.exclusive();
      linear_operator.apply(from, to);
    });
  });
}

const char* status_name(ConjugateGradientReport::Status status) {
  switch (status) {
    case ConjugateGradientReport::Status::converged: return "converged";
    case ConjugateGradientReport::Status::max_iterations: return "max_iterations";
    default: return "breakdown";
  }
}

/// Computes one product with a Python callable. The callable receives a new array, which it may keep or write to.
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
    LinearOperator<Scalar>* native = native_operator<Scalar>("conjugate_gradient", "matvec", matvec, "b");
    if (native != nullptr)
      check.extent("P", native->size());
    else if (!PyCallable_Check(matvec.ptr()))
      throw py::type_error("conjugate_gradient: matvec must be callable, got " +
                           std::string(py::str(py::type::of(matvec).attr("__name__"))));
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

}  // namespace

void register_linalg(py::module_& module) {
  py::class_<Either<LinearOperator>>(module, "LinearOperator")
      .def_property_readonly("size",
                             [](const Either<LinearOperator>& either) {
                               return either.visit([](const auto& linear_operator) { return linear_operator.size(); });
                             })
      .def("__call__", &apply_operator, py::arg("v"));
  module.def("conjugate_gradient", &bind_conjugate_gradient, py::arg("matvec"), py::arg("b"), py::arg("max_iterations"),
             py::arg("tolerance"), py::arg("damping"));
}

}  // namespace pgfast::bindings
