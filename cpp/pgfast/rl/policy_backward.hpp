// From the gradient of a loss in the log-probability, entropy and value of each row to that in a policy's parameters.
#pragma once

#include <cstdint>

#include "pgfast/dist/family.hpp"
#include "pgfast/nn/network.hpp"
#include "pgfast/rl/row_gradients.hpp"

namespace pgfast {

/// Actions of a categorical family, choices [rows, groups], or of a Gaussian one, components [rows, A].
template <typename Scalar>
struct FamilyActions {
  const std::int64_t* choices;
  const Scalar* components;
};

/// gradient = d loss / d parameters: the network's, then the family's own, summed over rows in the order of chunks.
///
/// `rows` are the first rows of the tape, recorded with `parameters`. A value is the last column of a row's outputs.
/// `row_gradients` has log_prob. Rows whose gradients are all zero add nothing, whatever their action. Allocates only
/// in the first call on a tape.
template <typename Scalar>
void policy_backward(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                     RowGradients<const Scalar> row_gradients, const Scalar* parameters, Tape<Scalar>& tape,
                     Scalar* gradient);

/// scores [rows, parameters]: d log_prob / d parameters of each row.
template <typename Scalar>
void policy_scores(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions, const Scalar* parameters,
                   Tape<Scalar>& tape, Scalar* scores);

}  // namespace pgfast
