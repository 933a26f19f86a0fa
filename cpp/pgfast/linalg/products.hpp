// Products of a row-major matrix with vectors, accumulated in double precision in an order that depends only on the
// sizes.
#pragma once

#include <algorithm>

#include "pgfast/base/sums.hpp"

namespace pgfast {

/// product [rows] = X v for x [rows, columns].
template <typename Scalar, typename Vector>
void multiply(Index rows, Index columns, const Scalar* x, const Vector* v, double* product) {
  const Index block = std::max<Index>(1, kSumBlock / columns);
  parallel_for(ceil_divide(rows, block), [&](Index number) {
    for (Index i = number * block; i < std::min(rows, (number + 1) * block); ++i)
      product[i] = dot(x + i * columns, v, columns);
  });
}

/// product [columns] = X'u for x [rows, columns].
template <typename Scalar>
void multiply_transposed(Index rows, Index columns, const Scalar* x, const double* u, double* product) {
  constexpr Index block = 512;  // sums that stay in the first-level cache while the rows stream past
  parallel_for(ceil_divide(columns, block), [&](Index number) {
    const Index begin = number * block;
    const Index count = std::min(block, columns - begin);
    double* sums = product + begin;
    std::fill_n(sums, count, 0.0);
    for (Index i = 0; i < rows; ++i) {
      const Scalar* row = x + i * columns + begin;
      for (Index j = 0; j < count; ++j) sums[j] += u[i] * static_cast<double>(row[j]);
    }
  });
}

}  // namespace pgfast
