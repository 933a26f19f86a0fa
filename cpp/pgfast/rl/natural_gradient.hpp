// The natural gradient from scores, and the quadratic form x'Fx that sets the step size for a given KL divergence.
#pragma once

#include "pgfast/linalg/cholesky.hpp"

namespace pgfast {

/// Solves (S'S / B + damping I) x = gradient for x [parameters], damping > 0, without forming S'S: by the Woodbury
/// identity, x = (g - S'(SS' + B damping I)^-1 S g) / damping.
///
/// The difference suffers from cancellation if g lies in the span of the scores, and more so for a smaller damping. It
/// is therefore computed in double precision, with one [B, B] matrix, and refined.
template <typename Scalar>
SolveStatus natural_gradient_woodbury(Index rows, Index parameters, const Scalar* scores, const Scalar* gradient,
                                      double damping, Scalar* x);

/// x'Fx for fisher [n, n], accumulated in double precision.
template <typename Scalar>
double quadratic_form(Index n, const Scalar* fisher, const Scalar* x);

/// x'y for x and y [n], summed pairwise in double precision. With y = F x it is x'Fx.
template <typename Scalar>
double pairwise_dot(Index n, const Scalar* x, const Scalar* y);

}  // namespace pgfast
