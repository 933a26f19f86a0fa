#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "pgfast/base/thread_pool.hpp"
#include "pgfast/dist/categorical.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast::bindings {
namespace {

constexpr int kMostThreads = 1024;
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

/// The arguments that every call on a network shares.
template <typename Scalar>
struct NetworkCall {
  Arguments check;
  const Network<Scalar>& network;
  const Scalar* parameters;
  Inputs x;
  Index rows;

  NetworkCall(const char* function, const Network<Scalar>& net, const py::object& parameter_array,
              const py::object& x_object)
      : check(function), network(net) {
    const py::array x_array = check.as_array("x", x_object);
    check.extent("P", net.parameter_count()).extent("out", net.output_size());
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

template <typename Scalar>
py::array per_sample_vjp(const Network<Scalar>& network, const py::object& parameters, const py::object& x,
                         const py::object& dy) {
  NetworkCall<Scalar> call("Network.per_sample_vjp", network, parameters, x);
  const auto* cotangent = call.check.template input<Scalar>("dy", dy, {"B", "out"});
  auto gradients = call.check.template result<Scalar>({"B", "P"});
  Scalar* to = gradients.mutable_data();
  without_gil([&] {
    Tape<Scalar> tape(network, call.rows);
    network.forward(call.parameters, call.x, 0, call.rows, tape);
    network.per_sample_vjp(call.parameters, call.x, call.rows, tape, cotangent, to);
  });
  return py::array(std::move(gradients));
}

/// Forward pass of rows [first_row, first_row + B) onto a tape, on at most `max_threads` threads.
template <typename Scalar>
void record(const Network<Scalar>& network, const py::object& parameters, const py::object& x, Tape<Scalar>& tape,
            Index first_row, int max_threads) {
  NetworkCall<Scalar> call("Network.record", network, parameters, x);
  call.fits(tape, first_row);
  const ThreadLimit limit(max_threads);
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

/// One decision of an actor-critic: records the rows, then samples from all output columns but the last.
template <typename Scalar>
void act(const Network<Scalar>& network, const py::object& parameters, const py::object& x, Tape<Scalar>& tape,
         Index first_row, std::uint64_t seed, std::uint16_t stream, std::uint32_t environment, std::uint64_t step,
         const py::object& actions, int max_threads) {
  NetworkCall<Scalar> call("ActorCritic.act", network, parameters, x);
  call.fits(tape, first_row);
  auto* chosen = call.check.template output<std::int64_t>("actions", actions, {"B"});
  const Index columns = network.output_size();
  const Scalar* outputs = tape.output() + first_row * columns;
  const ThreadLimit limit(max_threads);
  without_gil([&] { network.forward(call.parameters, call.x, first_row, call.rows, tape); });
  call.check.finite("network outputs", outputs, call.rows * columns);
  without_gil([&] {
    categorical_sample<Scalar>({outputs, call.rows, columns - 1, columns}, seed, stream, environment, step, chosen,
                               nullptr);
  });
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
      .def("per_sample_vjp", &per_sample_vjp<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("dy"))
      .def("record", &record<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("tape"), py::arg("first_row"),
           py::arg("max_threads") = kMostThreads)
      .def("replay_vjp", &replay_vjp<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("tape"), py::arg("dy"),
           py::arg("gradient"))
      .def("act", &act<Scalar>, py::arg("parameters"), py::arg("x"), py::arg("tape"), py::arg("first_row"),
           py::arg("seed"), py::arg("stream"), py::arg("environment"), py::arg("step"), py::arg("actions"),
           py::arg("max_threads") = kMostThreads);
}

}  // namespace

void register_nn(py::module_& module) {
  register_network<float>(module, "NetworkFloat32", "TapeFloat32");
  register_network<double>(module, "NetworkFloat64", "TapeFloat64");
}

}  // namespace pgfast::bindings
