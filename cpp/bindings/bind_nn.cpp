// Binds networks.
#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include <pybind11/stl.h>

#include "network_call.hpp"

namespace pgfast::bindings {
namespace {

using LayerTuple = std::tuple<std::string, Index, Index, Index, std::string>;
// (shape, channels_last, bytes, offset, low, high, choices)
using LeafTuple = std::tuple<std::vector<Index>, bool, bool, Index, double, double, std::vector<Index>>;
// (name, inputs as (is_leaf, index), layers, is_head)
using NodeTuple = std::tuple<std::string, std::vector<std::pair<bool, Index>>, std::vector<LayerTuple>, bool>;

Activation parse_activation(const std::string& name) {
  if (name == "identity") return Activation::identity;
  if (name == "relu") return Activation::relu;
  if (name == "tanh") return Activation::tanh;
  throw py::value_error("Network: activation must be \"tanh\" or \"relu\", got \"" + name + "\"");
}

LayerSpec::Kind parse_kind(const std::string& name) {
  if (name == "dense") return LayerSpec::Kind::dense;
  if (name == "conv2d") return LayerSpec::Kind::conv2d;
  if (name == "layer_norm") return LayerSpec::Kind::layer_norm;
  if (name == "gru") return LayerSpec::Kind::gru;
  if (name == "lstm") return LayerSpec::Kind::lstm;
  throw py::value_error("Network: unknown kind of layer \"" + name + "\"");
}

Leaf make_leaf(const LeafTuple& tuple) {
  const auto& [shape, channels_last, bytes, offset, low, high, choices] = tuple;
  const bool is_range = std::isfinite(low) && std::isfinite(high) && high > low;
  if (!is_range) throw py::value_error("Network: bytes need finite bounds, the lower one first");
  const ImageLayout image = channels_last ? ImageLayout::channels_last : ImageLayout::channels_first;
  return {shape, image, bytes, offset, low, high, choices};
}

NodeSpec make_node(const NodeTuple& tuple) {
  const auto& [name, inputs, layers, is_head] = tuple;
  NodeSpec node{name, {}, {}, is_head};
  for (const auto& [is_leaf, index] : inputs) node.inputs.push_back({is_leaf, index});
  for (const auto& [kind, outputs, kernel, stride, activation] : layers)
    node.layers.push_back({parse_kind(kind), outputs, kernel, stride, parse_activation(activation)});
  return node;
}

Either<Network> make_network(const py::dtype& dtype, const std::vector<LeafTuple>& leaf_tuples, Index row_bytes,
                             const std::vector<NodeTuple>& node_tuples) {
  std::vector<Leaf> leaves(leaf_tuples.size());
  std::vector<NodeSpec> nodes(node_tuples.size());
  std::ranges::transform(leaf_tuples, leaves.begin(), make_leaf);
  std::ranges::transform(node_tuples, nodes.begin(), make_node);
  return with_dtype("Network", dtype, [&](auto tag) {
    using Scalar = decltype(tag);
    try {
      return Either<Network>(std::make_unique<Network<Scalar>>(leaves, row_bytes, nodes));
    } catch (const std::invalid_argument& error) {
      throw py::value_error(std::string("Network: ") + error.what());
    }
  });
}

std::vector<std::tuple<std::string, std::vector<Index>, Index>> layout(const Either<Network>& either) {
  std::vector<std::tuple<std::string, std::vector<Index>, Index>> blocks;
  either.visit([&](const auto& network) {
    for (const ParameterBlock& b : network.layout()) blocks.emplace_back(b.name, b.shape, b.offset);
  });
  return blocks;
}

py::array initialize(const Either<Network>& either, std::uint64_t seed, double hidden_gain, double output_gain) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    py::array_t<Scalar> parameters(network.parameter_count());
    Scalar* to = parameters.mutable_data();
    without_gil(
        [&] { network.initialize(to, seed, static_cast<Scalar>(hidden_gain), static_cast<Scalar>(output_gain)); });
    return py::array(std::move(parameters));
  });
}

py::array forward(const Either<Network>& either, const py::object& parameters, const py::object& x) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    NetworkArguments<Scalar> call("Network.forward", network, parameters);
    call.without_memory("; use forward_sequence");
    const Inputs inputs = call.inputs(x);
    return call.template filled<Scalar>({"B", "out"}, [&](Scalar* to) {
      Tape<Scalar> tape = borrowed_forward(call, inputs);
      std::copy_n(tape.outputs(), call.rows() * network.output_size(), to);
    });
  });
}

py::array vjp(const Either<Network>& either, const py::object& parameters, const py::object& x, const py::object& dy) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    NetworkArguments<Scalar> call("Network.vjp", network, parameters);
    call.without_memory("; use vjp_sequence");
    const Inputs inputs = call.inputs(x);
    const auto* cotangent = call.template input<Scalar>("dy", dy, {"B", "out"});
    return call.template filled<Scalar>({"P"}, [&](Scalar* to) {
      Tape<Scalar> tape = borrowed_forward(call, inputs);
      network.vjp(call.parameters, call.rows(), tape, cotangent, to);
    });
  });
}

py::array jvp(const Either<Network>& either, const py::object& parameters, const py::object& x, const py::object& v) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    NetworkArguments<Scalar> call("Network.jvp", network, parameters);
    call.without_memory("; use jvp_sequence");
    const Inputs inputs = call.inputs(x);
    const auto* tangent = call.template input<Scalar>("v", v, {"P"});
    return call.template filled<Scalar>({"B", "out"}, [&](Scalar* to) {
      Tape<Scalar> tape = borrowed_forward(call, inputs);
      network.jvp(call.parameters, tangent, call.rows(), tape, to);
    });
  });
}

py::array per_sample_vjp(const Either<Network>& either, const py::object& parameters, const py::object& x,
                         const py::object& dy) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    NetworkArguments<Scalar> call("Network.per_sample_vjp", network, parameters);
    call.without_memory();
    const Inputs inputs = call.inputs(x);
    const auto* cotangent = call.template input<Scalar>("dy", dy, {"B", "out"});
    return call.template filled<Scalar>({"B", "P"}, [&](Scalar* to) {
      Tape<Scalar> tape = borrowed_forward(call, inputs);
      network.per_sample_vjp(call.parameters, call.rows(), tape, cotangent, to, network.parameter_count());
    });
  });
}

/// The arguments of a call on sequences of a network with memory: B = T N rows, row t N + n is step t of sequence n.
template <typename Scalar>
class SequenceArguments : public NetworkArguments<Scalar> {
 public:
  SequenceArguments(const char* function, const Network<Scalar>& net, const py::object& parameter_array,
                    const py::object& x, const py::object& state, const py::object& starts, const py::object& held)
      : NetworkArguments<Scalar>(function, net, parameter_array) {
    if (net.state_size() == 0) this->fail("needs a network with memory");
    inputs_ = this->inputs(x);
    this->extent("S", net.state_size());
    states_ = this->template input<Scalar>("state", state, {"N", "S"});
    starts_ = this->template optional_input<bool>("starts", starts, {"B"});
    held_ = this->template optional_input<bool>("held", held, {"B"});
    if (this->rows() % this->extent("N") != 0)
      this->fail("x", "must have whole steps of the N = " + std::to_string(this->extent("N")) + " sequences, got " +
                          std::to_string(this->rows()) + " rows");
  }

  /// Runs the forward pass. The arguments must outlive the tape.
  Tape<Scalar> forward() const {
    Tape<Scalar> tape(this->network, this->rows());
    tape.borrow_inputs(inputs_);
    tape.begin(this->extent("N"), states_);
    if (starts_ != nullptr) std::copy_n(starts_, this->rows(), tape.starts());
    if (held_ != nullptr) std::copy_n(held_, this->rows(), tape.held());
    this->network.forward(this->parameters, 0, this->rows(), tape);
    return tape;
  }

 private:
  Inputs inputs_;
  const Scalar* states_;
  const bool* starts_;
  const bool* held_;
};

/// (outputs, the states after the last step), both new.
py::tuple forward_sequence(const Either<Network>& either, const py::object& parameters, const py::object& x,
                           const py::object& state, const py::object& starts, const py::object& held) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) -> py::tuple {
    SequenceArguments<Scalar> call("Network.forward_sequence", network, parameters, x, state, starts, held);
    auto after = call.template result<Scalar>({"N", "S"});
    Scalar* states = after.mutable_data();
    py::array outputs = call.template filled<Scalar>({"B", "out"}, [&](Scalar* to) {
      Tape<Scalar> tape = call.forward();
      std::copy_n(tape.outputs(), call.rows() * network.output_size(), to);
      tape.state_after(call.rows(), states);
    });
    return py::make_tuple(std::move(outputs), std::move(after));
  });
}

/// (gradient, the gradient with respect to the states before the first step), both new.
py::tuple vjp_sequence(const Either<Network>& either, const py::object& parameters, const py::object& x,
                       const py::object& dy, const py::object& state, const py::object& starts,
                       const py::object& held) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) -> py::tuple {
    SequenceArguments<Scalar> call("Network.vjp_sequence", network, parameters, x, state, starts, held);
    const auto* cotangent = call.template input<Scalar>("dy", dy, {"B", "out"});
    auto before = call.template result<Scalar>({"N", "S"});
    Scalar* dstate = before.mutable_data();
    py::array gradient = call.template filled<Scalar>({"P"}, [&](Scalar* to) {
      Tape<Scalar> tape = call.forward();
      network.vjp(call.parameters, call.rows(), tape, cotangent, to);
      std::copy_n(tape.state_gradient(), call.extent("N") * call.extent("S"), dstate);
    });
    return py::make_tuple(std::move(gradient), std::move(before));
  });
}

py::array jvp_sequence(const Either<Network>& either, const py::object& parameters, const py::object& x,
                       const py::object& v, const py::object& state, const py::object& starts, const py::object& held) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    SequenceArguments<Scalar> call("Network.jvp_sequence", network, parameters, x, state, starts, held);
    const auto* tangent = call.template input<Scalar>("v", v, {"P"});
    return call.template filled<Scalar>({"B", "out"}, [&](Scalar* to) {
      Tape<Scalar> tape = call.forward();
      network.jvp(call.parameters, tangent, call.rows(), tape, to);
    });
  });
}

/// A property of a network of either precision.
template <typename Get>
auto of_network(Get get) {
  return [get](const Either<Network>& either) { return either.visit(get); };
}

}  // namespace

void register_nn(py::module_& module) {
  py::class_<Either<Network>>(module, "Network")
      .def(py::init(&make_network), py::arg("dtype"), py::arg("leaves"), py::arg("row_bytes"), py::arg("nodes"))
      .def_property_readonly("output_size", of_network([](const auto& network) { return network.output_size(); }))
      .def_property_readonly("parameter_count",
                             of_network([](const auto& network) { return network.parameter_count(); }))
      .def_property_readonly("state_size", of_network([](const auto& network) { return network.state_size(); }))
      .def_property_readonly("layout", &layout)
      .def("initialize", &initialize, py::arg("seed"), py::arg("hidden_gain"), py::arg("output_gain"))
      .def("forward", &forward, py::arg("parameters"), py::arg("x"))
      .def("vjp", &vjp, py::arg("parameters"), py::arg("x"), py::arg("dy"))
      .def("jvp", &jvp, py::arg("parameters"), py::arg("x"), py::arg("v"))
      .def("per_sample_vjp", &per_sample_vjp, py::arg("parameters"), py::arg("x"), py::arg("dy"))
      .def("forward_sequence", &forward_sequence, py::arg("parameters"), py::arg("x"), py::arg("state"),
           py::arg("starts"), py::arg("held"))
      .def("jvp_sequence", &jvp_sequence, py::arg("parameters"), py::arg("x"), py::arg("v"), py::arg("state"),
           py::arg("starts"), py::arg("held"))
      .def("vjp_sequence", &vjp_sequence, py::arg("parameters"), py::arg("x"), py::arg("dy"), py::arg("state"),
           py::arg("starts"), py::arg("held"));
}

}  // namespace pgfast::bindings
