// Binds the fit of a value network to returns.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "network_call.hpp"
#include "optimizer_call.hpp"
#include "pgfast/rl/minibatches.hpp"
#include "pgfast/rl/value_fit.hpp"

namespace pgfast::bindings {
namespace {

/// Requires that the optimizer has no slots yet, or those of P parameters of this dtype.
template <typename Scalar>
void require_fitting_slots(const Arguments& check, const Optimizer<AdamRule>& optimizer) {
  std::visit(
      [&](const auto& slots) {
        using Kept = std::decay_t<decltype(slots)>;
        if constexpr (!std::is_same_v<Kept, std::monostate>) {
          if (!std::is_same_v<typename Kept::value_type, Scalar> || slots.size() != check.extent("P"))
            check.fail("optimizer", "must have taken its steps on parameters like these");
        }
      },
      optimizer.slots());
}

/// Replaces the gradient by its sum over the workers, which a Python function computes. Called without the GIL.
template <typename Scalar>
void sum_over_workers(Arguments& check, const py::object& sum, const py::object& gradient, Scalar* to) {
  const py::gil_scoped_acquire acquire;
  const py::object total = sum(gradient);
  const auto* from = check.input<Scalar>("sum", total, {"P"});
  if (from != to) std::copy_n(from, check.extent("P"), to);
}

/// A pass over minibatches of rows of all workers, each of which takes a step. The rows have numbers from 0 on; those
/// of this worker are B rows of x, its returns, and their numbers. The k-th smallest key is that of the row in place k,
/// and minibatches are cut from the rows in this order.
void bind_fit_pass(const Either<Tape>& either, Optimizer<AdamRule>& optimizer, const py::object& parameters,
                   const py::object& gradient, const py::object& x, const py::object& returns,
                   const py::object& numbers, const py::object& keys, Index batch_size, const py::object& sum) {
  either.visit([&]<typename Scalar>(Tape<Scalar>& tape) {
    NetworkArguments<Scalar> call("MLPValues.fit", tape.network(), parameters);
    call.without_memory();
    if (tape.network().output_size() != 1) call.fail("needs a network with one output");
    auto* const values = call.template output<Scalar>("parameters", parameters, {"P"});
    auto* const to = call.template output<Scalar>("gradient", gradient, {"P"});
    call.distinct("gradient", gradient, "parameters", parameters);
    const auto* const drawn = call.template input<double>("keys", keys, {"C"});
    call.takes_empty_arrays = true;  // a worker may have no rows
    const Index rows = call.as_array("numbers", numbers).size();
    const Inputs inputs = rows > 0 ? call.inputs(x) : Inputs{nullptr, false};
    call.extent("B", rows);
    const auto* const targets = call.template input<Scalar>("returns", returns, {"B"});
    const auto* const of_rows = call.template input<std::int64_t>("numbers", numbers, {"B"});
    const Index total = call.extent("C");
    if (batch_size < 1) call.fail("batch_size", "must be at least 1, got " + std::to_string(batch_size));
    const Index most = std::min(batch_size, rows);
    if (most > tape.capacity())
      call.fail("tape", "must hold " + std::to_string(most) + " rows, got one of " + std::to_string(tape.capacity()));
    if (rows > 0) reserve_inputs("MLPValues.fit", "x", tape, inputs.bytes, most);
    call.indices_in_range("numbers", of_rows, rows, {&total, 1}, false);
    for (Index i = 0; i < total; ++i)
      if (!(drawn[i] >= 0.0 && drawn[i] < 1.0)) call.fail("keys", "must be in [0, 1), got " + std::to_string(drawn[i]));
    const auto lock = locked(optimizer);
    require_fitting_slots<Scalar>(call, optimizer);
    const StepArguments<Scalar> arguments{
        values, to, call.extent("P"), optimizer.learning_rate(), std::numeric_limits<double>::infinity(), {}};

    const StepResult result = without_gil([&] {
      std::vector<Index> local_of(static_cast<std::size_t>(total), -1);  // -1: another worker holds the row
      for (Index row = 0; row < rows; ++row) local_of[static_cast<std::size_t>(of_rows[row])] = row;
      std::vector<Index> order(static_cast<std::size_t>(total));
      sort_keys(total, drawn, order.data());
      std::vector<std::int64_t> minibatch;
      for (Index begin = 0; begin < total; begin += batch_size) {
        const Index count = std::min(batch_size, total - begin);
        minibatch.clear();
        for (Index place = begin; place < begin + count; ++place) {
          const Index row = local_of[static_cast<std::size_t>(order[static_cast<std::size_t>(place)])];
          if (row >= 0) minibatch.push_back(row);
        }
        squared_error_gradient<Scalar>(values, inputs, targets, minibatch, count, tape, to);
        if (!sum.is_none()) sum_over_workers(call, sum, gradient, to);
        const StepResult step = optimizer.step(arguments);
        if (!step.done) return step;
      }
      return StepResult{true, 0.0};
    });
    require_done(call, result, arguments);
  });
}

}  // namespace

void register_value_fit(py::module_& module) {
  module.def("fit_pass", &bind_fit_pass, py::arg("tape"), py::arg("optimizer"), py::arg("parameters"),
             py::arg("gradient"), py::arg("x"), py::arg("returns"), py::arg("numbers"), py::arg("keys"),
             py::arg("batch_size"), py::arg("sum"));
}

}  // namespace pgfast::bindings
