// A linear operator as an argument.
#pragma once

#include <string>
#include <type_traits>

#include "either.hpp"
#include "pgfast/linalg/linear_operator.hpp"

namespace pgfast::bindings {

/// The native operator that an argument is, nullptr if it is none; one of the other precision than the argument
/// `deciding_name` is a TypeError.
template <typename Scalar>
LinearOperator<Scalar>* native_operator(const char* function, const char* name, const py::object& object,
                                        const char* deciding_name) {
  if (!py::isinstance<Either<LinearOperator>>(object)) return nullptr;
  LinearOperator<Scalar>* native = object.cast<const Either<LinearOperator>&>().get<Scalar>();
  if (native != nullptr) return native;
  using Other = std::conditional_t<std::is_same_v<Scalar, float>, double, float>;
  throw py::type_error(std::string(function) + ": " + name + " must be an operator of " + dtype_name<Scalar>() +
                       " as " + deciding_name + ", got one of " + dtype_name<Other>());
}

}  // namespace pgfast::bindings
