// Products of a matrix with its own transpose.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// gram [columns, columns] = X'X / divisor of x [rows, columns], exactly symmetric. Works block by block of the
/// result, on a packed copy of 512 rows of X at a time.
template <typename Scalar>
void gram_of_columns(Index rows, Index columns, const Scalar* x, double divisor, Scalar* gram);

/// gram [rows, rows] = XX' of x [rows, columns], exactly symmetric and accumulated in double precision. The same
/// blocks, on a packed copy of 512 columns of X at a time.
template <typename Scalar>
void gram_of_rows(Index rows, Index columns, const Scalar* x, double* gram);

}  // namespace pgfast
