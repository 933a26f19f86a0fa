// The family of distributions that a policy's network parametrizes, and its layout in the network's outputs.
#pragma once

#include <numeric>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/dist/categorical.hpp"
#include "pgfast/dist/diag_gaussian.hpp"

namespace pgfast {

/// The first outputs() columns of an output row parametrize the distribution: the logits of each group of choices, or
/// the means, followed by the log standard deviations if these depend on the state. The family ignores further columns.
struct Family {
  enum class Kind { categorical, gaussian };
  Kind kind;
  std::vector<Index> sizes;  // categorical: the choices of each group; Gaussian: {A}
  bool grouped;              // categorical: actions are [rows, groups], even for one group; else [rows], for one group
  bool log_std_output;       // Gaussian: log_std is columns A to 2 A - 1, else [A] after the network's parameters

  bool gaussian() const { return kind == Kind::gaussian; }
  /// Number of outputs of the network that the family uses.
  Index outputs() const {
    const Index sum = std::accumulate(sizes.begin(), sizes.end(), Index{0});
    return gaussian() && log_std_output ? 2 * sum : sum;
  }
  /// Number of columns of a mask: one for each choice.
  Index mask_columns() const { return gaussian() ? 0 : outputs(); }
  /// Number of log standard deviations that are parameters and not outputs of the network.
  Index log_std_parameters() const { return gaussian() && !log_std_output ? sizes.front() : 0; }
};

/// A distribution for each row of `outputs` [rows, ld]; `log_std` [A] if all rows share it; `mask` [rows,
/// mask_columns], true where a choice is allowed, null if all are.
template <typename Scalar>
struct FamilyRows {
  const Family& family;
  const Scalar* outputs;
  Index rows;
  Index ld;
  const Scalar* log_std;
  const bool* mask;

  /// Requires a categorical family.
  LogitRows<Scalar> logits() const {
    return {outputs, rows, family.sizes.data(),  static_cast<Index>(family.sizes.size()),
            ld,      mask, family.mask_columns()};
  }
  /// Requires a Gaussian family.
  GaussianRows<Scalar> gaussian() const {
    const Index size = family.sizes.front();
    if (family.log_std_output) return {outputs, rows, size, ld, outputs + size, ld};
    return {outputs, rows, size, ld, log_std, 0};
  }
};

}  // namespace pgfast
