// What all calls that take a step of an optimizer share.
#pragma once

#include <cmath>
#include <mutex>
#include <string>

#include "arrays.hpp"
#include "pgfast/optim/optimizers.hpp"

namespace pgfast::bindings {

/// Locks the optimizer. The GIL is released while waiting, because the thread that holds the lock may wait for the GIL.
template <typename Rule>
std::unique_lock<std::mutex> locked(Optimizer<Rule>& optimizer) {
  return without_gil([&] { return optimizer.exclusive(); });
}

/// Raises the reason for which a step was rejected, if it was.
template <typename Scalar>
void require_done(const Arguments& check, const StepResult& result, const StepArguments<Scalar>& arguments) {
  if (result.done) return;
  check.finite("gradient", arguments.gradient, arguments.size);  // the first reason to reject a step
  if (!std::isfinite(result.gradient_norm) && std::isfinite(arguments.max_norm))
    check.fail("gradient", "has a norm that overflows");
  check.fail_as(PyExc_FloatingPointError, "the step would write a number that is not finite; nothing was changed");
}

}  // namespace pgfast::bindings
