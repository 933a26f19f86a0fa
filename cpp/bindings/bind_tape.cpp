// Binds tapes: the forward passes of a network, kept for later products.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "network_call.hpp"

namespace pgfast::bindings {
namespace {

constexpr Index kMaxRows = Index{1} << 28;

Either<Tape> make_tape(const Either<Network>& either, Index rows) {
  if (rows < 1 || rows > kMaxRows)
    throw py::value_error("Tape: rows must be in [1, " + std::to_string(kMaxRows) + "], got " + std::to_string(rows));
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    return Either<Tape>(std::make_unique<Tape<Scalar>>(network, rows));
  });
}

/// A view of the tape's outputs [rows, output_size].
py::array tape_outputs(const py::object& self) {
  return self.cast<const Either<Tape>&>().visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    return py::array(py::array_t<Scalar>({tape.capacity(), tape.network().output_size()}, tape.outputs(), self));
  });
}

/// A view of the tape's inputs [rows, *input_shape].
py::array tape_inputs(const py::object& self, const py::dtype& dtype) {
  return self.cast<const Either<Tape>&>().visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    const Network<Scalar>& network = tape.network();
    std::vector<Index> shape;
    bool bytes = false;
    if (network.plain()) {
      bytes = is_bytes<Scalar>("Tape.inputs", "dtype", dtype);
      shape = network.leaves().front().shape;
    } else if (dtype.itemsize() != network.row_bytes(false)) {
      throw py::value_error("Tape.inputs: dtype must be the network's input_dtype, got " + std::string(py::str(dtype)));
    }
    shape.insert(shape.begin(), tape.capacity());
    return py::array(dtype, shape, reserve_inputs("Tape.inputs", "dtype", tape, bytes, 0), self);
  });
}

/// A view of flags of the tape's rows; empty if the network has no memory.
template <typename Get>
py::array tape_flags(const py::object& self, Get get) {
  return self.cast<const Either<Tape>&>().visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    const Index rows = tape.network().state_size() > 0 ? tape.capacity() : 0;
    return py::array(py::array_t<bool>({rows}, get(tape), self));
  });
}

void tape_begin(const Either<Tape>& either, const py::object& state) {
  either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    Arguments call("Tape.begin");
    if (tape.network().state_size() == 0) call.fail("needs a network with memory");
    const auto* states =
        call.extent("S", tape.network().state_size()).template input<Scalar>("state", state, {"N", "S"});
    if (call.extent("N") > tape.capacity())
      call.fail("state", "has " + std::to_string(call.extent("N")) + " sequences, but the tape holds " +
                             std::to_string(tape.capacity()) + " rows");
    tape.begin(call.extent("N"), states);
  });
}

py::array tape_state_after(const Either<Tape>& either, Index rows) {
  return either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    Arguments call("Tape.state_after");
    if (tape.sequences() == 0) call.fail("needs a network with memory, and Tape.begin before");
    if (rows < 0 || rows > tape.rows() || rows % tape.sequences() != 0)
      call.fail("rows", "must be whole steps of the " + std::to_string(tape.sequences()) + " sequences, at most the " +
                            std::to_string(tape.rows()) + " rows on the tape, got " + std::to_string(rows));
    call.extent("N", tape.sequences()).extent("S", tape.network().state_size());
    return call.template filled<Scalar>({"N", "S"}, [&](Scalar* to) { tape.state_after(rows, to); });
  });
}

/// Runs the forward pass of rows [first_row, first_row + B).
void tape_record(const Either<Tape>& either, const py::object& parameters, const py::object& x, Index first_row) {
  either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    NetworkArguments<Scalar> call("Tape.record", tape.network(), parameters);
    const Inputs inputs = call.inputs(x);
    call.reserve(tape, inputs, first_row);
    without_gil([&] { tape.record(call.parameters, inputs, first_row, call.rows()); });
  });
}

/// Writes the vjp of rows [0, B) to `gradient`.
void tape_vjp(const Either<Tape>& either, const py::object& parameters, const py::object& dy,
              const py::object& gradient) {
  either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    NetworkArguments<Scalar> call("Tape.vjp", tape.network(), parameters);
    const auto* cotangent = call.template input<Scalar>("dy", dy, {"B", "out"});
    call.require_recorded("dy", tape);
    auto* to = call.template output<Scalar>("gradient", gradient, {"P"});
    call.distinct("gradient", gradient, "parameters", parameters);
    call.distinct("gradient", gradient, "dy", dy);
    without_gil([&] { tape.network().vjp(call.parameters, call.rows(), tape, cotangent, to); });
  });
}

/// Copies what a backward pass shows of each layer.
template <typename Scalar>
class LayerCopies final : public LayerVisitor<Scalar> {
 public:
  struct Rows {
    Scalar* x;
    Index inputs;
    Scalar* delta;
    Index outputs;
  };

  explicit LayerCopies(const std::vector<Rows>& layers) : layers_(layers) {}

  void visit(Index layer, Index row, Index rows, const Scalar* x, const Scalar* delta) const override {
    const auto& [x_to, inputs, delta_to, outputs] = layers_[layer];
    std::copy_n(x, rows * inputs, x_to + row * inputs);
    std::copy_n(delta, rows * outputs, delta_to + row * outputs);
  }

 private:
  const std::vector<Rows>& layers_;
};

using LayerArrays = std::optional<std::pair<py::array, py::array>>;

/// (inputs [B, in], gradients with respect to the outputs before the activation [B, out]) of each layer in the vjp of
/// rows [0, B), both new; None for a recurrence.
std::vector<LayerArrays> tape_layer_gradients(const Either<Tape>& either, const py::object& parameters,
                                              const py::object& dy) {
  return either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    const Network<Scalar>& network = tape.network();
    NetworkArguments<Scalar> call("Tape.layer_gradients", network, parameters);
    const auto* cotangent = call.template input<Scalar>("dy", dy, {"B", "out"});
    call.require_recorded("dy", tape);
    const std::vector<const Layer<Scalar>*> layers = network.layers();
    std::vector<LayerArrays> arrays(layers.size());
    std::vector<typename LayerCopies<Scalar>::Rows> rows(layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (layers[i] == nullptr) continue;
      const Index inputs = layers[i]->input_size();
      const Index outputs = layers[i]->output_size();
      py::array_t<Scalar> x({call.rows(), inputs});
      py::array_t<Scalar> delta({call.rows(), outputs});
      rows[i] = {x.mutable_data(), inputs, delta.mutable_data(), outputs};
      arrays[i].emplace(std::move(x), std::move(delta));
    }
    call.template filled<Scalar>({"P"}, [&](Scalar* gradient) {
      const LayerCopies<Scalar> copies(rows);
      network.vjp(call.parameters, call.rows(), tape, cotangent, gradient, &copies);
    });
    return arrays;
  });
}

}  // namespace

void register_tape(py::module_& module) {
  py::class_<Either<Tape>>(module, "Tape")
      .def(py::init(&make_tape), py::arg("network"), py::arg("rows"), py::keep_alive<1, 2>())
      .def_property_readonly("outputs", &tape_outputs)
      .def_property_readonly(
          "starts", [](const py::object& self) { return tape_flags(self, [](auto& tape) { return tape.starts(); }); })
      .def_property_readonly(
          "held", [](const py::object& self) { return tape_flags(self, [](auto& tape) { return tape.held(); }); })
      .def("inputs", &tape_inputs, py::arg("dtype"))
      .def("begin", &tape_begin, py::arg("state"))
      .def("state_after", &tape_state_after, py::arg("rows"))
      .def("record", &tape_record, py::arg("parameters"), py::arg("x"), py::arg("first_row"))
      .def("vjp", &tape_vjp, py::arg("parameters"), py::arg("dy"), py::arg("gradient"))
      .def("layer_gradients", &tape_layer_gradients, py::arg("parameters"), py::arg("dy"));
}

}  // namespace pgfast::bindings
