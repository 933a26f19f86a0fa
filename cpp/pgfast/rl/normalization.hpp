// Shifts and scales rows by the mean and variance of each column, and computes the sums behind these.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// out [rows, columns] = (x - mean) / sqrt(variance + epsilon), clipped to [-limit, limit], in double precision.
template <typename Scalar>
void standardize(Index rows, Index columns, const Scalar* x, const double* mean, const double* variance, double epsilon,
                 double limit, Scalar* out);

/// sums [columns] = the sum of x over the rows that are `valid`, all if null; or of (x - mean)^2 if there is a mean.
/// Rows are added in chunks of a fixed number, so the bits do not depend on the threads.
template <typename Scalar>
void column_sums(Index rows, Index columns, const Scalar* x, const bool* valid, const double* mean, double* sums);

}  // namespace pgfast
