# Finds pybind11 and Eigen. Eigen comes from the build requirement cmeel-eigen, else from Eigen3_DIR, else from the net,
# as the pinned release. Only tested versions are accepted: a stray system Eigen 3.4.0 must not be found.
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
find_package(Threads REQUIRED)

# The wheel cmeel-eigen keeps its files one folder below site-packages, and the build frontend puts site-packages on the
# prefix path. Without a frontend, both wheels are searched in the interpreter's site-packages.
foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND CMAKE_PREFIX_PATH "${prefix}/cmeel.prefix")
endforeach()
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c "import sysconfig; print(sysconfig.get_path('purelib'))"
  OUTPUT_VARIABLE PGFAST_SITE_PACKAGES OUTPUT_STRIP_TRAILING_WHITESPACE)
list(APPEND CMAKE_PREFIX_PATH "${PGFAST_SITE_PACKAGES}/cmeel.prefix" "${PGFAST_SITE_PACKAGES}/pybind11")

set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 3.0 CONFIG REQUIRED)

include(FetchContent)
FetchContent_Declare(Eigen3
  URL https://gitlab.com/libeigen/eigen/-/archive/3.4.1/eigen-3.4.1.tar.gz
  URL_HASH SHA256=b93c667d1b69265cdb4d9f30ec21f8facbbe8b307cf34c0b9942834c6d4fdbe2
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  SOURCE_SUBDIR headers-only # no such folder: Eigen's targets, tests and install rules are left out
  FIND_PACKAGE_ARGS 3.4.1 CONFIG NO_CMAKE_SYSTEM_PATH NO_CMAKE_PACKAGE_REGISTRY)
FetchContent_MakeAvailable(Eigen3)

if(TARGET Eigen3::Eigen)
  message(STATUS "pgfast: Eigen ${Eigen3_VERSION} from ${Eigen3_DIR}")
else()
  message(STATUS "pgfast: Eigen headers from ${eigen3_SOURCE_DIR}")
  add_library(pgfast_eigen INTERFACE)
  add_library(Eigen3::Eigen ALIAS pgfast_eigen)
  target_include_directories(pgfast_eigen SYSTEM INTERFACE "${eigen3_SOURCE_DIR}")
endif()
