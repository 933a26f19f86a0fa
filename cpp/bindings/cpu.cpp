// Describes this CPU to python/pgfast/_native.py, which chooses the module that suits it.
#include <cpuid.h>

#include <cstring>
#include <string>

#include <pybind11/pybind11.h>

namespace {

/// The highest level from 1 to 4 that this machine supports. The compiler's builtin also checks that the operating
/// system saves the wide registers.
int x86_64_level() {
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt")))
    return 1;
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2")))
    return 2;
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? 4 : 3;
}

struct Registers {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

/// The answer of the CPUID instruction; zeros if the CPU has no such leaf.
Registers cpuid(unsigned leaf) {
  Registers answer;
  __get_cpuid(leaf, &answer.eax, &answer.ebx, &answer.ecx, &answer.edx);
  return answer;
}

pybind11::dict describe() {
  const Registers maker = cpuid(0);
  char vendor[12];
  std::memcpy(vendor, &maker.ebx, 4);
  std::memcpy(vendor + 4, &maker.edx, 4);
  std::memcpy(vendor + 8, &maker.ecx, 4);
  const unsigned signature = cpuid(1).eax;
  unsigned family = signature >> 8 & 0xF;
  unsigned model = signature >> 4 & 0xF;
  if (family == 0x6 || family == 0xF) model |= (signature >> 16 & 0xF) << 4;
  if (family == 0xF) family += signature >> 20 & 0xFF;
  pybind11::dict result;
  result["level"] = x86_64_level();
  result["vendor"] = std::string(vendor, sizeof vendor);
  result["family"] = family;
  result["model"] = model;
  result["fp512"] = (cpuid(0x8000001A).eax & 8) != 0;
  return result;
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "Describes this CPU.";
  module.def("describe", &describe,
             "``level``: the highest x86-64 level from 1 to 4 that the machine supports; ``vendor``, ``family`` and "
             "``model`` by CPUID; ``fp512``: whether an AMD CPU says that its vector units are 512 bits wide.");
}
