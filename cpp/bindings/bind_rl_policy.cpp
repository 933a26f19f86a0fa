// Binds policies: a network and the family of distributions that its outputs parametrize.
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "network_call.hpp"
#include "pgfast/dist/family.hpp"
#include "pgfast/rl/fisher_operator.hpp"
#include "pgfast/rl/policy_backward.hpp"

namespace pgfast::bindings {
namespace {

constexpr Index kMaxOutputs = Index{1} << 26;

/// Kind, sizes, whether log_std is an output, whether a categorical action has an axis of groups.
using ComponentDescription = std::tuple<std::string, std::vector<Index>, bool, bool>;

Family make_family(const std::vector<ComponentDescription>& descriptions, bool joint) {
  Index outputs = 0;
  std::vector<Component> components;
  for (const auto& [kind, sizes, log_std_output, grouped] : descriptions) {
    for (const Index size : sizes) {
      if (size < 1 || size > kMaxOutputs - outputs)
        throw py::value_error("Family: sizes must be at least 1, and their sum at most " + std::to_string(kMaxOutputs) +
                              ", got " + std::to_string(size));
      outputs += size;
    }
    if (sizes.empty()) throw py::value_error("Family: sizes must not be empty");
    const bool categorical = kind == "categorical";
    if (!categorical && kind != "gaussian") throw py::value_error("Family: unknown kind \"" + kind + "\"");
    if (sizes.size() != 1 && !(categorical && grouped))
      throw py::value_error("Family: only a grouped categorical family may have more than one size");
    components.push_back(
        {categorical ? Component::Kind::categorical : Component::Kind::gaussian, sizes, grouped, log_std_output});
  }
  if (components.empty()) throw py::value_error("Family: must have at least one component");
  if (components.size() > 1 && !joint) throw py::value_error("Family: several components must be joint");
  return Family(std::move(components), joint);
}

/// The actions of each component.
using Arrays = std::vector<py::object>;

/// The arguments of a call on a policy.
template <typename Scalar>
class PolicyArguments : public NetworkArguments<Scalar> {
 public:
  using Sampled = std::vector<ComponentActions<std::int64_t, Scalar>>;
  using typename NetworkArguments<Scalar>::Shape;

  PolicyArguments(const char* function, const Network<Scalar>& net, const Family& fam, const py::object& vector)
      : NetworkArguments<Scalar>(function, net, vector, fam.log_std_parameters()), family(fam) {
    if (fam.outputs() > net.output_size())
      this->fail("network", "must have at least " + std::to_string(fam.outputs()) + " outputs, got " +
                                std::to_string(net.output_size()));
  }

  /// The actions of each component: of a joint family a tuple of arrays, else one array.
  Arrays action_arrays(const py::object& actions) const {
    if (!family.joint()) return {actions};
    const std::size_t count = family.components().size();
    const bool is_tuple = py::isinstance<py::tuple>(actions);
    if (!is_tuple || py::len(actions) != count)
      this->fail_type("actions", "must be a tuple of " + std::to_string(count) + " arrays, or an array with " +
                                     std::to_string(count) + " fields, got " +
                                     (is_tuple ? "a tuple of " + std::to_string(py::len(actions))
                                               : std::string(py::str(py::type::of(actions).attr("__name__")))));
    return actions.cast<Arrays>();
  }

  std::vector<ComponentActions<const std::int64_t, const Scalar>> actions(const Arrays& arrays) {
    std::vector<ComponentActions<const std::int64_t, const Scalar>> all(arrays.size());
    for (std::size_t c = 0; c < arrays.size(); ++c) {
      const Component& component = family.components()[c];
      const std::string name = action_name(c);
      if (component.gaussian()) {
        all[c].numbers = this->template finite_input<Scalar>(name.c_str(), arrays[c], shape(component));
      } else {
        all[c].choices = this->template input<std::int64_t>(name.c_str(), arrays[c], shape(component));
        this->indices_in_range(name.c_str(), all[c].choices, this->rows(), component.sizes, component.grouped);
      }
    }
    return all;
  }

  /// Arrays that actions are written to.
  Sampled outputs(const Arrays& arrays) {
    Sampled all(arrays.size());
    for (std::size_t c = 0; c < arrays.size(); ++c) {
      const Component& component = family.components()[c];
      const std::string name = action_name(c);
      if (component.gaussian())
        all[c].numbers = this->template output<Scalar>(name.c_str(), arrays[c], shape(component));
      else
        all[c].choices = this->template output<std::int64_t>(name.c_str(), arrays[c], shape(component));
    }
    return all;
  }

  /// The same for new arrays, which it puts into `arrays`.
  Sampled new_outputs(Arrays& arrays) {
    Sampled all(family.components().size());
    for (std::size_t c = 0; c < all.size(); ++c) {
      const Component& component = family.components()[c];
      if (component.gaussian()) {
        auto numbers = this->template result<Scalar>(shape(component));
        all[c].numbers = numbers.mutable_data();
        arrays.push_back(std::move(numbers));
      } else {
        auto choices = this->template result<std::int64_t>(shape(component));
        all[c].choices = choices.mutable_data();
        arrays.push_back(std::move(choices));
      }
    }
    return all;
  }

  /// "actions", or "actions[c]" of a joint family.
  std::string action_name(std::size_t c) const {
    return family.joint() ? "actions[" + std::to_string(c) + "]" : "actions";
  }

  /// The mask [B, M] of the choices, nullptr for None.
  const bool* mask(const py::object& object) {
    if (object.is_none()) return nullptr;
    if (family.mask_columns() == 0) this->fail("mask", "must be None: the policy has no choices");
    this->extent("M", family.mask_columns());
    const auto* mask = this->template input<bool>("mask", object, {"B", "M"});
    std::vector<Index> sizes;
    for (const Component& component : family.components())
      if (!component.gaussian()) sizes.insert(sizes.end(), component.sizes.begin(), component.sizes.end());
    this->allows_a_choice("mask", mask, this->rows(), sizes);
    return mask;
  }

  /// The distributions of B rows of outputs, which must be finite.
  FamilyRows<Scalar> distributions(const Scalar* outputs, const bool* mask) const {
    const Index columns = this->network.output_size();
    const Scalar* log_std = this->parameters + this->network.parameter_count();
    this->finite("network outputs", outputs, this->rows() * columns);
    this->finite("log_std", log_std, family.log_std_parameters());
    return {family, outputs, this->rows(), columns, log_std, mask};
  }

  const Family& family;

 private:
  static inline const Shape kNumbers = {"B", "A"};
  static inline const Shape kGroupedChoices = {"B", "K"};
  static inline const Shape kChoices = {"B"};

  /// The shape of a component's actions; its symbols get the values of this component.
  Shape shape(const Component& component) {
    if (component.gaussian()) {
      this->extent("A", component.sizes.front());
      return kNumbers;
    }
    if (!component.grouped) return kChoices;
    this->extent("K", static_cast<Index>(component.sizes.size()));
    return kGroupedChoices;
  }
};

/// Runs the forward pass of `x` on rows of the tape from `first_row` on, and samples actions with log-probabilities.
template <typename Scalar>
void decide(PolicyArguments<Scalar>& call, Tape<Scalar>& tape, Inputs x, const bool* mask, Index first_row,
            const RowKey& key, SampledActions<Scalar> to, Scalar* log_prob) {
  without_gil([&] { tape.record(call.parameters, x, first_row, call.rows()); });
  const FamilyRows<Scalar> rows = call.distributions(tape.outputs() + first_row * call.network.output_size(), mask);
  without_gil([&] { family_sample<Scalar>(rows, key, to, log_prob); });
  for (std::size_t c = 0; c < to.size(); ++c)
    if (to[c].numbers != nullptr)
      call.finite("sampled actions", to[c].numbers, call.rows() * call.family.components()[c].sizes.front());
}

/// Samples actions and keeps the forward pass on the tape. Writes actions and log_prob in place.
void policy_act(const Either<Tape>& either, const Family& family, const py::object& parameters, const py::object& x,
                const py::object& mask, Index first_row, std::uint64_t seed, std::uint16_t stream,
                std::uint32_t environment, std::uint64_t step, const py::object& actions, const py::object& log_prob) {
  either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    PolicyArguments<Scalar> call("Policy.act", tape.network(), family, parameters);
    const Inputs inputs = call.inputs(x);
    const bool* allowed = call.mask(mask);
    call.reserve(tape, inputs, first_row);
    const Arrays arrays = call.action_arrays(actions);
    const auto to = call.outputs(arrays);
    auto* log_prob_to = call.template output<Scalar>("log_prob", log_prob, {"B"});
    if (allowed != nullptr) call.distinct("log_prob", log_prob, "mask", mask);
    for (std::size_t c = 0; c < arrays.size(); ++c) {
      const std::string name = call.action_name(c);
      call.distinct("log_prob", log_prob, name.c_str(), arrays[c]);
      if (allowed != nullptr) call.distinct(name.c_str(), arrays[c], "mask", mask);
      for (std::size_t other = 0; other < c; ++other)
        call.distinct(name.c_str(), arrays[c], call.action_name(other).c_str(), arrays[other]);
    }
    decide<Scalar>(call, tape, inputs, allowed, first_row, {seed, stream, environment, step}, to, log_prob_to);
  });
}

/// (actions, their log-probabilities), both new; of a joint family, actions are a tuple of arrays.
py::tuple policy_sample(const Either<Network>& either, const Family& family, const py::object& parameters,
                        const py::object& x, const py::object& mask, std::uint64_t seed, std::uint16_t stream,
                        std::uint64_t step) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) -> py::tuple {
    PolicyArguments<Scalar> call("Policy.act", network, family, parameters);
    call.without_memory();
    const Inputs inputs = call.inputs(x);
    const bool* allowed = call.mask(mask);
    Tape<Scalar> tape(network, call.rows());
    tape.borrow_inputs(inputs);
    auto log_prob = call.template result<Scalar>({"B"});
    Arrays arrays;
    const auto to = call.new_outputs(arrays);
    decide<Scalar>(call, tape, inputs, allowed, 0, {seed, stream, 0, step}, to, log_prob.mutable_data());
    return py::make_tuple(family.joint() ? py::tuple(py::cast(arrays)) : arrays.front(), std::move(log_prob));
  });
}

/// (log-probabilities of the actions, entropies) of the first rows of a tape.
py::tuple policy_evaluate(const Either<Tape>& either, const Family& family, const py::object& parameters,
                          const py::object& actions, const py::object& mask) {
  return either.visit([&]<typename Scalar>(Tape<Scalar>& tape) -> py::tuple {
    PolicyArguments<Scalar> call("PolicyTape.evaluate", tape.network(), family, parameters);
    const auto chosen = call.actions(call.action_arrays(actions));
    const bool* allowed = call.mask(mask);
    call.require_recorded("actions", tape);
    const FamilyRows<Scalar> rows = call.distributions(tape.outputs(), allowed);
    auto log_prob = call.template result<Scalar>({"B"});
    auto entropy = call.template result<Scalar>({"B"});
    Scalar* const log_prob_to = log_prob.mutable_data();
    Scalar* const entropy_to = entropy.mutable_data();
    without_gil([&] { family_evaluate<Scalar>(rows, chosen, log_prob_to, entropy_to); });
    return py::make_tuple(std::move(log_prob), std::move(entropy));
  });
}

/// The arguments of a backward pass that is about the first rows of a tape, or about inputs.
template <typename Scalar>
struct BackwardArguments {
  BackwardArguments(const char* function, const Network<Scalar>& network, const Family& family,
                    const py::object& parameters, const py::object& at, const py::object& mask,
                    const py::object& actions, const py::object& log_prob, const py::object& entropy,
                    const py::object& values)
      : call(function, network, family, parameters) {
    const bool is_tape = py::isinstance<Either<Tape>>(at);
    tape = is_tape ? at.cast<const Either<Tape>&>().get<Scalar>() : nullptr;
    if (is_tape && (tape == nullptr || &tape->network() != &network)) call.fail("tape", "was made for another network");
    if (!is_tape) call.without_memory(", or a tape");
    inputs = is_tape ? tape->inputs() : call.inputs(at);
    arrays = call.action_arrays(actions);
    chosen = call.actions(arrays);
    allowed = call.mask(mask);
    if (is_tape) call.require_recorded("actions", *tape);
    rows.log_prob = call.template finite_input<Scalar>("rows.log_prob", log_prob, {"B"});
    rows.entropy = call.template optional_finite_input<Scalar>("rows.entropy", entropy, {"B"});
    rows.values = call.template optional_finite_input<Scalar>("rows.values", values, {"B"});
    if (rows.values != nullptr && family.outputs() == network.output_size())
      call.fail("rows.values", "must be None: the policy has no value head");
  }

  /// The distributions of the rows, after a forward pass if it is not on a tape.
  FamilyRows<Scalar> distributions() {
    if (tape == nullptr) tape = &own.emplace(without_gil([&] { return borrowed_forward(call, inputs); }));
    return call.distributions(tape->outputs(), allowed);
  }

  PolicyArguments<Scalar> call;
  Tape<Scalar>* tape = nullptr;
  std::optional<Tape<Scalar>> own;
  Inputs inputs;
  Arrays arrays;
  std::vector<ComponentActions<const std::int64_t, const Scalar>> chosen;
  const bool* allowed = nullptr;
  RowGradients<const Scalar> rows{};
};

/// Writes the gradient of a loss with respect to the policy's parameters to `out`. `at` is a tape, whose first rows are
/// those of the loss, or their inputs.
void policy_backward(const Either<Network>& either, const Family& family, const py::object& parameters,
                     const py::object& at, const py::object& mask, const py::object& actions,
                     const py::object& log_prob, const py::object& entropy, const py::object& values,
                     const py::object& out) {
  either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    BackwardArguments<Scalar> given("Policy.gradient", network, family, parameters, at, mask, actions, log_prob,
                                    entropy, values);
    PolicyArguments<Scalar>& call = given.call;
    auto* to = call.template output<Scalar>("out", out, {"P"});
    for (std::size_t c = 0; c < given.arrays.size(); ++c)
      call.distinct("out", out, call.action_name(c).c_str(), given.arrays[c]);
    const std::pair<const char*, const py::object&> read[] = {{"parameters", parameters},
                                                              {"mask", mask},
                                                              {"rows.log_prob", log_prob},
                                                              {"rows.entropy", entropy},
                                                              {"rows.values", values}};
    for (const auto& [name, array] : read)
      if (!array.is_none()) call.distinct("out", out, name, array);
    const FamilyRows<Scalar> rows = given.distributions();
    without_gil(
        [&] { pgfast::policy_backward<Scalar>(rows, given.chosen, given.rows, call.parameters, *given.tape, to); });
  });
}

/// The gradients of the rows' terms with respect to the outputs [B, output_size]; `at` as above.
py::array policy_output_gradients(const Either<Network>& either, const Family& family, const py::object& parameters,
                                  const py::object& at, const py::object& mask, const py::object& actions,
                                  const py::object& log_prob, const py::object& entropy, const py::object& values) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    BackwardArguments<Scalar> given("Policy.output_gradients", network, family, parameters, at, mask, actions, log_prob,
                                    entropy, values);
    const FamilyRows<Scalar> rows = given.distributions();
    given.call.extent("O", network.output_size());
    return given.call.template filled<Scalar>(
        {"B", "O"}, [&](Scalar* to) { pgfast::policy_output_gradients<Scalar>(rows, given.chosen, given.rows, to); });
  });
}

py::array policy_scores(const Either<Network>& either, const Family& family, const py::object& parameters,
                        const py::object& x, const py::object& mask, const py::object& actions) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    PolicyArguments<Scalar> call("Policy.scores", network, family, parameters);
    call.without_memory();
    const Inputs inputs = call.inputs(x);
    const auto chosen = call.actions(call.action_arrays(actions));
    const bool* allowed = call.mask(mask);
    Tape<Scalar> tape = without_gil([&] { return borrowed_forward(call, inputs); });
    const FamilyRows<Scalar> rows = call.distributions(tape.outputs(), allowed);
    return call.template filled<Scalar>(
        {"B", "P"}, [&](Scalar* to) { pgfast::policy_scores<Scalar>(rows, chosen, call.parameters, tape, to); });
  });
}

/// A separate class, so that its constructor can keep the network alive.
struct BoundFisherOperator : Either<LinearOperator> {
  using Either::Either;
};

BoundFisherOperator make_fisher_operator(const Either<Network>& either, const Family& family,
                                         const py::object& parameters, const py::object& x, const py::object& mask,
                                         double damping, std::optional<Index> count) {
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    PolicyArguments<Scalar> call("Policy.fisher_operator", network, family, parameters);
    call.without_memory();
    const Inputs inputs = call.inputs(x);
    const bool* allowed = call.mask(mask);
    call.not_negative("damping", damping);
    const Index divisor = count.value_or(call.rows());
    if (divisor < 1) call.fail("count", "must be at least 1, got " + std::to_string(divisor));
    call.finite_inputs(inputs);
    auto fisher = without_gil([&] {
      return std::make_unique<FisherOperator<Scalar>>(network, family, call.parameters, inputs, allowed, call.rows(),
                                                      divisor, static_cast<Scalar>(damping));
    });
    call.finite("network outputs", fisher->outputs(), call.rows() * network.output_size());
    if (!fisher->finite()) call.fail("log_std", "must be finite, and so must exp(-2 log_std)");
    return BoundFisherOperator(std::unique_ptr<LinearOperator<Scalar>>(std::move(fisher)));
  });
}

}  // namespace

void register_policy(py::module_& module) {
  py::class_<Family>(module, "Family")
      .def(py::init(&make_family), py::arg("components"), py::arg("joint"))
      .def_property_readonly("num_outputs", &Family::outputs)
      .def_property_readonly("mask_columns", &Family::mask_columns)
      .def_property_readonly("log_std_parameters", &Family::log_std_parameters);
  module.def("policy_act", &policy_act, py::arg("tape"), py::arg("family"), py::arg("parameters"), py::arg("x"),
             py::arg("mask"), py::arg("first_row"), py::arg("seed"), py::arg("stream"), py::arg("environment"),
             py::arg("step"), py::arg("actions"), py::arg("log_prob"));
  module.def("policy_sample", &policy_sample, py::arg("network"), py::arg("family"), py::arg("parameters"),
             py::arg("x"), py::arg("mask"), py::arg("seed"), py::arg("stream"), py::arg("step"));
  module.def("policy_evaluate", &policy_evaluate, py::arg("tape"), py::arg("family"), py::arg("parameters"),
             py::arg("actions"), py::arg("mask"));
  module.def("policy_backward", &policy_backward, py::arg("network"), py::arg("family"), py::arg("parameters"),
             py::arg("at"), py::arg("mask"), py::arg("actions"), py::arg("log_prob"), py::arg("entropy"),
             py::arg("values"), py::arg("out"));
  module.def("policy_output_gradients", &policy_output_gradients, py::arg("network"), py::arg("family"),
             py::arg("parameters"), py::arg("at"), py::arg("mask"), py::arg("actions"), py::arg("log_prob"),
             py::arg("entropy"), py::arg("values"));
  module.def("policy_scores", &policy_scores, py::arg("network"), py::arg("family"), py::arg("parameters"),
             py::arg("x"), py::arg("mask"), py::arg("actions"));
  py::class_<BoundFisherOperator, Either<LinearOperator>>(module, "FisherOperator")
      .def(py::init(&make_fisher_operator), py::arg("network"), py::arg("family"), py::arg("parameters"), py::arg("x"),
           py::arg("mask"), py::arg("damping"), py::arg("count"), py::keep_alive<1, 2>());
}

}  // namespace pgfast::bindings
