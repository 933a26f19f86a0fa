// Which distribution a policy's network parametrizes, and in which columns of its output.
#pragma once

#include <numeric>
#include <vector>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// The first `columns()` columns of an output row are the distribution's: the logits of each group of choices, or the
/// means, followed by the log standard deviations where these depend on the state. Further columns are not its.
struct Family {
  enum class Kind { categorical, gaussian };
  Kind kind;
  std::vector<Index> sizes;  // categorical: the choices of each group
  Index components;          // Gaussian: A
  bool log_std_output;       // Gaussian: log_std is columns A to 2A - 1, else [A] after the network's parameters

  Index columns() const {
    if (kind == Kind::gaussian) return log_std_output ? 2 * components : components;
    return std::accumulate(sizes.begin(), sizes.end(), Index{0});
  }
  /// Parameters of the distribution that are no outputs of the network.
  Index own_parameters() const { return kind == Kind::gaussian && !log_std_output ? components : 0; }
};

}  // namespace pgfast
