// Linear operators as arguments.
#pragma once

#include <string>
#include <type_traits>

#include "either.hpp"
#include "pgfast/linalg/linear_operator.hpp"

namespace pgfast::bindings {

/// The native operator in `object`, nullptr if it is not one. An operator whose precision differs from that of the
/// argument `deciding_name` is a TypeError.
template <typename Scalar>
LinearOperator<Scalar>* native_operator(const char* function, const char* name, const py::object& object,
                                        const char* deciding_name) {
  if (!py::isinstance<Either<LinearOperator>>(object)) return nullptr;
  LinearOperator<Scalar>* native = object.cast<const Either<LinearOperator>&>().get<Scalar>();
  if (native != nullptr) return native;
  using Other = std::conditional_t<std::is_same_v<Scalar, float>, double, float>;
  throw py::type_error(std::string(function) + ": " + name + " must be a " + dtype_name<Scalar>() + " operator like " +
                       deciding_name + ", got a " + dtype_name<Other>() + " operator");
}

}  // namespace pgfast::bindings
