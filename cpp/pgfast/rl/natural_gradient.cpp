#include "pgfast/rl/natural_gradient.hpp"

#include <vector>

#include "pgfast/linalg/gram.hpp"
#include "pgfast/linalg/products.hpp"

namespace pgfast {
namespace {

// Steps of iterative refinement: each costs two passes over the scores, far less than SS'.
constexpr int kRefinementSteps = 3;

}  // namespace

template <typename Scalar>
SolveStatus natural_gradient_woodbury(Index rows, Index parameters, const Scalar* scores, const Scalar* gradient,
                                      double damping, Scalar* x) {
  const auto batch = static_cast<double>(rows);
  Buffer<double> storage;
  double* kernel = storage.reserve(rows * rows);
  gram_of_rows(rows, parameters, scores, kernel);
  for (Index i = 0; i < rows; ++i) kernel[i * rows + i] += batch * damping;
  if (!cholesky_factor(rows, kernel)) return SolveStatus::not_positive_definite;

  std::vector<double> per_row(static_cast<std::size_t>(rows));
  std::vector<double> per_parameter(static_cast<std::size_t>(parameters));
  const auto solve = [&](double* r) {
    multiply(rows, parameters, scores, r, per_row.data());
    cholesky_solve(rows, kernel, per_row.data());
    multiply_transposed(rows, parameters, scores, per_row.data(), per_parameter.data());
    for (std::size_t i = 0; i < per_parameter.size(); ++i) r[i] = (r[i] - per_parameter[i]) / damping;
  };
  const auto residual = [&](const double* at, double* r) {
    multiply(rows, parameters, scores, at, per_row.data());
    multiply_transposed(rows, parameters, scores, per_row.data(), per_parameter.data());
    for (std::size_t i = 0; i < per_parameter.size(); ++i)
      r[i] = static_cast<double>(gradient[i]) - per_parameter[i] / batch - damping * at[i];
  };
  return solve_with_refinement(parameters, gradient, kRefinementSteps, solve, residual, x);
}

template <typename Scalar>
double quadratic_form(Index n, const Scalar* fisher, const Scalar* x) {
  std::vector<double> product(static_cast<std::size_t>(n));
  multiply(n, n, fisher, x, product.data());
  return dot(x, product.data(), n);
}

template <typename Scalar>
double pairwise_dot(Index n, const Scalar* x, const Scalar* y) {
  return pairwise_sum(0, n, [=](Index i) { return static_cast<double>(x[i]) * static_cast<double>(y[i]); });
}

template SolveStatus natural_gradient_woodbury(Index, Index, const float*, const float*, double, float*);
template SolveStatus natural_gradient_woodbury(Index, Index, const double*, const double*, double, double*);
template double quadratic_form(Index, const float*, const float*);
template double quadratic_form(Index, const double*, const double*);
template double pairwise_dot(Index, const float*, const float*);
template double pairwise_dot(Index, const double*, const double*);

}  // namespace pgfast
