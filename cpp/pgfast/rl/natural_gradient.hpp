// The natural gradient from scores, and the step that spends a given KL divergence.
#pragma once

#include "pgfast/linalg/cholesky.hpp"

namespace pgfast {

/// x [parameters] with (S'S / B + damping I) x = gradient, damping > 0, without forming S'S: by the identity of
/// Woodbury, x = (g - S'(SS' + B damping I)^-1 S g) / damping.
///
/// The difference cancels where g lies among the scores, the more the smaller the damping. So all of it is computed in
/// double precision, in one [B, B] matrix, and refined.
template <typename Scalar>
SolveStatus natural_gradient_woodbury(Index rows, Index parameters, const Scalar* scores, const Scalar* gradient,
                                      double damping, Scalar* x);

/// x'Fx of fisher [n, n], accumulated in double precision.
template <typename Scalar>
double quadratic_form(Index n, const Scalar* fisher, const Scalar* x);

/// x'y of the product y [n] = F x, summed in double precision.
template <typename Scalar>
double along(Index n, const Scalar* x, const Scalar* y);

}  // namespace pgfast
