// The empirical Fisher information F = S'S / B of B scores, rows of grad log pi, as a matrix and as an operator.
#pragma once

#include <vector>

#include "pgfast/linalg/linear_operator.hpp"

namespace pgfast {

/// fisher [parameters, parameters], exactly symmetric.
template <typename Scalar>
void fisher_matrix(Index rows, Index parameters, const Scalar* scores, Scalar* fisher);

/// v -> S'(S v) / B in two passes over the scores, which stay where they are.
template <typename Scalar>
class ScoresFisherOperator final : public LinearOperator<Scalar> {
 public:
  ScoresFisherOperator(Index rows, Index parameters, const Scalar* scores);
  Index size() const override { return parameters_; }
  void apply(const Scalar* v, Scalar* product) override;

 private:
  Index rows_;
  Index parameters_;
  const Scalar* scores_;
  std::vector<double> per_row_;  // S v / B [rows]
  std::vector<double> sums_;     // [parameters]
};

}  // namespace pgfast
