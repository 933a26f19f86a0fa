#include "pgfast/rl/fisher.hpp"

#include "pgfast/linalg/gram.hpp"
#include "pgfast/linalg/products.hpp"

namespace pgfast {

template <typename Scalar>
void fisher_matrix(Index rows, Index parameters, const Scalar* scores, Scalar* fisher) {
  gram_of_columns(rows, parameters, scores, static_cast<double>(rows), fisher);
}

template <typename Scalar>
ScoresFisherOperator<Scalar>::ScoresFisherOperator(Index rows, Index parameters, const Scalar* scores)
    : rows_(rows),
      parameters_(parameters),
      scores_(scores),
      per_row_(static_cast<std::size_t>(rows)),
      sums_(static_cast<std::size_t>(parameters)) {}

template <typename Scalar>
void ScoresFisherOperator<Scalar>::apply(const Scalar* v, Scalar* product) {
  multiply(rows_, parameters_, scores_, v, per_row_.data());
  for (double& value : per_row_) value /= static_cast<double>(rows_);
  multiply_transposed(rows_, parameters_, scores_, per_row_.data(), sums_.data());
  for (Index i = 0; i < parameters_; ++i) product[i] = static_cast<Scalar>(sums_[static_cast<std::size_t>(i)]);
}

template void fisher_matrix(Index, Index, const float*, float*);
template void fisher_matrix(Index, Index, const double*, double*);
template class ScoresFisherOperator<float>;
template class ScoresFisherOperator<double>;

}  // namespace pgfast
