// The empirical Fisher information F = S'S / count, with scores S, the rows of grad log pi.
#pragma once

#include "pgfast/base/types.hpp"

namespace pgfast {

/// fisher [parameters, parameters], exactly symmetric, for scores [rows, parameters].
template <typename Scalar>
void fisher_matrix(Index rows, Index parameters, const Scalar* scores, Index count, Scalar* fisher);

}  // namespace pgfast
