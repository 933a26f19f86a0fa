// Backpropagates the gradient of a loss with respect to the log-probability, entropy and value of each row to the
// parameters of a policy.
#pragma once

#include "pgfast/dist/family.hpp"
#include "pgfast/nn/network.hpp"
#include "pgfast/rl/row_gradients.hpp"

namespace pgfast {

/// gradient = d loss / d parameters, the network's and then those of log_std, summed over rows in the order of chunks.
///
/// `rows` are the first rows of the tape, recorded with `parameters`. The value is the last column of a row's outputs.
/// `row_gradients.log_prob` must not be null. Rows whose gradients are all zero add nothing, whatever their action.
/// Allocates only in the first call on a tape.
template <typename Scalar>
void policy_backward(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                     RowGradients<const Scalar> row_gradients, const Scalar* parameters, Tape<Scalar>& tape,
                     Scalar* gradient);

/// outputs [rows, output_size of the network] = the gradient of each row's term with respect to its outputs.
template <typename Scalar>
void policy_output_gradients(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                             RowGradients<const Scalar> row_gradients, Scalar* outputs);

/// scores [rows, parameters] = d log_prob / d parameters of each row.
template <typename Scalar>
void policy_scores(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions, const Scalar* parameters,
                   Tape<Scalar>& tape, Scalar* scores);

}  // namespace pgfast
