#include "pgfast/rl/policy_backward.hpp"

#include <algorithm>
#include <vector>

namespace pgfast {
namespace {

/// Writes d loss / d outputs [rows, ld], and that in the family's own parameters: one row of `own` for each row with
/// leading dimension `own_ld`, or for 0 their sum.
template <typename Scalar>
void output_gradients(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                      RowGradients<const Scalar> row_gradients, Scalar* doutputs, Scalar* own, Index own_ld) {
  const auto& [log_prob, entropy, values] = row_gradients;
  const Index ld = rows.ld;
  if (!rows.family.gaussian()) {
    categorical_gradient(rows.logits(), actions.choices, log_prob, entropy, doutputs, ld);
  } else {
    const bool in_outputs = rows.family.log_std_output;
    diag_gaussian_gradient(rows.gaussian(), actions.components, log_prob, entropy, doutputs, ld,
                           in_outputs ? doutputs + rows.family.sizes.front() : own, in_outputs ? ld : own_ld);
  }
  const Index columns = rows.family.columns();
  if (columns == ld) return;
  for (Index i = 0; i < rows.rows; ++i) {
    std::fill(doutputs + i * ld + columns, doutputs + (i + 1) * ld, Scalar(0));
    if (values != nullptr) doutputs[(i + 1) * ld - 1] = values[i];
  }
}

}  // namespace

template <typename Scalar>
void policy_backward(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                     RowGradients<const Scalar> row_gradients, const Scalar* parameters, Tape<Scalar>& tape,
                     Scalar* gradient) {
  Scalar* doutputs = tape.output_gradients(rows.rows);
  output_gradients(rows, actions, row_gradients, doutputs, gradient + tape.network().parameter_count(), Index{0});
  tape.network().vjp(parameters, rows.rows, tape, doutputs, gradient);
}

template <typename Scalar>
void policy_scores(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions, const Scalar* parameters,
                   Tape<Scalar>& tape, Scalar* scores) {
  const Index of_network = tape.network().parameter_count();
  const Index size = of_network + rows.family.own_parameters();
  const std::vector<Scalar> ones(static_cast<std::size_t>(rows.rows), Scalar(1));
  Scalar* doutputs = tape.output_gradients(rows.rows);
  output_gradients(rows, actions, {ones.data(), nullptr, nullptr}, doutputs, scores + of_network, size);
  tape.network().per_sample_vjp(parameters, rows.rows, tape, doutputs, scores, size);
}

#define PGFAST_INSTANTIATE(Scalar)                                                                            \
  template void policy_backward(const FamilyRows<Scalar>&, FamilyActions<Scalar>, RowGradients<const Scalar>, \
                                const Scalar*, Tape<Scalar>&, Scalar*);                                       \
  template void policy_scores(const FamilyRows<Scalar>&, FamilyActions<Scalar>, const Scalar*, Tape<Scalar>&, Scalar*);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
