// Which distribution a policy's network parametrizes, and in which columns of its output.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// The first `columns()` columns of an output row are the distribution's: the logits of each group of choices, or the
/// means, followed by the log standard deviations where these depend on the state. Further columns are not its.
struct Family {
  enum class Kind { categorical, multi_categorical, gaussian };
  Kind kind;
  std::vector<Index> sizes;  // the choices of each group, of one where it is categorical; Gaussian: {A}
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
};

/// Row i draws with the numbers named by (seed, stream, first_environment + i, step).
/// actions [rows] of a categorical, [rows, groups] of a multi-categorical family; log_prob [rows] of them, or null.
template <typename Scalar>
void sample_choices(const FamilyRows<Scalar>& rows, std::uint64_t seed, std::uint16_t stream,
                    std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob);

/// The same for a Gaussian family, actions [rows, A].
template <typename Scalar>
void sample_components(const FamilyRows<Scalar>& rows, std::uint64_t seed, std::uint16_t stream,
                       std::uint32_t first_environment, std::uint64_t step, Scalar* actions, Scalar* log_prob);

}  // namespace pgfast
