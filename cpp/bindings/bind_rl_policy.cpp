// Policies: a network, and the family of distributions in its outputs.
#include <memory>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "network_call.hpp"
#include "pgfast/dist/family.hpp"
#include "pgfast/rl/fisher_operator.hpp"

namespace pgfast::bindings {
namespace {

constexpr Index kMostColumns = Index{1} << 26;

Family make_family(const std::string& kind, const std::vector<Index>& sizes, bool log_std_output, bool grouped) {
  Index columns = 0;
  for (const Index size : sizes) {
    if (size < 1 || size > kMostColumns - columns)
      throw py::value_error("Family: sizes must be at least 1, and their sum at most " + std::to_string(kMostColumns) +
                            ", got " + std::to_string(size));
    columns += size;
  }
  if (sizes.empty()) throw py::value_error("Family: sizes must not be empty");
  const bool categorical = kind == "categorical";
  if (!categorical && kind != "gaussian") throw py::value_error("Family: unknown kind \"" + kind + "\"");
  if (sizes.size() != 1 && !(categorical && grouped))
    throw py::value_error("Family: a " + kind + " family has one size unless it is categorical and grouped");
  return {categorical ? Family::Kind::categorical : Family::Kind::gaussian, sizes, grouped, log_std_output};
}

void require_columns(const Arguments& check, const Family& family, Index output_size) {
  if (family.columns() > output_size)
    check.fail("network", "must have at least " + std::to_string(family.columns()) + " outputs, got " +
                              std::to_string(output_size));
}

/// Names the random numbers of a decision: row i draws with those of environment + i.
struct Draw {
  std::uint64_t seed;
  std::uint16_t stream;
  std::uint32_t environment;
  std::uint64_t step;
};

/// One decision of a policy: a forward pass onto rows of a tape from `first_row` on, then a sample.
template <typename Scalar>
void decide(NetworkCall<Scalar>& call, const Family& family, Tape<Scalar>& tape, Index first_row, const Draw& draw,
            const py::object& actions, Scalar* log_prob) {
  Arguments& check = call.check;
  const Network<Scalar>& network = call.network;
  check.extent("K", static_cast<Index>(family.sizes.size())).extent("A", family.sizes.front());
  std::int64_t* choices = nullptr;
  Scalar* components = nullptr;
  if (family.gaussian())
    components = check.template output<Scalar>("actions", actions, {"B", "A"});
  else if (family.grouped)
    choices = check.template output<std::int64_t>("actions", actions, {"B", "K"});
  else
    choices = check.template output<std::int64_t>("actions", actions, {"B"});
  const Index columns = network.output_size();
  const Scalar* outputs = tape.output() + first_row * columns;
  const FamilyRows<Scalar> rows{family, outputs, call.rows, columns, call.parameters + network.parameter_count()};
  without_gil([&] { network.forward(call.parameters, call.x, first_row, call.rows, tape); });
  check.finite("network outputs", outputs, call.rows * columns);
  check.finite("log_std", rows.log_std, family.own_parameters());
  without_gil([&] {
    if (components != nullptr)
      diag_gaussian_sample(rows.gaussian(), draw.seed, draw.stream, draw.environment, draw.step, components, log_prob);
    else
      categorical_sample(rows.logits(), draw.seed, draw.stream, draw.environment, draw.step, choices, log_prob);
  });
  if (components != nullptr) check.finite("sampled actions", components, call.rows * family.sizes.front());
}

/// A decision that is kept: the rows stay on the tape, the actions are written in place.
template <typename Scalar>
void policy_act(const Network<Scalar>& network, const Family& family, const py::object& parameters, const py::object& x,
                Tape<Scalar>& tape, Index first_row, std::uint64_t seed, std::uint16_t stream,
                std::uint32_t environment, std::uint64_t step, const py::object& actions) {
  NetworkCall<Scalar> call("Policy.act", network, parameters, x, family.own_parameters());
  require_columns(call.check, family, network.output_size());
  call.fits(tape, first_row);
  decide<Scalar>(call, family, tape, first_row, {seed, stream, environment, step}, actions, nullptr);
}

/// (actions, their log-probabilities), both new.
template <typename Scalar>
py::tuple policy_sample(const Network<Scalar>& network, const Family& family, const py::object& parameters,
                        const py::object& x, std::uint64_t seed, std::uint16_t stream, std::uint64_t step) {
  NetworkCall<Scalar> call("Policy.act", network, parameters, x, family.own_parameters());
  require_columns(call.check, family, network.output_size());
  Tape<Scalar> tape(network, call.rows);
  auto log_prob = call.check.template result<Scalar>({"B"});
  py::object actions;
  if (family.gaussian())
    actions = py::array_t<Scalar>({call.rows, family.sizes.front()});
  else if (family.grouped)
    actions = py::array_t<std::int64_t>({call.rows, static_cast<Index>(family.sizes.size())});
  else
    actions = py::array_t<std::int64_t>(call.rows);
  decide<Scalar>(call, family, tape, 0, {seed, stream, 0, step}, actions, log_prob.mutable_data());
  return py::make_tuple(actions, log_prob);
}

template <typename Scalar>
std::unique_ptr<FisherOperator<Scalar>> make_fisher_operator(const Network<Scalar>& network, const Family& family,
                                                             const py::object& parameters, const py::object& x,
                                                             double damping) {
  NetworkCall<Scalar> call("Policy.fisher_operator", network, parameters, x, family.own_parameters());
  require_columns(call.check, family, network.output_size());
  call.check.not_negative("damping", damping);
  if (!call.x.bytes) call.check.finite("x", static_cast<const Scalar*>(call.x.data), call.rows * network.input_size());
  auto fisher = without_gil([&] {
    return std::make_unique<FisherOperator<Scalar>>(network, family, call.parameters, call.x, call.rows,
                                                    static_cast<Scalar>(damping));
  });
  call.check.finite("network outputs", fisher->outputs(), call.rows * network.output_size());
  if (!fisher->finite()) call.check.fail("log_std", "must be finite, and so must exp(-2 log_std)");
  return fisher;
}

template <typename Scalar>
void register_policy_of(py::module_& module, const char* operator_name) {
  module.def("policy_act", &policy_act<Scalar>, py::arg("network"), py::arg("family"), py::arg("parameters"),
             py::arg("x"), py::arg("tape"), py::arg("first_row"), py::arg("seed"), py::arg("stream"),
             py::arg("environment"), py::arg("step"), py::arg("actions"));
  module.def("policy_sample", &policy_sample<Scalar>, py::arg("network"), py::arg("family"), py::arg("parameters"),
             py::arg("x"), py::arg("seed"), py::arg("stream"), py::arg("step"));
  // The operator refers to the network and to the memory of x.
  py::class_<FisherOperator<Scalar>, LinearOperator<Scalar>>(module, operator_name)
      .def(py::init(&make_fisher_operator<Scalar>), py::arg("network"), py::arg("family"), py::arg("parameters"),
           py::arg("x"), py::arg("damping"), py::keep_alive<1, 2>(), py::keep_alive<1, 5>());
}

}  // namespace

void register_policy(py::module_& module) {
  py::class_<Family>(module, "Family")
      .def(py::init(&make_family), py::arg("kind"), py::arg("sizes"), py::arg("log_std_output") = false,
           py::arg("grouped") = false)
      .def_property_readonly("columns", &Family::columns)
      .def_property_readonly("own_parameters", &Family::own_parameters);
  register_policy_of<float>(module, "FisherOperatorFloat32");
  register_policy_of<double>(module, "FisherOperatorFloat64");
}

}  // namespace pgfast::bindings
