#include "pgfast/dist/fisher_block.hpp"

#include <algorithm>
#include <cmath>

namespace pgfast {
namespace {

/// Number of weights of one row.
Index row_weights(const Component& component) {
  return component.gaussian() ? component.sizes.front() : component.outputs();
}

/// False if all rows share their weights.
bool weights_per_row(const Component& component) { return !component.gaussian() || component.log_std_output; }

}  // namespace

template <typename Scalar>
FisherBlock<Scalar>::FisherBlock(const FamilyRows<Scalar>& rows) : family_(rows.family), ld_(rows.ld) {
  for (const Component& component : family_.components()) {
    starts_.push_back(weight_count_);
    weight_count_ += row_weights(component) * (weights_per_row(component) ? rows.rows : 1);
  }
  Scalar* weights = weights_.reserve(weight_count_);
  for (std::size_t c = 0; c < starts_.size(); ++c) {
    const Component& component = family_.components()[c];
    Scalar* to = weights + starts_[c];
    if (!component.gaussian()) {
      categorical_probabilities(rows.logits(component), to);
      continue;
    }
    const GaussianRows<Scalar> gaussian = rows.gaussian(component);
    for (Index i = 0; i < (gaussian.shares_log_std() ? 1 : gaussian.rows); ++i)
      for (Index a = 0; a < gaussian.size; ++a) *to++ = std::exp(Scalar(-2) * gaussian.log_std_row(i)[a]);
  }
}

template <typename Scalar>
void FisherBlock<Scalar>::apply(Index row, Index rows, Scalar scale, Scalar* tangents) const {
  for (std::size_t c = 0; c < starts_.size(); ++c) {
    const Component& component = family_.components()[c];
    const Index first = weights_per_row(component) ? row * row_weights(component) : 0;
    const Scalar* weights = weights_.data() + starts_[c] + first;
    Scalar* t = tangents + component.first_output;
    if (component.gaussian())
      apply_gaussian(component, weights, rows, scale, t);
    else
      apply_categorical(component, weights, rows, scale, t);
  }
  const Index used = family_.outputs();
  if (used == ld_) return;
  for (Index i = 0; i < rows; ++i) std::fill(tangents + i * ld_ + used, tangents + (i + 1) * ld_, Scalar(0));
}

template <typename Scalar>
void FisherBlock<Scalar>::apply_categorical(const Component& component, const Scalar* p, Index rows, Scalar scale,
                                            Scalar* tangents) const {
  const Index columns = component.outputs();
  for (const Index choices : component.sizes) {
    const Scalar* group_p = p;
    Scalar* t = tangents;
    for (Index i = 0; i < rows; ++i, group_p += columns, t += ld_) {
      Scalar mean = 0;
      for (Index a = 0; a < choices; ++a) mean += group_p[a] * t[a];
      for (Index a = 0; a < choices; ++a) t[a] = scale * group_p[a] * (t[a] - mean);
    }
    p += choices;
    tangents += choices;
  }
}

template <typename Scalar>
void FisherBlock<Scalar>::apply_gaussian(const Component& component, const Scalar* precision, Index rows, Scalar scale,
                                         Scalar* tangents) const {
  const Index size = component.sizes.front();
  Scalar* t = tangents;
  for (Index i = 0; i < rows; ++i, t += ld_) {
    for (Index a = 0; a < size; ++a) t[a] *= scale * precision[a];
    if (!component.log_std_output) continue;
    for (Index a = 0; a < size; ++a) t[size + a] *= scale * Scalar(2);
    precision += size;
  }
}

template <typename Scalar>
void FisherBlock<Scalar>::apply_log_std(const Scalar* tangent, Scalar* product) const {
  for (Index a = 0; a < family_.log_std_parameters(); ++a) product[a] = Scalar(2) * tangent[a];
}

template <typename Scalar>
bool FisherBlock<Scalar>::finite() const {
  const Scalar* weights = weights_.data();
  return std::all_of(weights, weights + weight_count_, [](Scalar weight) { return std::isfinite(weight); });
}

template class FisherBlock<float>;
template class FisherBlock<double>;

}  // namespace pgfast
