# Compile options shared by every target, as the interface library pgfast_options.
option(PGFAST_WERROR "Treat warnings as errors" OFF)
set(PGFAST_SANITIZER "" CACHE STRING "Sanitizers to build with: empty, \"address,undefined\" or \"thread\"")

add_library(pgfast_options INTERFACE)
# Contraction turns x * w + s into one fused multiply-add; compilers differ in their default.
target_compile_options(pgfast_options INTERFACE
  -ffp-contract=fast -fno-math-errno -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
  $<$<BOOL:${PGFAST_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # The ABI of a vector type depends on the instruction set; none crosses a translation unit.
  target_compile_options(pgfast_options INTERFACE -Wno-psabi)
endif()
# Eigen must not start threads: pgfast splits the work.
target_compile_definitions(pgfast_options INTERFACE EIGEN_DONT_PARALLELIZE)

if(PGFAST_SANITIZER)
  target_compile_options(pgfast_options INTERFACE
    -fsanitize=${PGFAST_SANITIZER} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(pgfast_options INTERFACE -fsanitize=${PGFAST_SANITIZER})
endif()
