// The checks shared by all calls on a network or its tape.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "either.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast::bindings {

/// True for bytes, false for Scalar. Any other dtype of a network's inputs is a TypeError.
template <typename Scalar>
bool is_bytes(const char* function, const char* name, const py::dtype& dtype) {
  const bool bytes = dtype.equal(py::dtype::of<std::uint8_t>());
  if (!bytes && !dtype.equal(py::dtype::of<Scalar>()))
    throw py::type_error(std::string(function) + ": " + name + " must be " + dtype_name<Scalar>() + " or uint8, got " +
                         std::string(py::str(dtype)));
  return bytes;
}

/// Reserves memory for inputs on a tape. They must be of the same kind as those already on it.
template <typename Scalar>
void* reserve_inputs(const char* function, const char* name, Tape<Scalar>& tape, bool bytes, Index end) {
  const char* kinds[] = {dtype_name<Scalar>(), dtype_name<std::uint8_t>()};
  if (tape.inputs().data != nullptr && tape.inputs().bytes != bytes)
    throw py::type_error(std::string(function) + ": " + name + " must be " + kinds[!bytes] +
                         " like the inputs on the tape, got " + kinds[bytes]);
  return tape.reserve_inputs(bytes, end);
}

/// The arguments of a call on a network. The `log_std_parameters` of a policy follow the network's.
template <typename Scalar>
class NetworkArguments : public Arguments {
 public:
  NetworkArguments(const char* function, const Network<Scalar>& net, const py::object& parameter_array,
                   Index log_std_parameters = 0)
      : Arguments(function), network(net), function_(function) {
    extent("P", net.parameter_count() + log_std_parameters).extent("out", net.output_size());
    parameters = input<Scalar>("parameters", parameter_array, {"P"});
  }

  /// Rows [B, *input_shape], which set the value of B.
  Inputs inputs(const py::object& object) {
    const py::array x = as_array("x", object);
    const bool bytes = network.plain() ? require_numbers(x) : require_leaves(x);
    if (x.shape(0) == 0) fail("x", "must not be empty");
    if ((x.flags() & py::array::c_style) == 0) fail("x", "must be C-contiguous; use np.ascontiguousarray");
    if ((x.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0)
      fail("x", "must be aligned in memory; use np.require(..., requirements=\"CA\")");
    rows_ = x.shape(0);
    extent("B", rows_);
    const Inputs inputs{x.data(), bytes};
    for (const Leaf& leaf : network.leaves())
      if (!leaf.choices.empty()) require_codes(leaf, inputs);
    return inputs;
  }

  /// Requires that all scalars of the inputs are finite.
  void finite_inputs(Inputs x) const {
    if (network.plain()) {
      if (!x.bytes) finite("x", static_cast<const Scalar*>(x.data), rows() * network.leaves().front().size());
      return;
    }
    const Index row_bytes = network.row_bytes(false);
    for (const Leaf& leaf : network.leaves()) {
      if (leaf.bytes) continue;
      for (Index row = 0; row < rows(); ++row) {
        const auto* from = static_cast<const std::uint8_t*>(x.data) + row * row_bytes + leaf.offset;
        finite("x", reinterpret_cast<const Scalar*>(from), leaf.size());
      }
    }
  }

  /// Requires a network without memory. `cure` says what to do otherwise.
  void without_memory(const char* cure = "") const {
    if (network.state_size() > 0) fail(std::string("needs a network without memory") + cure);
  }

  /// B.
  Index rows() const { return rows_ > 0 ? rows_ : extent("B"); }

  /// Reserves memory on a tape for B rows of inputs `x`.
  void reserve(Tape<Scalar>& tape, Inputs x, Index first_row) const {
    if (first_row < 0 || first_row > tape.capacity() - rows())
      fail("x", "has " + std::to_string(rows()) + " rows from row " + std::to_string(first_row) +
                    ", but the tape holds " + std::to_string(tape.capacity()));
    if (network.state_size() > 0) {
      require_steps("x", tape);
      if (first_row % tape.sequences() != 0 || first_row > tape.rows())
        fail("x", "must follow the " + std::to_string(tape.rows()) + " rows on the tape, of " +
                      std::to_string(tape.sequences()) + " sequences, got rows from row " + std::to_string(first_row));
    }
    reserve_inputs(function_, "x", tape, x.bytes, first_row + rows());
  }

  /// Requires that all B rows are recorded. `name` is the argument with these rows.
  void require_recorded(const char* name, const Tape<Scalar>& tape) const {
    if (rows() > tape.rows())
      fail(name, "has " + std::to_string(rows()) + " rows, but the tape has recorded " + std::to_string(tape.rows()));
    if (network.state_size() > 0) require_steps(name, tape);
  }

  const Network<Scalar>& network;
  const Scalar* parameters;

 private:
  /// Requires B to be a multiple of the number of sequences on the tape.
  void require_steps(const char* name, const Tape<Scalar>& tape) const {
    if (tape.sequences() == 0) fail("the network has memory; Tape.begin comes first");
    if (rows() % tape.sequences() != 0)
      fail(name, "must have whole steps of the " + std::to_string(tape.sequences()) + " sequences, got " +
                     std::to_string(rows()) + " rows");
  }

  /// Requires rows [B, *shape] of the only leaf, and returns whether they are bytes.
  bool require_numbers(const py::array& x) const {
    const bool bytes = is_bytes<Scalar>(function_, "x", x.dtype());
    const std::vector<Index>& shape = network.leaves().front().shape;
    bool matches = x.ndim() == static_cast<py::ssize_t>(shape.size()) + 1;
    std::string expected = "(B";
    for (std::size_t i = 0; i < shape.size(); ++i) {
      expected += ", " + std::to_string(shape[i]);
      matches = matches && x.shape(static_cast<py::ssize_t>(i) + 1) == shape[i];
    }
    if (!matches) fail("x", "must have shape " + expected + "), got " + std::string(py::str(x.attr("shape"))));
    return bytes;
  }

  /// Requires rows [B] of a structured dtype, with a field for each leaf at its place.
  bool require_leaves(const py::array& x) const {
    const py::dtype dtype = x.dtype();
    const std::vector<Leaf>& leaves = network.leaves();
    bool matches = x.ndim() == 1 && dtype.itemsize() == network.row_bytes(false) && dtype.has_fields();
    const py::object names = dtype.attr("names");
    matches = matches && py::len(names) == leaves.size();
    for (std::size_t i = 0; matches && i < leaves.size(); ++i) {
      const py::tuple field = dtype.attr("fields")[names[py::int_(i)]];
      const auto base = field[0].attr("base").cast<py::dtype>();
      const auto size = field[0].attr("itemsize").cast<Index>() / base.itemsize();
      const py::dtype expected = leaves[i].bytes ? py::dtype::of<std::uint8_t>() : py::dtype::of<Scalar>();
      matches = base.equal(expected) && size == leaves[i].size() && field[1].cast<Index>() == leaves[i].offset;
    }
    if (!matches)
      fail("x", "must be rows (B,) of the network's input_dtype, got " + std::string(py::str(dtype)) + " " +
                    std::string(py::str(x.attr("shape"))));
    return false;
  }

  /// Requires integers below their numbers of choices in every row of a leaf.
  void require_codes(const Leaf& leaf, Inputs x) const {
    const bool bytes = network.plain() ? x.bytes : leaf.bytes;
    const Index row_bytes = network.row_bytes(bytes);
    for (Index row = 0; row < rows_; ++row) {
      const auto* from = static_cast<const std::uint8_t*>(x.data) + row * row_bytes + leaf.offset;
      for (Index k = 0; k < leaf.size(); ++k) {
        const Scalar code = bytes ? static_cast<Scalar>(from[k]) : reinterpret_cast<const Scalar*>(from)[k];
        const Index choices = leaf.choices[k];
        const bool in_range = code >= Scalar(0) && code < static_cast<Scalar>(choices);
        if (!in_range || code != std::floor(code))
          fail("x", "must hold integers in [0, " + std::to_string(choices) + ") in its one-hot entry " +
                        std::to_string(k) + ", got " + std::to_string(code) + " in row " + std::to_string(row));
      }
    }
  }

  const char* function_;
  Index rows_ = 0;  // of the inputs, if they are an argument; saves looking up the symbol
};

/// Runs the forward pass of B rows `x`. They must outlive the tape.
template <typename Scalar>
Tape<Scalar> borrowed_forward(const NetworkArguments<Scalar>& call, Inputs x) {
  Tape<Scalar> tape(call.network, call.rows());
  tape.borrow_inputs(x);
  call.network.forward(call.parameters, 0, call.rows(), tape);
  return tape;
}

}  // namespace pgfast::bindings
