// Global-norm clipping of a flat gradient.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// The Euclidean norm of `values`, summed in double precision. NaN or infinite where an entry is.
template <typename Scalar>
double global_norm(const Scalar* values, Index size);

/// gradient *= max_norm / norm where norm > max_norm; returns the norm before. Leaves a non-finite gradient as it is.
template <typename Scalar>
double clip_by_global_norm(Scalar* gradient, Index size, double max_norm);

/// True where every value is finite.
template <typename Scalar>
bool all_finite(const Scalar* values, Index size);

}  // namespace pgfast
