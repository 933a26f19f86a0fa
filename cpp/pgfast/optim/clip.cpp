#include "pgfast/optim/clip.hpp"

#include <cmath>
#include <vector>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/optim/blocks.hpp"

namespace pgfast {

template <typename Scalar>
double global_norm(const Scalar* values, Index size) {
  thread_local std::vector<double> storage;
  std::vector<double>& sums = storage;  // the chunks run on other threads, and must see this thread's
  sums.assign(static_cast<std::size_t>(ceil_divide(size, kUpdateBlock)), 0.0);
  for_each_block(size, [&](Index block, Index begin, Index count) {
    sums[static_cast<std::size_t>(block)] =
        ConstArrayView<Scalar>(values + begin, count).template cast<double>().square().sum();
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return std::sqrt(sum);
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
  // x - x is 0 for a finite x and NaN otherwise; the sum keeps a NaN, and Eigen adds many at a time.
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
