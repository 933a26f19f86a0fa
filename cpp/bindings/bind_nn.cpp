#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>

#include <pybind11/stl.h>

#include "network_call.hpp"

namespace pgfast::bindings {
namespace {

constexpr Index kMostRows = Index{1} << 28;

using LayerTuple = std::tuple<std::string, Index, Index, Index, std::string>;

Activation parse_activation(const std::string& name) {
  if (name == "identity") return Activation::identity;
  if (name == "relu") return Activation::relu;
  if (name == "tanh") return Activation::tanh;
  throw py::value_error("Network: activation must be \"tanh\" or \"relu\", got \"" + name + "\"");
}

template <typename Scalar>
std::unique_ptr<Network<Scalar>> make_network(const std::vector<Index>& input_shape,
                                              const std::vector<LayerTuple>& layers) {
  std::vector<LayerSpec> specs;
  for (const auto& [kind, outputs, kernel, stride, activation] : layers) {
    if (kind != "dense" && kind != "conv2d") throw py::value_error("Network: unknown kind of layer \"" + kind + "\"");
    specs.push_back({kind == "dense" ? LayerSpec::Kind::dense : LayerSpec::Kind::conv2d, outputs, kernel, stride,
                     parse_activation(activation)});
  }
  try {
    return std::make_unique<Network<Scalar>>(input_shape, specs);
  } catch (const std::invalid_argument& error) {
    throw py::value_error(std::string("Network: ") + error.what());
  }
}

template <typename Scalar>
py::array forward(const Network<Scalar>& network, const py::object& parameters, const py::object& x) {
  NetworkCall<Scalar> call("Network.forward", network, parameters, x);
  auto y = call.check.template result<Scalar>({"B", "out"});
  Scalar* to = y.mutable_data();
  without_gil([&] {
    Tape<Scalar> tape(network, call.rows);
    network.forward(call.parameters, call.x, 0, call.rows, tape);
    std::copy_n(tape.output(), call.rows * network.output_size(), to);
  });
  return py::array(std::move(y));
}

template <typename Scalar>
py::array vjp(const Network<Scalar>& network, const py::object& parameters, const py::object& x, const py::object& dy) {
  NetworkCall<Scalar> call("Network.vjp", network, parameters, x);
  const auto* cotangent = call.check.template input<Scalar>("dy", dy, {"B", "out"});
  auto gradient = call.check.template result<Scalar>({"P"});
  Scalar* to = gradient.mutable_data();
  without_gil([&] {
    Tape<Scalar> tape(network, call.rows);
    network.forward(call.parameters, call.x, 0, call.rows, tape);
    network.vjp(call.parameters, call.x, call.rows, tape, cotangent, to);
  });
  return py::array(std::move(gradient));
}

template <typename Scalar>
py::array jvp(const Network<Scalar>& network, const py::object& parameters, const py::object& x, const py::object& v) {
  NetworkCall<Scalar> call("Network.jvp", network, parameters, x);
  const auto* tangent = call.check.template input<Scalar>("v", v, {"P"});
  auto dy = call.check.template result<Scalar>({"B", "out"});
  Scalar* to = dy.mutable_data();
  without_gil([&] {
    Tape<Scalar> tape(network, call.rows);
    network.forward(call.parameters, call.x, 0, call.rows, tape);
    network.jvp(call.parameters, tangent, call.x, call.rows, tape, to);
  });
  return py::array(std::move(dy));
}

/// Per-sample gradients, each followed by its row of `own` [B, A], a policy's parameters beside the network's.
template <typename Scalar>
py::array per_sample_vjp(const Network<Scalar>& network, const py::object& parameters, const py::object& x,
                         const py::object& dy, const py::object& own) {
  NetworkCall<Scalar> call("Network.per_sample_vjp", network, parameters, x);
  const auto* cotangent = call.check.template input<Scalar>("dy", dy, {"B", "out"});
  const auto* own_rows = call.check.template optional_input<Scalar>("own", own, {"B", "A"});
  const Index own_columns = own_rows == nullptr ? 0 : call.check.extent("A");
  const Index columns = network.parameter_count() + own_columns;
  py::array_t<Scalar> gradients({call.rows, columns});
  Scalar* to = gradients.mutable_data();
  without_gil([&] {
    Tape<Scalar> tape(network, call.rows);
    network.forward(call.parameters, call.x, 0, call.rows, tape);
    network.per_sample_vjp(call.parameters, call.x, call.rows, tape, cotangent, to, columns);
    for (Index row = 0; row < call.rows; ++row)
      std::copy_n(own_rows + row * own_columns, own_columns, to + (row + 1) * columns - own_columns);
  });
  return py::array(std::move(gradients));
}

/// Forward pass of rows [first_row, first_row + B) onto a tape.
template <typename Scalar>
void record(const Network<Scalar>& network, const py::object& parameters, const py::object& x, Tape<Scalar>& tape,
            Index first_row) {
  NetworkCall<Scalar> call("Network.record", network, parameters, x);
  call.fits(tape, first_row);
  without_gil([&] { network.forward(call.parameters, call.x, first_row, call.rows, tape); });
}

/// vjp of rows 0 to B of a tape, into `gradient`.
template <typename Scalar>
void replay_vjp(const Network<Scalar>& network, const py::object& parameters, const py::object& x, Tape<Scalar>& tape,
                const py::object& dy, const py::object& gradient) {
  NetworkCall<Scalar> call("Network.replay_vjp", network, parameters, x);
  call.fits(tape, 0);
  const auto* cotangent = call.check.template input<Scalar>("dy", dy, {"B", "out"});
  auto* to = call.check.template output<Scalar>("gradient", gradient, {"P"});
  call.check.distinct("gradient", gradient, "parameters", parameters);
  call.check.distinct("gradient", gradient, "dy", dy);
  without_gil([&] { network.vjp(call.parameters, call.x, call.rows, tape, cotangent, to); });
}

template <typename Scalar>
void register_network(py::module_& module, const char* network_name, const char* tape_name) {
  using Net = Network<Scalar>;
  py::class_<Net> network_class(module, network_name);  // known before the tape's signature names it
  py::class_<Tape<Scalar>>(module, tape_name)
      .def(py::init([](const Net& network, Index capacity) {
             if (capacity < 1 || capacity > kMostRows)
               throw py::value_error("Tape: capacity must be in [1, " + std::to_string(kMostRows) + "], got " +
                                     std::to_string(capacity));
             return std::make_unique<Tape<Scalar>>(network, capacity);
           }),
           py::arg("network"), py::arg("capacity"), py::keep_alive<1, 2>())
      .def_property_readonly("capacity", &Tape<Scalar>::capacity)
      .def("output", [](const py::object& self) {
        auto& tape = self.cast<Tape<Scalar>&>();
        return py::array_t<Scalar>({tape.capacity(), tape.network().output_size()}, tape.output(), self);
      });
  network_class.def(py::init(&make_network<Scalar>), py::arg("input_shape"), py::arg("layers"))
      .def_property_readonly("input_shape", &Net::input_shape)
      .def_property_readonly("output_size", &Net::output_size)
      .def_property_readonly("parameter_count", &Net::parameter_count)
      .def_property_readonly("multiply_adds", &Net::multiply_adds)
      .def_property_readonly("layout",
                             [](const Net& network) {
                               std::vector<std::tuple<std::string, std::vector<Index>, Index>> blocks;
                               for (const ParameterBlock& b : network.layout())
                                 blocks.emplace_back(b.name, b.shape, b.offset);
                               return blocks;
                             })
      .def(
          "initialize",
          [](const Net& network, std::uint64_t seed, double hidden_gain, double output_gain) {
            py::array_t<Scalar> parameters(network.parameter_count());
            Scalar* to = parameters.mutable_data();
            without_gil([&] {
              network.initialize(to, seed, static_cast<Scalar>(hidden_gain), static_cast<Scalar>(output_gain));
            });
            return parameters;
          },
          py::arg("seed"), py::arg("hidden_gain"), py::arg("output_gain"))
      .def("forward", &forward<Scalar>, py::arg("parameters"), py::arg("x"))
      .def("vjp", &vjp<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("dy"))
      .def("jvp", &jvp<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("v"))
      .def("per_sample_vjp", &per_sample_vjp<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("dy"),
           py::arg("own") = py::none())
      .def("record", &record<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("tape"), py::arg("first_row"))
      .def("replay_vjp", &replay_vjp<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("tape"), py::arg("dy"),
           py::arg("gradient"));
}

}  // namespace

void register_nn(py::module_& module) {
  register_network<float>(module, "NetworkFloat32", "TapeFloat32");
  register_network<double>(module, "NetworkFloat64", "TapeFloat64");
}

}  // namespace pgfast::bindings
