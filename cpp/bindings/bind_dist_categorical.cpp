// Binds the categorical distributions: Categorical and MultiCategorical in Python.
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "pgfast/dist/categorical.hpp"

namespace pgfast::bindings {
namespace {

/// The number of choices of each group. If None, all columns are one group and actions have no axis of groups.
using Sizes = std::optional<std::vector<Index>>;

/// The parameters of one distribution besides its sizes, and their names in error texts. The mask may be None.
struct Logits {
  const py::object& logits;
  const py::object& mask;
  const char* name = "logits";
  const char* mask_name = "mask";
};

/// The arguments of a method of Categorical (no sizes) or of MultiCategorical.
class CategoricalArguments : public Arguments {
 public:
  /// `sizes` must outlive this; `function` is "MultiCategorical.method".
  CategoricalArguments(const char* function, const Sizes& sizes)
      : Arguments(sizes.has_value() ? function : function + sizeof("Multi") - 1), grouped_(sizes.has_value()) {
    if (!grouped_) return;
    if (sizes->empty()) fail("sizes", "must not be empty");
    constexpr Index kMax = std::numeric_limits<Index>::max();
    Index sum = 0;  // saturates, because no array is that large
    for (std::size_t k = 0; k < sizes->size(); ++k) {
      const Index size = (*sizes)[k];
      if (size < 1) fail("sizes", "must be at least 1, got " + std::to_string(size) + " at index " + std::to_string(k));
      sum = size > kMax - sum ? kMax : sum + size;
    }
    extent("sum(sizes)", sum).extent("K", static_cast<Index>(sizes->size()));
    columns_ = sum;
    sizes_ = *sizes;
  }
  CategoricalArguments(const CategoricalArguments&) = delete;  // sizes_ may refer to columns_
  CategoricalArguments& operator=(const CategoricalArguments&) = delete;

  Shape logits_shape() const { return grouped_ ? kGroupedLogits : kLogits; }
  Shape actions_shape() const { return grouped_ ? kGroupedActions : kActions; }

  template <typename Scalar>
  LogitRows<Scalar> logits(const Logits& arguments) {
    const auto* data = finite_input<Scalar>(arguments.name, arguments.logits, logits_shape());
    if (!grouped_) columns_ = extent("A");
    const auto* mask = optional_input<bool>(arguments.mask_name, arguments.mask, logits_shape());
    if (mask != nullptr) allows_a_choice(arguments.mask_name, mask, extent("B"), sizes_);
    return {data, extent("B"), sizes_.data(), static_cast<Index>(sizes_.size()), columns_, mask, columns_};
  }

  const std::int64_t* actions(const py::object& object) {
    const auto* data = input<std::int64_t>("actions", object, actions_shape());
    indices_in_range("actions", data, extent("B"), sizes_, grouped_);
    return data;
  }

 private:
  static inline const Shape kLogits = {"B", "A"};
  static inline const Shape kGroupedLogits = {"B", "sum(sizes)"};
  static inline const Shape kActions = {"B"};
  static inline const Shape kGroupedActions = {"B", "K"};

  bool grouped_;
  Index columns_ = 0;
  std::span<const Index> sizes_{&columns_, 1};
};

/// Checks sizes, logits and mask and passes them to body(rows, check) in the precision of the logits.
template <typename Body>
auto with_logits(const char* function, const Logits& logits, const Sizes& sizes, Body&& body) {
  CategoricalArguments check(function, sizes);
  return check.dispatch("logits", logits.logits,
                        [&](auto tag) { return body(check.logits<decltype(tag)>(logits), check); });
}

py::array bind_log_prob(const py::object& logits, const Sizes& sizes, const py::object& mask,
                        const py::object& actions) {
  return with_logits(
      "MultiCategorical.log_prob", {logits, mask}, sizes, [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
        const auto* acts = check.actions(actions);
        return check.template filled<Scalar>({"B"}, [&](Scalar* to) { categorical_log_prob(rows, acts, to); });
      });
}

py::array bind_entropy(const py::object& logits, const Sizes& sizes, const py::object& mask) {
  return with_logits("MultiCategorical.entropy", {logits, mask}, sizes,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
                       return check.template filled<Scalar>({"B"}, [&](Scalar* to) { categorical_entropy(rows, to); });
                     });
}

py::array bind_kl(const py::object& logits, const Sizes& sizes, const py::object& mask, const py::object& other,
                  const py::object& other_mask) {
  return with_logits("MultiCategorical.kl", {logits, mask}, sizes,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
                       const auto q = check.template logits<Scalar>({other, other_mask, "other", "other.mask"});
                       return check.template filled<Scalar>({"B"}, [&](Scalar* to) { categorical_kl(rows, q, to); });
                     });
}

py::array bind_likelihood_ratio(const py::object& logits, const Sizes& sizes, const py::object& mask,
                                const py::object& old, const py::object& old_mask, const py::object& actions) {
  return with_logits("MultiCategorical.likelihood_ratio", {logits, mask}, sizes,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
                       const auto before = check.template logits<Scalar>({old, old_mask, "old", "old.mask"});
                       const auto* acts = check.actions(actions);
                       return check.template filled<Scalar>(
                           {"B"}, [&](Scalar* to) { categorical_likelihood_ratio(rows, before, acts, to); });
                     });
}

py::array bind_probabilities(const py::object& logits, const py::object& mask) {
  return with_logits("MultiCategorical.probabilities", {logits, mask}, std::nullopt,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
                       return check.template filled<Scalar>(check.logits_shape(),
                                                            [&](Scalar* to) { categorical_probabilities(rows, to); });
                     });
}

py::array bind_mode(const py::object& logits, const Sizes& sizes, const py::object& mask) {
  return with_logits("MultiCategorical.mode", {logits, mask}, sizes,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
                       return check.template filled<std::int64_t>(
                           check.actions_shape(), [&](std::int64_t* to) { categorical_mode(rows, to); });
                     });
}

py::tuple bind_sample(const py::object& logits, const Sizes& sizes, const py::object& mask, std::uint64_t seed,
                      std::uint16_t stream, std::uint32_t environment, std::uint64_t step, std::uint32_t draw) {
  return with_logits("MultiCategorical.sample", {logits, mask}, sizes,
                     [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) -> py::tuple {
                       auto actions = check.template result<std::int64_t>(check.actions_shape());
                       std::int64_t* actions_to = actions.mutable_data();
                       const auto log_prob = check.template filled<Scalar>({"B"}, [&](Scalar* to) {
                         categorical_sample(rows, {seed, stream, environment, step, draw}, actions_to, to);
                       });
                       return py::make_tuple(actions, log_prob);
                     });
}

py::array bind_gradient(const py::object& logits, const Sizes& sizes, const py::object& mask, const py::object& actions,
                        const py::object& weight_log_prob, const py::object& weight_entropy) {
  return with_logits(
      "MultiCategorical.gradient", {logits, mask}, sizes, [&]<typename Scalar>(LogitRows<Scalar> rows, auto& check) {
        const auto* acts = check.actions(actions);
        const auto* wl = check.template finite_input<Scalar>("weight_log_prob", weight_log_prob, {"B"});
        const auto* we = check.template optional_finite_input<Scalar>("weight_entropy", weight_entropy, {"B"});
        return check.template filled<Scalar>(
            check.logits_shape(), [&](Scalar* to) { categorical_gradient(rows, acts, wl, we, to, rows.ld); });
      });
}

}  // namespace

void register_categorical(py::module_& module) {
  const py::arg logits("logits");
  const py::arg sizes("sizes");
  const py::arg mask("mask");
  const py::arg actions("actions");
  module.def("categorical_log_prob", &bind_log_prob, logits, sizes, mask, actions);
  module.def("categorical_entropy", &bind_entropy, logits, sizes, mask);
  module.def("categorical_kl", &bind_kl, logits, sizes, mask, py::arg("other"), py::arg("other_mask"));
  module.def("categorical_likelihood_ratio", &bind_likelihood_ratio, logits, sizes, mask, py::arg("old"),
             py::arg("old_mask"), actions);
  module.def("categorical_probabilities", &bind_probabilities, logits, mask);
  module.def("categorical_mode", &bind_mode, logits, sizes, mask);
  module.def("categorical_sample", &bind_sample, logits, sizes, mask, py::arg("seed"), py::arg("stream"),
             py::arg("environment"), py::arg("step"), py::arg("draw"));
  module.def("categorical_gradient", &bind_gradient, logits, sizes, mask, actions, py::arg("weight_log_prob"),
             py::arg("weight_entropy") = py::none());
}

}  // namespace pgfast::bindings
