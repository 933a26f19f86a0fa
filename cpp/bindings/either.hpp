// Holds an object of either precision, so that Python has one class for both.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "arrays.hpp"

namespace pgfast::bindings {

/// Owns an Object<float> or an Object<double>.
template <template <typename> class Object>
class Either {
 public:
  template <typename Scalar>
  explicit Either(std::unique_ptr<Object<Scalar>> object) : object_(std::move(object)) {}

  /// Calls body with a reference to the object.
  template <typename Body>
  decltype(auto) visit(Body&& body) const {
    return std::visit([&](const auto& object) -> decltype(auto) { return body(*object); }, object_);
  }

  /// The object, nullptr if it has the other precision.
  template <typename Scalar>
  Object<Scalar>* get() const {
    const auto* object = std::get_if<std::unique_ptr<Object<Scalar>>>(&object_);
    return object == nullptr ? nullptr : object->get();
  }

 private:
  std::variant<std::unique_ptr<Object<float>>, std::unique_ptr<Object<double>>> object_;
};

/// Calls body with a float or double tag, depending on a dtype.
template <typename Body>
auto with_dtype(const char* function, const py::dtype& dtype, Body&& body) {
  if (dtype.equal(py::dtype::of<float>())) return body(float{});
  if (dtype.equal(py::dtype::of<double>())) return body(double{});
  throw py::type_error(std::string(function) + ": dtype must be float32 or float64, got " +
                       std::string(py::str(dtype)));
}

}  // namespace pgfast::bindings
