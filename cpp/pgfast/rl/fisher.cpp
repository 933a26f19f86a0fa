#include "pgfast/rl/fisher.hpp"

#include "pgfast/linalg/gram.hpp"

namespace pgfast {

template <typename Scalar>
void fisher_matrix(Index rows, Index parameters, const Scalar* scores, Index count, Scalar* fisher) {
  gram_of_columns(rows, parameters, scores, static_cast<double>(count), fisher);
}

template void fisher_matrix(Index, Index, const float*, Index, float*);
template void fisher_matrix(Index, Index, const double*, Index, double*);

}  // namespace pgfast
