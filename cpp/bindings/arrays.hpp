// The checks of arguments and their error texts. A binding describes its arrays here; the core assumes that they are
// valid.
//
// Checks are strict: a wrong dtype is a TypeError, never a cast; a strided or misaligned array is refused, not copied.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "pgfast/base/types.hpp"

namespace pgfast::bindings {

namespace py = pybind11;

template <typename T>
const char* dtype_name() {
  if constexpr (std::is_same_v<T, float>) return "float32";
  if constexpr (std::is_same_v<T, double>) return "float64";
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, std::int64_t>) return "int64";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "uint8";
}

/// Thrown for an argument with a non-finite number: pgfast.NonFiniteError in Python.
struct NotFinite : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Runs body() with the GIL released, so that other Python threads continue. Kernels release the GIL in no other way.
template <typename Body>
decltype(auto) without_gil(Body&& body) {
  const py::gil_scoped_release release;
  return body();
}

/// Checks the arguments of one call. Symbols stand for extents: the first array that uses a symbol sets its value.
///
/// The calls of a step of small environments take less than a microsecond each, so texts are made only for an error.
class Arguments {
 public:
  using Symbol = std::string_view;  // of a literal
  using Shape = std::initializer_list<Symbol>;

  explicit Arguments(const char* function) : function_(function) {}

  /// Sets the value of a symbol in advance, or changes it.
  Arguments& extent(Symbol symbol, Index value) {
    if (Index* known = find(symbol))
      *known = value;
    else
      add(symbol, value);
    return *this;
  }

  /// Whether arrays may be empty.
  bool takes_empty_arrays = false;

  /// The value of a symbol, -1 if it has none.
  Index extent(Symbol symbol) const {
    const Index* known = find(symbol);
    return known == nullptr ? -1 : *known;
  }

  /// A C-contiguous array of T with the shape that the symbols name.
  template <typename T>
  const T* input(const char* name, const py::object& object, Shape shape) {
    const py::array array = as_array(name, object);
    check_dtype<T>(name, array);
    check_layout(name, array, shape);
    return static_cast<const T*>(array.data());
  }

  /// The same, nullptr for None.
  template <typename T>
  const T* optional_input(const char* name, const py::object& object, Shape shape) {
    return object.is_none() ? nullptr : input<T>(name, object, shape);
  }

  /// An array of numbers that must all be finite.
  template <typename T>
  const T* finite_input(const char* name, const py::object& object, Shape shape) {
    const T* values = input<T>(name, object, shape);
    finite(name, values, py::reinterpret_borrow<py::array>(object).size());
    return values;
  }

  /// The same, nullptr for None.
  template <typename T>
  const T* optional_finite_input(const char* name, const py::object& object, Shape shape) {
    return object.is_none() ? nullptr : finite_input<T>(name, object, shape);
  }

  /// An array that the call writes to.
  template <typename T>
  T* output(const char* name, const py::object& object, Shape shape) {
    py::array array = as_array(name, object);
    check_dtype<T>(name, array);
    check_layout(name, array, shape);
    if (!array.writeable()) fail(name, "must be writable, got a read-only array");
    return static_cast<T*>(array.mutable_data());
  }

  /// A freshly allocated result.
  template <typename T>
  py::array_t<T> result(Shape shape) {
    std::vector<py::ssize_t> extents;
    for (const Symbol symbol : shape) extents.push_back(extent(symbol));
    return py::array_t<T>(extents);
  }

  /// A freshly allocated result that kernel(to) fills with the GIL released.
  template <typename T, typename Kernel>
  py::array filled(Shape shape, Kernel&& kernel) {
    auto values = result<T>(shape);
    T* to = values.mutable_data();
    without_gil([&] { kernel(to); });
    return py::array(std::move(values));
  }

  /// Calls body with a float or double tag, depending on the dtype of this array, which the others must match.
  template <typename Body>
  auto dispatch(const char* name, const py::object& object, Body&& body) {
    const py::array array = as_array(name, object);
    deciding_name_ = name;
    deciding_dtype_ = dtype_name<float>();
    if (has_dtype<float>(array)) return body(float{});
    deciding_dtype_ = dtype_name<double>();
    if (has_dtype<double>(array)) return body(double{});
    throw py::type_error(prefix(name) + "must be float32 or float64, got " + dtype_of(array));
  }

  template <typename T>
  static bool has_dtype(const py::array& array) {
    const py::dtype given = array.dtype();
    const py::dtype expected = py::dtype::of<T>();
    return given.is(expected) || given.equal(expected);
  }

  py::array as_array(const char* name, const py::object& object) const {
    if (!py::isinstance<py::array>(object))
      throw py::type_error(prefix(name) + "must be a NumPy array, got " +
                           std::string(py::str(py::type::of(object).attr("__name__"))));
    return py::reinterpret_borrow<py::array>(object);
  }

  double in_range(const char* name, double value, double low, double high) const {
    if (!(value >= low && value <= high))
      fail(name, "must be in [" + number(low) + ", " + number(high) + "], got " + number(value));
    return value;
  }

  double positive(const char* name, double value) const {
    if (!(value > 0 && std::isfinite(value))) fail(name, "must be positive and finite, got " + number(value));
    return value;
  }

  double not_negative(const char* name, double value) const {
    if (!(value >= 0 && std::isfinite(value))) fail(name, "must be at least 0 and finite, got " + number(value));
    return value;
  }

  /// The divisor of a mean.
  Index count(const char* name, const py::object& object) const {
    const auto integer = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
    if (!integer) {
      PyErr_Clear();
      throw py::type_error(prefix(name) + "must be an int or None, got " +
                           std::string(py::str(py::type::of(object).attr("__name__"))));
    }
    const Index value = PyNumber_AsSsize_t(integer.ptr(), nullptr);  // clamped to the range of Index
    if (value < 1) fail(name, "must be at least 1, got " + std::string(py::str(integer)));
    return value;
  }

  /// Requires every value to be finite. The error names the first that is not.
  template <typename T>
  void finite(const char* name, const T* values, Index size) const {
    T sum = 0;
    for (Index i = 0; i < size; ++i) sum += values[i] - values[i];
    if (sum == T(0)) return;
    for (Index i = 0; i < size; ++i)
      if (!std::isfinite(values[i]))
        throw NotFinite(prefix(name) + "must be finite, got " + number(static_cast<double>(values[i])) +
                        " at flat index " + std::to_string(i));
  }

  /// Requires a mask [rows, sum(sizes)] to allow a choice of every group. The error names the first group without one.
  void allows_a_choice(const char* name, const bool* mask, Index rows, std::span<const Index> sizes) const {
    for (Index i = 0; i < rows; ++i) {
      Index k = 0;
      for (const Index size : sizes) {
        const bool* end = mask + size;
        if (std::find(mask, end, true) == end)
          fail(name, "must allow at least one action in every group, row " + std::to_string(i) + " group " +
                         std::to_string(k) + " allows none");
        mask = end;
        ++k;
      }
    }
  }

  /// Requires column k of indices [rows, sizes.size()] to be in [0, sizes[k]). The error names the first that is not.
  /// If not `grouped`, they are [rows] and there is one size.
  void indices_in_range(const char* name, const std::int64_t* indices, Index rows, std::span<const Index> sizes,
                        bool grouped) const {
    const std::size_t groups = sizes.size();
    const std::size_t count = static_cast<std::size_t>(rows) * groups;
    const auto in_range = [](std::int64_t index, Index size) { return index >= 0 && index < size; };
    bool all = true;
    for (std::size_t k = 0; k < groups; ++k)
      for (std::size_t i = k; i < count; i += groups) all &= in_range(indices[i], sizes[k]);
    for (std::size_t i = 0; !all && i < count; ++i)
      if (const Index size = sizes[i % groups]; !in_range(indices[i], size))
        fail(name, "must be in [0, " + std::to_string(size) + "), got " + std::to_string(indices[i]) + " at row " +
                       std::to_string(i / groups) + (grouped ? ", column " + std::to_string(i % groups) : ""));
  }

  /// Requires that two arguments do not share memory.
  void distinct(const char* first, const py::object& object_a, const char* second, const py::object& object_b) const {
    const py::array a = as_array(first, object_a);
    const py::array b = as_array(second, object_b);
    const auto* a0 = static_cast<const char*>(a.data());
    const auto* b0 = static_cast<const char*>(b.data());
    if (a0 < b0 + b.nbytes() && b0 < a0 + a.nbytes()) fail(first, std::string("must not share memory with ") + second);
  }

  [[noreturn]] void fail(const char* name, const std::string& message) const {
    throw py::value_error(prefix(name) + message);
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw py::value_error(std::string(function_) + ": " + message);
  }

  /// Raises another exception than ValueError.
  [[noreturn]] void fail_as(PyObject* exception, const std::string& message) const {
    py::set_error(exception, (std::string(function_) + ": " + message).c_str());
    throw py::error_already_set();
  }

  [[noreturn]] void fail_type(const char* name, const std::string& message) const {
    throw py::type_error(prefix(name) + message);
  }

  static std::string number(double value) { return py::str(py::float_(value)); }

 private:
  std::string prefix(const char* name) const { return std::string(function_) + ": " + name + " "; }

  static std::string dtype_of(const py::array& array) { return py::str(array.dtype()); }

  const Index* find(Symbol symbol) const {
    // Literals of one file are mostly one object, and most differ in their first character.
    for (const auto& [known, value] : std::span(symbols_).first(count_))
      if (known.data() == symbol.data() || (known.front() == symbol.front() && known == symbol)) return &value;
    return nullptr;
  }
  Index* find(Symbol symbol) { return const_cast<Index*>(std::as_const(*this).find(symbol)); }

  void add(Symbol symbol, Index value) { symbols_.at(count_++) = {symbol, value}; }

  template <typename T>
  void check_dtype(const char* name, const py::array& array) const {
    if (has_dtype<T>(array)) return;
    std::string wanted = dtype_name<T>();
    if (wanted == deciding_dtype_ && std::string(deciding_name_) != name)
      wanted += std::string(" like ") + deciding_name_;
    throw py::type_error(prefix(name) + "must be " + wanted + ", got " + dtype_of(array));
  }

  void check_layout(const char* name, const py::array& array, Shape shape) {
    bool matches = array.ndim() == static_cast<py::ssize_t>(shape.size());
    const py::ssize_t* given = array.shape();
    for (const auto* symbol = shape.begin(); matches && symbol != shape.end(); ++symbol, ++given) {
      if (const Index* known = find(*symbol))
        matches = *given == *known;
      else
        add(*symbol, *given);
    }
    if (!matches) fail_shape(name, array, shape);
    if (array.size() == 0 && !takes_empty_arrays)
      fail(name, "must not be empty, got shape " + std::string(py::str(array.attr("shape"))));
    if ((array.flags() & py::array::c_style) == 0) fail(name, "must be C-contiguous; use np.ascontiguousarray");
    if ((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0)
      fail(name, "must be aligned in memory; use np.require(..., requirements=\"CA\")");
  }

  [[noreturn]] void fail_shape(const char* name, const py::array& array, Shape shape) const {
    std::string symbols;
    std::string expected;
    for (const Symbol symbol : shape) {
      const Index* known = find(symbol);
      symbols.append(symbols.empty() ? "" : ", ").append(symbol);
      expected.append(expected.empty() ? "" : ", ").append(known == nullptr ? "any" : std::to_string(*known));
    }
    const char* end = shape.size() == 1 ? ",)" : ")";
    fail(name, "must have shape (" + symbols + end + " = (" + expected + end + ", got " +
                   std::string(py::str(array.attr("shape"))));
  }

  struct Extent {
    Symbol symbol;
    Index value;
  };

  const char* function_;
  const char* deciding_name_ = "";   // of the argument whose dtype others share
  std::string_view deciding_dtype_;  // that dtype
  std::array<Extent, 16> symbols_;
  std::size_t count_ = 0;  // of them
};

}  // namespace pgfast::bindings
