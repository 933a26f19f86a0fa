#include "pgfast/rl/normalization.hpp"

#include <algorithm>
#include <cmath>

#include "pgfast/base/thread_pool.hpp"

namespace pgfast {
namespace {

constexpr Index kBlock = Index{1} << 14;  // numbers that are worth a task
constexpr Index kChunk = 1024;            // rows that are added up before their sum is added to the others

}  // namespace

template <typename Scalar>
void standardize(Index rows, Index columns, const Scalar* x, const double* mean, const double* variance, double epsilon,
                 double limit, Scalar* out) {
  thread_local Buffer<double> storage;
  double* const deviation = storage.reserve(columns);
  for (Index j = 0; j < columns; ++j) deviation[j] = std::sqrt(variance[j] + epsilon);
  const Index block = std::max<Index>(1, kBlock / columns);
  parallel_for(ceil_divide(rows, block), [&](Index number) {
    for (Index i = number * block; i < std::min(rows, (number + 1) * block); ++i)
      for (Index j = 0; j < columns; ++j) {
        const double scaled = (static_cast<double>(x[i * columns + j]) - mean[j]) / deviation[j];
        out[i * columns + j] = static_cast<Scalar>(std::min(std::max(scaled, -limit), limit));
      }
  });
}

template <typename Scalar>
void column_sums(Index rows, Index columns, const Scalar* x, const bool* valid, const double* mean, double* sums) {
  const Index chunks = ceil_divide(rows, kChunk);
  Buffer<double> storage;
  double* const partials = chunks > 1 ? storage.reserve(chunks * columns) : sums;
  parallel_for(chunks, [&](Index chunk) {
    double* const partial = partials + chunk * columns;
    std::fill_n(partial, columns, 0.0);
    for (Index i = chunk * kChunk; i < std::min(rows, (chunk + 1) * kChunk); ++i) {
      if (valid != nullptr && !valid[i]) continue;
      const Scalar* row = x + i * columns;
      if (mean == nullptr)
        for (Index j = 0; j < columns; ++j) partial[j] += static_cast<double>(row[j]);
      else
        for (Index j = 0; j < columns; ++j) {
          const double distance = static_cast<double>(row[j]) - mean[j];
          partial[j] += distance * distance;
        }
    }
  });
  if (chunks == 1) return;
  std::copy_n(partials, columns, sums);
  for (Index chunk = 1; chunk < chunks; ++chunk)
    for (Index j = 0; j < columns; ++j) sums[j] += partials[chunk * columns + j];
}

template void standardize(Index, Index, const float*, const double*, const double*, double, double, float*);
template void standardize(Index, Index, const double*, const double*, const double*, double, double, double*);
template void column_sums(Index, Index, const float*, const bool*, const double*, double*);
template void column_sums(Index, Index, const double*, const bool*, const double*, double*);

}  // namespace pgfast
