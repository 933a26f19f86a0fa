#include "pgfast/dist/family.hpp"

#include <numeric>
#include <utility>

namespace pgfast {
namespace {

Index sum(const std::vector<Index>& sizes) { return std::accumulate(sizes.begin(), sizes.end(), Index{0}); }

}  // namespace

Index Component::outputs() const { return gaussian() && log_std_output ? 2 * sum(sizes) : sum(sizes); }

Index Component::mask_columns() const { return gaussian() ? 0 : outputs(); }

Index Component::log_std_parameters() const { return gaussian() && !log_std_output ? sum(sizes) : 0; }

std::uint32_t Component::draws() const {
  const auto groups = static_cast<Index>(sizes.size());
  return static_cast<std::uint32_t>(gaussian() ? gaussian_draws(sizes.front()) : groups);
}

Family::Family(std::vector<Component> components, bool joint) : components_(std::move(components)), joint_(joint) {
  std::uint32_t draws = 0;
  for (Component& component : components_) {
    component.first_output = outputs_;
    component.first_mask_column = mask_columns_;
    component.first_log_std = log_std_parameters_;
    component.first_draw = draws;
    outputs_ += component.outputs();
    mask_columns_ += component.mask_columns();
    log_std_parameters_ += component.log_std_parameters();
    draws += component.draws();
  }
}

template <typename Scalar>
void family_sample(const FamilyRows<Scalar>& rows, const RowKey& key, SampledActions<Scalar> actions,
                   Scalar* log_prob) {
  thread_local Buffer<Scalar> scratch;
  Scalar* to = log_prob;
  for (std::size_t c = 0; c < actions.size(); ++c) {
    const Component& component = rows.family.components()[c];
    RowKey component_key = key;
    component_key.first_draw += component.first_draw;
    if (component.gaussian())
      diag_gaussian_sample(rows.gaussian(component), component_key, actions[c].numbers, to);
    else
      categorical_sample(rows.logits(component), component_key, actions[c].choices, to);
    if (c > 0)
      for (Index i = 0; i < rows.rows; ++i) log_prob[i] += to[i];
    if (c + 1 < actions.size()) to = scratch.reserve(rows.rows);
  }
}

template <typename Scalar>
void family_evaluate(const FamilyRows<Scalar>& rows, FamilyActions<Scalar> actions, Scalar* log_prob, Scalar* entropy) {
  thread_local Buffer<Scalar> scratch;
  for (std::size_t c = 0; c < actions.size(); ++c) {
    const Component& component = rows.family.components()[c];
    Scalar* const log_prob_to = c == 0 ? log_prob : scratch.reserve(2 * rows.rows);
    Scalar* const entropy_to = c == 0 ? entropy : log_prob_to + rows.rows;
    if (component.gaussian()) {
      diag_gaussian_log_prob(rows.gaussian(component), actions[c].numbers, log_prob_to);
      diag_gaussian_entropy(rows.gaussian(component), entropy_to);
    } else {
      categorical_log_prob(rows.logits(component), actions[c].choices, log_prob_to);
      categorical_entropy(rows.logits(component), entropy_to);
    }
    if (c == 0) continue;
    for (Index i = 0; i < rows.rows; ++i) {
      log_prob[i] += log_prob_to[i];
      entropy[i] += entropy_to[i];
    }
  }
}

template void family_sample(const FamilyRows<float>&, const RowKey&, SampledActions<float>, float*);
template void family_sample(const FamilyRows<double>&, const RowKey&, SampledActions<double>, double*);
template void family_evaluate(const FamilyRows<float>&, FamilyActions<float>, float*, float*);
template void family_evaluate(const FamilyRows<double>&, FamilyActions<double>, double*, double*);

}  // namespace pgfast
