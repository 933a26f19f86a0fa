// Binds K-FAC.
#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <pybind11/stl.h>

#include "network_call.hpp"
#include "pgfast/base/sums.hpp"
#include "pgfast/rl/kfac.hpp"

namespace pgfast::bindings {
namespace {

Either<Kfac> make_kfac(const Either<Network>& either, Index position_stride) {
  if (position_stride < 1)
    throw py::value_error("KFAC: position_stride must be at least 1, got " + std::to_string(position_stride));
  return either.visit([&]<typename Scalar>(const Network<Scalar>& network) {
    if (network.state_size() > 0)
      throw py::value_error("KFAC: needs a network without memory: a step of a recurrence has no factors of its own");
    return Either<Kfac>(std::make_unique<Kfac<Scalar>>(network, position_stride));
  });
}

// (first parameter, inputs, outputs, first entry of A, first entry of S), -1 for the S of a diagonal block
std::vector<std::tuple<Index, Index, Index, Index, Index>> kfac_blocks(const Either<Kfac>& either) {
  return either.visit([](const auto& kfac) {
    std::vector<std::tuple<Index, Index, Index, Index, Index>> blocks;
    for (const KroneckerBlock& block : kfac.blocks())
      blocks.emplace_back(block.parameter, block.inputs, block.outputs, block.a, block.diagonal ? -1 : block.s);
    return blocks;
  });
}

py::array kfac_measure(const Either<Kfac>& either, const Either<Tape>& tapes, const py::object& parameters,
                       const py::object& dy, const py::object& valid, const py::object& count) {
  return either.visit([&]<typename Scalar>(Kfac<Scalar>& kfac) {
    NetworkArguments<Scalar> call("KFAC.observe", kfac.network(), parameters);
    Tape<Scalar>* tape = tapes.get<Scalar>();
    if (tape == nullptr || &tape->network() != &kfac.network()) call.fail("tape", "must be one of this network");
    const auto* gradients = call.template finite_input<Scalar>("row_gradients", dy, {"B", "out"});
    call.require_recorded("row_gradients", *tape);
    const auto* used = call.template optional_input<bool>("valid", valid, {"B"});
    const Index valid_rows = used == nullptr ? call.rows() : std::count(used, used + call.rows(), true);
    const Index divisor = count.is_none() ? valid_rows : call.count("count", count);
    if (divisor == 0) call.fail("valid", "must be true for at least one row");
    call.extent("S", kfac.size());
    return call.template filled<Scalar>({"S"}, [&](Scalar* to) {
      const auto lock = kfac.exclusive();
      kfac.measure(call.parameters, call.rows(), *tape, gradients, used, static_cast<double>(divisor), to);
    });
  });
}

/// Moves `statistics` to what the averages become; returns False if a number is not finite.
bool kfac_blend(const Either<Kfac>& either, const py::object& averages, double rate, const py::object& statistics) {
  return either.visit([&]<typename Scalar>(const Kfac<Scalar>& kfac) {
    Arguments call("KFAC.observe");
    call.extent("S", kfac.size());
    const auto* from = call.input<Scalar>("averages", averages, {"S"});
    auto* to = call.output<Scalar>("statistics", statistics, {"S"});
    call.distinct("statistics", statistics, "averages", averages);
    call.in_range("rate", rate, 0.0, 1.0);
    return without_gil([&] { return kfac.blend(from, rate, to); });
  });
}

/// Writes the factors, and returns how often the damping of a layer was raised; -1 if no damping helped.
int kfac_factor(const Either<Kfac>& either, const py::object& statistics, double damping, const py::object& factors) {
  return either.visit([&]<typename Scalar>(const Kfac<Scalar>& kfac) {
    Arguments call("KFAC.factor");
    call.extent("S", kfac.size());
    const auto* from = call.input<Scalar>("statistics", statistics, {"S"});
    auto* to = call.output<Scalar>("factors", factors, {"S"});
    call.distinct("factors", factors, "statistics", statistics);
    call.positive("damping", damping);
    return without_gil([&] { return kfac.factor(from, damping, to); });
  });
}

/// The number of parameters after the network's, which are a log_std, in a vector [P].
template <typename Scalar>
Index log_std_parameters(const Arguments& call, const char* name, const Kfac<Scalar>& kfac) {
  const Index count = call.extent("P") - kfac.network().parameter_count();
  if (count < 0)
    call.fail(name, "must have shape (P,), P at least " + std::to_string(kfac.network().parameter_count()) + ", got (" +
                        std::to_string(call.extent("P")) + ",)");
  return count;
}

py::array kfac_solve(const Either<Kfac>& either, const py::object& factors, const py::object& gradient,
                     double damping) {
  return either.visit([&]<typename Scalar>(const Kfac<Scalar>& kfac) {
    Arguments call("KFAC.natural_gradient");
    call.extent("S", kfac.size());
    const auto* l = call.input<Scalar>("factors", factors, {"S"});
    const auto* g = call.finite_input<Scalar>("gradient", gradient, {"P"});
    const Index rest = log_std_parameters(call, "gradient", kfac);
    return call.filled<Scalar>({"P"}, [&](Scalar* to) {
      kfac.solve(l, g, to);
      const Index first = kfac.network().parameter_count();
      for (Index i = first; i < first + rest; ++i) to[i] = g[i] / static_cast<Scalar>(2 + damping);
    });
  });
}

double kfac_curvature(const Either<Kfac>& either, const py::object& statistics, const py::object& x) {
  return either.visit([&]<typename Scalar>(const Kfac<Scalar>& kfac) {
    Arguments call("KFAC.curvature");
    call.extent("S", kfac.size());
    const auto* from = call.input<Scalar>("statistics", statistics, {"S"});
    const auto* at = call.input<Scalar>("x", x, {"P"});
    const Index rest = log_std_parameters(call, "x", kfac);
    return without_gil([&] {
      const Scalar* log_std = at + kfac.network().parameter_count();
      return kfac.curvature(from, at) + 2 * dot(log_std, log_std, rest);
    });
  });
}

}  // namespace

void register_kfac(py::module_& module) {
  py::class_<Either<Kfac>>(module, "KFAC")
      .def(py::init(&make_kfac), py::arg("network"), py::arg("position_stride"), py::keep_alive<1, 2>())
      .def_property_readonly(
          "size", [](const Either<Kfac>& either) { return either.visit([](const auto& kfac) { return kfac.size(); }); })
      .def_property_readonly("blocks", &kfac_blocks)
      .def("measure", &kfac_measure, py::arg("tape"), py::arg("parameters"), py::arg("row_gradients"), py::kw_only(),
           py::arg("valid") = py::none(), py::arg("count") = py::none())
      .def("blend", &kfac_blend, py::arg("averages"), py::arg("rate"), py::arg("statistics"))
      .def("factor", &kfac_factor, py::arg("statistics"), py::arg("damping"), py::arg("factors"))
      .def("natural_gradient", &kfac_solve, py::arg("factors"), py::arg("gradient"), py::arg("damping"))
      .def("curvature", &kfac_curvature, py::arg("statistics"), py::arg("x"));
}

}  // namespace pgfast::bindings
