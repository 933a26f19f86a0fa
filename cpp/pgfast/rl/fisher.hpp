// The empirical Fisher information F = S'S / count of scores, rows of grad log pi.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// fisher [parameters, parameters], exactly symmetric, of scores [rows, parameters].
template <typename Scalar>
void fisher_matrix(Index rows, Index parameters, const Scalar* scores, Index count, Scalar* fisher);

}  // namespace pgfast
