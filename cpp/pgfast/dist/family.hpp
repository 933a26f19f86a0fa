// The family of distributions that a policy's network parametrizes, and its layout in the network's outputs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/dist/categorical.hpp"
#include "pgfast/dist/diag_gaussian.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {

/// One part of an action, independent of the others: choices, whose parameters are the logits of each group; or
/// numbers, whose parameters are the means, followed by the log standard deviations if these depend on the state.
struct Component {
  enum class Kind { categorical, gaussian };
  Kind kind;
  std::vector<Index> sizes;  // categorical: the choices of each group; Gaussian: {A}
  bool grouped;              // categorical: actions are [rows, groups], even for one group; else [rows], for one group
  bool log_std_output;       // Gaussian: log_std is A outputs after the means, else [A] after the network's parameters

  // Where the component begins: set by Family.
  Index first_output = 0;
  Index first_mask_column = 0;
  Index first_log_std = 0;  // among those that are parameters
  std::uint32_t first_draw = 0;

  bool gaussian() const { return kind == Kind::gaussian; }
  Index outputs() const;
  Index mask_columns() const;
  Index log_std_parameters() const;
  /// Number of blocks of random bits that a sample takes.
  std::uint32_t draws() const;
};

/// Independent components. Their parameters are consecutive columns of an output row, from the first one on; the family
/// ignores further columns. The log standard deviations that are parameters are consecutive, too.
class Family {
 public:
  /// Requires at least one component, and only one unless `joint`.
  explicit Family(std::vector<Component> components, bool joint = false);

  const std::vector<Component>& components() const { return components_; }
  /// Whether actions are a list of arrays, one for each component, even for one component; else one array.
  bool joint() const { return joint_; }
  /// Number of outputs of the network that the family uses.
  Index outputs() const { return outputs_; }
  /// Number of columns of a mask: one for each choice.
  Index mask_columns() const { return mask_columns_; }
  /// Number of log standard deviations that are parameters and not outputs of the network.
  Index log_std_parameters() const { return log_std_parameters_; }

 private:
  std::vector<Component> components_;
  bool joint_;
  Index outputs_ = 0;
  Index mask_columns_ = 0;
  Index log_std_parameters_ = 0;
};

/// A distribution for each row of `outputs` [rows, ld]; `log_std` [log_std_parameters]; `mask` [rows, mask_columns],
/// true where a choice is allowed, null if all are.
template <typename Scalar>
struct FamilyRows {
  const Family& family;
  const Scalar* outputs;
  Index rows;
  Index ld;
  const Scalar* log_std;
  const bool* mask;

  /// Requires a categorical component.
  LogitRows<Scalar> logits(const Component& component) const {
    const auto groups = static_cast<Index>(component.sizes.size());
    const bool* allowed = mask == nullptr ? nullptr : mask + component.first_mask_column;
    return {outputs + component.first_output, rows, component.sizes.data(), groups, ld, allowed, family.mask_columns()};
  }
  /// Requires a Gaussian component.
  GaussianRows<Scalar> gaussian(const Component& component) const {
    const Scalar* mean = outputs + component.first_output;
    const Index size = component.sizes.front();
    if (component.log_std_output) return {mean, rows, size, ld, mean + size, ld};
    return {mean, rows, size, ld, log_std + component.first_log_std, 0};
  }
};

/// The actions of one component: `choices` [rows, groups] if it is categorical, `numbers` [rows, A] if it is Gaussian.
template <typename Integer, typename Scalar>
struct ComponentActions {
  Integer* choices;
  Scalar* numbers;
};

/// The actions of each component.
template <typename Scalar>
using FamilyActions = std::span<const ComponentActions<const std::int64_t, const Scalar>>;
template <typename Scalar>
using SampledActions = std::span<const ComponentActions<std::int64_t, Scalar>>;

/// Samples actions. Each component draws its own numbers of the key. log_prob [rows] is the sum over the components.
template <typename Scalar>
void family_sample(const FamilyRows<Scalar>& rows, const RowKey& key, SampledActions<Scalar> actions, Scalar* log_prob);

/// log_prob [rows] of the actions and entropy [rows]: sums over the components.
template <typename Scalar>
void family_evaluate(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions, Scalar* log_prob, Scalar* entropy);

}  // namespace pgfast
