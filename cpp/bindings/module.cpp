// The native module: a table of contents. Each register function is in the file of the core folder that it binds.
#include <pybind11/pybind11.h>

namespace pgfast::bindings {
void register_base(pybind11::module_& module);
void register_categorical(pybind11::module_& module);
void register_diag_gaussian(pybind11::module_& module);
void register_kfac(pybind11::module_& module);
void register_linalg(pybind11::module_& module);
void register_losses(pybind11::module_& module);
void register_minibatches(pybind11::module_& module);
void register_nn(pybind11::module_& module);
void register_optim(pybind11::module_& module);
void register_policy(pybind11::module_& module);
void register_rl(pybind11::module_& module);
void register_steps(pybind11::module_& module);
void register_tape(pybind11::module_& module);
void register_value_fit(pybind11::module_& module);
}  // namespace pgfast::bindings

PYBIND11_MODULE(PGFAST_MODULE, module) {
  module.doc() = "Policy-gradient numerics, compiled for one instruction set. Use it through pgfast's Python modules.";
  pgfast::bindings::register_base(module);
  pgfast::bindings::register_categorical(module);
  pgfast::bindings::register_diag_gaussian(module);
  pgfast::bindings::register_linalg(module);
  pgfast::bindings::register_losses(module);
  pgfast::bindings::register_nn(module);
  pgfast::bindings::register_tape(module);
  pgfast::bindings::register_optim(module);
  pgfast::bindings::register_rl(module);
  pgfast::bindings::register_steps(module);
  pgfast::bindings::register_minibatches(module);
  pgfast::bindings::register_policy(module);
  pgfast::bindings::register_kfac(module);
  pgfast::bindings::register_value_fit(module);
}
