// Binds build information, the thread pool, the signal handler, the random numbers and a search for non-finite ones.
#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "pgfast/base/random.hpp"
#include "pgfast/base/second_signal.hpp"
#include "pgfast/base/simd.hpp"
#include "pgfast/base/thread_pool.hpp"

namespace pgfast::bindings {
namespace {

py::dict build_info() {
  py::dict info;
  info["isa"] = PGFAST_ISA_NAME;
  info["vector_bytes"] = kVectorBytes;
  info["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
                  std::to_string(EIGEN_MINOR_VERSION);
#if defined(__clang__)
  info["compiler"] = __VERSION__;
#else
  info["compiler"] = "GCC " __VERSION__;
#endif
  return info;
}

void bind_set_num_threads(int threads) {
  if (threads < 1 || threads > 1024)
    throw py::value_error("set_num_threads: n must be in [1, 1024], got " + std::to_string(threads));
  py::gil_scoped_release release;
  set_num_threads(threads);
}

py::array_t<double> bind_uniform(std::uint64_t seed, std::uint16_t stream, std::uint32_t environment,
                                 std::uint64_t step, py::ssize_t count) {
  if (count < 1) throw py::value_error("random_uniform: count must be at least 1, got " + std::to_string(count));
  py::array_t<double> numbers(count);
  for (py::ssize_t i = 0; i < count; ++i)
    numbers.mutable_at(i) = uniform(random_block(seed, stream, environment, step, static_cast<std::uint32_t>(i)));
  return numbers;
}

py::array_t<std::uint32_t> bind_philox(std::uint64_t key, std::array<std::uint32_t, 4> counter) {
  const PhiloxBlock block = philox(key, counter);
  return py::array_t<std::uint32_t>(4, block.data());
}

/// From here on, doubles round to a float of infinity.
constexpr double kFloatOverflow = 0x1.ffffffp127;

template <typename T>
py::ssize_t first_not_finite_of(const py::array& values) {
  const auto numbers = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(values);
  if (!numbers) throw py::error_already_set();
  const std::span<const T> flat(numbers.data(), static_cast<std::size_t>(numbers.size()));
  const auto found = std::ranges::find_if(flat, [](double value) { return !(std::abs(value) < kFloatOverflow); });
  return found == flat.end() ? -1 : found - flat.begin();
}

/// Returns the flat index of the first number that is not finite in float32, or -1. It takes any dtype and strides: the
/// arrays are those of environments. One call costs less than the NumPy function that tells whether all are finite.
py::ssize_t bind_first_not_finite(const py::array& values) {
  return values.dtype().is(py::dtype::of<float>()) ? first_not_finite_of<float>(values)
                                                   : first_not_finite_of<double>(values);
}

}  // namespace

void register_base(py::module_& module) {
  // A ValueError, like other errors in arguments, and a FloatingPointError, like other non-finite numbers.
  const py::tuple bases = py::make_tuple(py::handle(PyExc_ValueError), py::handle(PyExc_FloatingPointError));
  py::register_exception<NotFinite>(module, "NonFiniteError", bases).attr("__doc__") =
      "An argument contains a non-finite number. Both a ValueError and a FloatingPointError.";
  module.def("build_info", &build_info);
  module.def("num_threads", &num_threads);
  module.def("set_num_threads", &bind_set_num_threads, py::arg("n"));
  module.def("count_signals_anew", &count_signals_anew);
  module.def("exit_at_second_signal", &exit_at_second_signal, py::arg("number"));
  module.def("random_uniform", &bind_uniform, py::arg("seed"), py::arg("stream"), py::arg("environment"),
             py::arg("step"), py::arg("count"));
  module.def("philox", &bind_philox, py::arg("key"), py::arg("counter"));
  module.def("first_not_finite", &bind_first_not_finite, py::arg("values"));
}

}  // namespace pgfast::bindings
