// Products of a matrix with its transpose. Only blocks on and below the diagonal are computed; the rest is mirrored.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// gram [columns, columns] = X'X / divisor for x [rows, columns], exactly symmetric. Computes the result block by block
/// from a packed copy of 512 rows of X at a time.
template <typename Scalar>
void gram_of_columns(Index rows, Index columns, const Scalar* x, double divisor, Scalar* gram);

/// gram [rows, rows] = XX' for x [rows, columns], exactly symmetric and accumulated in double precision. Uses the same
/// blocks, from a packed copy of 512 columns of X at a time.
template <typename Scalar>
void gram_of_rows(Index rows, Index columns, const Scalar* x, double* gram);

}  // namespace pgfast
