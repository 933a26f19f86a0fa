#include "pgfast/rl/policy_backward.hpp"

#include <algorithm>
#include <vector>

namespace pgfast {
namespace {

/// Writes d loss / d outputs [rows, ld], and the gradient with respect to a log_std that is a parameter: a row of
/// `dlog_std` for each row, with leading dimension `dlog_std_ld`, or their sum if that is 0.
template <typename Scalar>
void output_gradients(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                      RowGradients<const Scalar> row_gradients, Scalar* doutputs, Scalar* dlog_std, Index dlog_std_ld) {
  const auto& [log_prob, entropy, values] = row_gradients;
  const Index ld = rows.ld;
  for (std::size_t c = 0; c < actions.size(); ++c) {
    const Component& component = rows.family.components()[c];
    Scalar* to = doutputs + component.first_output;
    if (!component.gaussian()) {
      categorical_gradient(rows.logits(component), actions[c].choices, log_prob, entropy, to, ld);
    } else {
      const bool in_outputs = component.log_std_output;
      diag_gaussian_gradient(rows.gaussian(component), actions[c].numbers, log_prob, entropy, to, ld,
                             in_outputs ? to + component.sizes.front() : dlog_std + component.first_log_std,
                             in_outputs ? ld : dlog_std_ld);
    }
  }
  const Index used = rows.family.outputs();
  if (used == ld) return;
  for (Index i = 0; i < rows.rows; ++i) {
    std::fill(doutputs + i * ld + used, doutputs + (i + 1) * ld, Scalar(0));
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
void policy_output_gradients(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions,
                             RowGradients<const Scalar> row_gradients, Scalar* outputs) {
  std::vector<Scalar> dlog_std(static_cast<std::size_t>(rows.family.log_std_parameters()));
  output_gradients(rows, actions, row_gradients, outputs, dlog_std.data(), Index{0});
}

template <typename Scalar>
void policy_scores(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions, const Scalar* parameters,
                   Tape<Scalar>& tape, Scalar* scores) {
  const Index network_parameters = tape.network().parameter_count();
  const Index size = network_parameters + rows.family.log_std_parameters();
  const std::vector<Scalar> ones(static_cast<std::size_t>(rows.rows), Scalar(1));
  Scalar* doutputs = tape.output_gradients(rows.rows);
  output_gradients(rows, actions, {ones.data(), nullptr, nullptr}, doutputs, scores + network_parameters, size);
  tape.network().per_sample_vjp(parameters, rows.rows, tape, doutputs, scores, size);
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                    \
  template void policy_backward(const FamilyRows<Scalar>&, FamilyActions<Scalar>, RowGradients<const Scalar>,         \
                                const Scalar*, Tape<Scalar>&, Scalar*);                                               \
  template void policy_output_gradients(const FamilyRows<Scalar>&, FamilyActions<Scalar>, RowGradients<const Scalar>, \
                                        Scalar*);                                                                     \
  template void policy_scores(const FamilyRows<Scalar>&, FamilyActions<Scalar>, const Scalar*, Tape<Scalar>&, Scalar*);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
