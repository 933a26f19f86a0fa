// The checks that every call on a network shares.
#pragma once

#include <string>
#include <vector>

#include "arrays.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast::bindings {

/// The arguments that every call on a network shares.
template <typename Scalar>
struct NetworkCall {
  Arguments check;
  const Network<Scalar>& network;
  const Scalar* parameters;
  Inputs x;
  Index rows;

  /// `own_parameters` of a policy lie behind the network's in `parameter_array`.
  NetworkCall(const char* function, const Network<Scalar>& net, const py::object& parameter_array,
              const py::object& x_object, Index own_parameters = 0)
      : check(function), network(net) {
    const py::array x_array = check.as_array("x", x_object);
    check.extent("P", net.parameter_count() + own_parameters).extent("out", net.output_size());
    parameters = check.input<Scalar>("parameters", parameter_array, {"P"});
    x = {nullptr, x_array.dtype().equal(py::dtype::of<std::uint8_t>())};
    if (!x.bytes && !x_array.dtype().equal(py::dtype::of<Scalar>()))
      throw py::type_error(std::string(function) + ": x must be " + dtype_name<Scalar>() + " or uint8, got " +
                           std::string(py::str(x_array.dtype())));
    const std::vector<Index>& shape = net.input_shape();
    bool matches = x_array.ndim() == static_cast<py::ssize_t>(shape.size()) + 1;
    std::string expected = "(B";
    for (std::size_t i = 0; i < shape.size(); ++i) {
      expected += ", " + std::to_string(shape[i]);
      matches = matches && x_array.shape(static_cast<py::ssize_t>(i) + 1) == shape[i];
    }
    if (!matches)
      check.fail("x", "must have shape " + expected + "), got " + std::string(py::str(x_array.attr("shape"))));
    rows = x_array.shape(0);
    if (rows == 0) check.fail("x", "must not be empty");
    if ((x_array.flags() & py::array::c_style) == 0) check.fail("x", "must be C-contiguous; use np.ascontiguousarray");
    if ((x_array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0)
      check.fail("x", "must be aligned in memory; use np.require(..., requirements=\"CA\")");
    x.data = x_array.data();
    check.extent("B", rows);
  }

  /// Refuses rows that do not fit the tape.
  void fits(const Tape<Scalar>& tape, Index first_row) const {
    if (&tape.network() != &network) check.fail("tape", "was made for another network");
    if (first_row < 0 || first_row > tape.capacity() - rows)
      check.fail("x", "has " + std::to_string(rows) + " rows from row " + std::to_string(first_row) +
                          ", the tape holds " + std::to_string(tape.capacity()));
  }
};

}  // namespace pgfast::bindings
