// Global-norm clipping of a flat gradient.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// The Euclidean norm of `values`, summed in double precision. NaN or infinite if an entry is.
template <typename Scalar>
double global_norm(const Scalar* values, Index size);

/// gradient *= max_norm / norm if norm > max_norm. Returns the norm before clipping. Does not change a gradient whose
/// norm is not finite.
template <typename Scalar>
double clip_by_global_norm(Scalar* gradient, Index size, double max_norm);

/// True if every value is finite.
template <typename Scalar>
bool all_finite(const Scalar* values, Index size);

}  // namespace pgfast
