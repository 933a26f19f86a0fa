// Detects the instructions that this CPU and its operating system support. The compiler's builtin also checks that the
// operating system saves the wide registers.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "Detects the highest x86-64 level (2 or 3) that this machine supports; 1 if neither.";
  module.def("x86_64_level", [] {
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt")))
      return 1;
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
    return v3 ? 3 : 2;
  });
}
