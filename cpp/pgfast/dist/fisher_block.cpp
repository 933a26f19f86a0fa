#include "pgfast/dist/fisher_block.hpp"

#include <algorithm>
#include <cmath>

namespace pgfast {

template <typename Scalar>
FisherBlock<Scalar>::FisherBlock(const FamilyRows<Scalar>& rows)
    : family_(rows.family), ld_(rows.ld), columns_(family_.outputs()) {
  if (!family_.gaussian()) {
    weight_count_ = rows.rows * columns_;
    categorical_probabilities(rows.logits(), weights_.reserve(weight_count_));
    return;
  }
  const GaussianRows<Scalar> gaussian = rows.gaussian();
  const Index different = gaussian.shares_log_std() ? 1 : gaussian.rows;
  weight_count_ = different * gaussian.size;
  Scalar* to = weights_.reserve(weight_count_);
  for (Index i = 0; i < different; ++i)
    for (Index a = 0; a < gaussian.size; ++a)
      to[i * gaussian.size + a] = std::exp(Scalar(-2) * gaussian.log_std_row(i)[a]);
}

template <typename Scalar>
void FisherBlock<Scalar>::apply(Index row, Index rows, Scalar scale, Scalar* tangents) const {
  if (!family_.gaussian())
    apply_categorical(row, rows, scale, tangents);
  else
    apply_gaussian(row, rows, scale, tangents);
  if (columns_ == ld_) return;
  for (Index i = 0; i < rows; ++i) std::fill(tangents + i * ld_ + columns_, tangents + (i + 1) * ld_, Scalar(0));
}

template <typename Scalar>
void FisherBlock<Scalar>::apply_categorical(Index row, Index rows, Scalar scale, Scalar* tangents) const {
  Index column = 0;
  for (const Index choices : family_.sizes) {
    const Scalar* p = weights_.data() + row * columns_ + column;
    Scalar* t = tangents + column;
    for (Index i = 0; i < rows; ++i, p += columns_, t += ld_) {
      Scalar mean = 0;
      for (Index a = 0; a < choices; ++a) mean += p[a] * t[a];
      for (Index a = 0; a < choices; ++a) t[a] = scale * p[a] * (t[a] - mean);
    }
    column += choices;
  }
}

template <typename Scalar>
void FisherBlock<Scalar>::apply_gaussian(Index row, Index rows, Scalar scale, Scalar* tangents) const {
  const Index components = family_.sizes.front();
  const bool per_row = family_.log_std_output;
  const Scalar* precision = weights_.data() + (per_row ? row * components : 0);
  Scalar* t = tangents;
  for (Index i = 0; i < rows; ++i, t += ld_) {
    for (Index a = 0; a < components; ++a) t[a] *= scale * precision[a];
    if (!per_row) continue;
    for (Index a = 0; a < components; ++a) t[components + a] *= scale * Scalar(2);
    precision += components;
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
