// Which distribution a policy's network parametrizes, and in which columns of its output.
#pragma once

#include <numeric>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/dist/categorical.hpp"
#include "pgfast/dist/diag_gaussian.hpp"

namespace pgfast {

/// The first `columns()` columns of an output row are the distribution's: the logits of each group of choices, or the
/// means, followed by the log standard deviations where these depend on the state. Further columns are not its.
struct Family {
  enum class Kind { categorical, gaussian };
  Kind kind;
  std::vector<Index> sizes;  // categorical: the choices of each group; Gaussian: {A}
  bool grouped;              // categorical: actions are [rows, groups], with one group too; else [rows], of one group
  bool log_std_output;       // Gaussian: log_std is columns A to 2 A - 1, else [A] after the network's parameters

  bool gaussian() const { return kind == Kind::gaussian; }
  Index columns() const {
    const Index sum = std::accumulate(sizes.begin(), sizes.end(), Index{0});
    return gaussian() && log_std_output ? 2 * sum : sum;
  }
  /// Parameters of the distribution that are no outputs of the network.
  Index own_parameters() const { return gaussian() && !log_std_output ? sizes.front() : 0; }
};

/// A distribution for each row of `outputs` [rows, ld]; `log_std` [A] where it is shared by all rows.
template <typename Scalar>
struct FamilyRows {
  const Family& family;
  const Scalar* outputs;
  Index rows;
  Index ld;
  const Scalar* log_std;

  /// Of a categorical family.
  LogitRows<Scalar> logits() const {
    return {outputs, rows, family.sizes.data(), static_cast<Index>(family.sizes.size()), ld};
  }
  /// Of a Gaussian family.
  GaussianRows<Scalar> gaussian() const {
    const Index size = family.sizes.front();
    if (family.log_std_output) return {outputs, rows, size, ld, outputs + size, ld};
    return {outputs, rows, size, ld, log_std, 0};
  }
};

}  // namespace pgfast
