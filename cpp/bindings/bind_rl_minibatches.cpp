// Binds minibatches: drawing them, and normalizing numbers within each.
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "pgfast/rl/minibatches.hpp"

namespace pgfast::bindings {
namespace {

/// (order of the rows by the groups of their units, end of each group therein)
py::tuple bind_draw_groups(const py::object& keys, Index groups, const py::object& units) {
  Arguments check("draw_groups");
  check.takes_empty_arrays = true;  // a worker may have no rows
  const auto* drawn = check.input<double>("keys", keys, {"N"});
  const auto* of_rows = check.input<std::int64_t>("units", units, {"B"});
  const Index total = check.extent("N");
  const Index rows = check.extent("B");
  if (groups < 1 || groups > total)
    check.fail("groups", "must be in [1, " + std::to_string(total) + "], got " + std::to_string(groups));
  check.indices_in_range("units", of_rows, rows, {&total, 1}, false);
  for (Index i = 0; i < total; ++i)
    if (!(drawn[i] >= 0.0 && drawn[i] < 1.0)) check.fail("keys", "must be in [0, 1), got " + std::to_string(drawn[i]));
  check.extent("G", groups);
  auto order = check.result<std::int64_t>({"B"});
  auto ends = check.result<std::int64_t>({"G"});
  std::int64_t* const order_to = order.mutable_data();
  std::int64_t* const ends_to = ends.mutable_data();
  without_gil([&] {
    std::vector<Index> group_of(static_cast<std::size_t>(total));
    draw_groups(total, drawn, groups, group_of.data());
    sort_by_group(rows, of_rows, group_of.data(), groups, order_to, ends_to);
  });
  return py::make_tuple(std::move(order), std::move(ends));
}

/// The arguments that the functions on parts share.
template <typename Scalar>
Parts<Scalar> parts_of(Arguments& check, const py::object& x, const py::object& index, const py::object& sizes) {
  const auto* numbers = check.input<Scalar>("x", x, {"B"});
  check.takes_empty_arrays = true;  // a worker may have no rows of any part
  const auto* rows = check.input<std::int64_t>("index", index, {"K"});
  const auto* of_parts = check.input<std::int64_t>("sizes", sizes, {"G"});
  const Index size = check.extent("B");
  check.indices_in_range("index", rows, check.extent("K"), {&size, 1}, false);
  Index left = check.extent("K");
  for (Index part = 0; part < check.extent("G"); ++part) {
    if (of_parts[part] < 0 || of_parts[part] > left) check.fail("sizes", "must add up to the number of indices");
    left -= of_parts[part];
  }
  if (left != 0) check.fail("sizes", "must add up to the number of indices");
  return {numbers, rows, of_parts, check.extent("G")};
}

/// [3, G]: the sum, the smallest and the largest of each part.
py::array bind_part_moments(const py::object& x, const py::object& index, const py::object& sizes) {
  Arguments check("part_moments");
  return check.dispatch("x", x, [&](auto tag) -> py::array {
    const auto parts = parts_of<decltype(tag)>(check, x, index, sizes);
    check.extent("3", 3);
    return check.filled<double>({"3", "G"},
                                [&](double* to) { part_moments(parts, to, to + parts.parts, to + 2 * parts.parts); });
  });
}

py::array bind_part_squares(const py::object& x, const py::object& index, const py::object& sizes,
                            const py::object& means) {
  Arguments check("part_squares");
  return check.dispatch("x", x, [&](auto tag) -> py::array {
    const auto parts = parts_of<decltype(tag)>(check, x, index, sizes);
    const auto* centers = check.input<double>("means", means, {"G"});
    return check.filled<double>({"G"}, [&](double* to) { part_squares(parts, centers, to); });
  });
}

void bind_standardize_parts(const py::object& x, const py::object& index, const py::object& sizes,
                            const py::object& means, const py::object& stds, const py::object& out) {
  Arguments check("standardize_parts");
  check.dispatch("x", x, [&](auto tag) {
    using Scalar = decltype(tag);
    const auto parts = parts_of<Scalar>(check, x, index, sizes);
    const auto* centers = check.input<double>("means", means, {"G"});
    const auto* scales = check.input<double>("stds", stds, {"G"});
    auto* to = check.output<Scalar>("out", out, {"B"});
    without_gil([&] { standardize_parts(parts, centers, scales, to); });
  });
}

}  // namespace

void register_minibatches(py::module_& module) {
  module.def("draw_groups", &bind_draw_groups, py::arg("keys"), py::arg("groups"), py::arg("units"));
  module.def("part_moments", &bind_part_moments, py::arg("x"), py::arg("index"), py::arg("sizes"));
  module.def("part_squares", &bind_part_squares, py::arg("x"), py::arg("index"), py::arg("sizes"), py::arg("means"));
  module.def("standardize_parts", &bind_standardize_parts, py::arg("x"), py::arg("index"), py::arg("sizes"),
             py::arg("means"), py::arg("stds"), py::arg("out"));
}

}  // namespace pgfast::bindings
