#include "pgfast/rl/policy_loss.hpp"

#include "pgfast/rl/valid_rows.hpp"

namespace pgfast {
namespace {

template <typename Scalar>
double mean_product(Index rows, const Scalar* x, const Scalar* y, const bool* valid) {
  const Index count = count_valid(valid, rows);
  if (count == 0) return 0;
  double sum = 0;
  for (Index i = 0; i < rows; ++i)
    if (is_valid(valid, i)) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum / static_cast<double>(count);
}

}  // namespace

template <typename Scalar>
double policy_gradient_loss(Index rows, const Scalar* log_prob, const Scalar* advantages, const bool* valid) {
  return -mean_product(rows, log_prob, advantages, valid);
}

template <typename Scalar>
double trpo_surrogate_loss(Index rows, const Scalar* ratio, const Scalar* advantages, const bool* valid) {
  return -mean_product(rows, ratio, advantages, valid);
}

template double policy_gradient_loss(Index, const float*, const float*, const bool*);
template double policy_gradient_loss(Index, const double*, const double*, const bool*);
template double trpo_surrogate_loss(Index, const float*, const float*, const bool*);
template double trpo_surrogate_loss(Index, const double*, const double*, const bool*);

}  // namespace pgfast
