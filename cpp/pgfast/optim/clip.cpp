#include "pgfast/optim/clip.hpp"

#include <cmath>
#include <vector>

#include "pgfast/base/sums.hpp"
#include "pgfast/optim/blocks.hpp"

namespace pgfast {

template <typename Scalar>
double global_norm(const Scalar* values, Index size) {
  thread_local std::vector<double> parts;
  return std::sqrt(sum_over_blocks(
      size, parts, [=](Index begin, Index count) { return dot(values + begin, values + begin, count); }));
}

template <typename Scalar>
double clip_by_global_norm(Scalar* gradient, Index size, double max_norm) {
  const double norm = global_norm(gradient, size);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
  const auto scale = static_cast<Scalar>(max_norm / norm);
  for_each_block(size, [&](Index, Index begin, Index count) { ArrayView<Scalar>(gradient + begin, count) *= scale; });
  return norm;
}

template <typename Scalar>
bool all_finite(const Scalar* values, Index size) {
  // x - x is 0 for a finite x and NaN otherwise; the sum keeps a NaN, and Eigen vectorizes it.
  const ConstArrayView<Scalar> x(values, size);
  return (x - x).sum() == Scalar(0);
}

template double global_norm(const float*, Index);
template double global_norm(const double*, Index);
template double clip_by_global_norm(float*, Index, double);
template double clip_by_global_norm(double*, Index, double);
template bool all_finite(const float*, Index);
template bool all_finite(const double*, Index);

}  // namespace pgfast
