#include "pgfast/rl/fisher_operator.hpp"

namespace pgfast {

template <typename Scalar>
FisherOperator<Scalar>::FisherOperator(const Network<Scalar>& network, const Family& family, const Scalar* parameters,
                                       Inputs x, const bool* mask, Index rows, Index count, Scalar damping)
    : network_(network),
      log_std_parameters_(family.log_std_parameters()),
      parameters_(ConstArrayView<Scalar>(parameters, network.parameter_count() + log_std_parameters_)),
      rows_(rows),
      count_(count),
      damping_(damping),
      tape_(network, rows),
      map_({family, recorded_outputs(x), rows, network.output_size(), parameters_.data() + network.parameter_count(),
            mask},
           count) {
  network.prepare_products(parameters_.data(), tape_);
}

template <typename Scalar>
const Scalar* FisherOperator<Scalar>::recorded_outputs(Inputs x) {
  tape_.reserve_inputs(x.bytes, rows_);
  tape_.record(parameters_.data(), x, 0, rows_);
  return tape_.outputs();
}

template <typename Scalar>
void FisherOperator<Scalar>::apply(const Scalar* v, Scalar* product) {
  network_.curvature_product(parameters_.data(), v, rows_, tape_, map_, product);
  const Index network_parameters = network_.parameter_count();
  map_.block.apply_log_std(v + network_parameters, product + network_parameters);
  const auto weight = static_cast<Scalar>(static_cast<double>(rows_) / static_cast<double>(count_));
  for (Index i = network_parameters; i < size(); ++i) product[i] *= weight;
  if (damping_ == Scalar(0)) return;
  for (Index i = 0; i < size(); ++i) product[i] += damping_ * v[i];
}

template class FisherOperator<float>;
template class FisherOperator<double>;

}  // namespace pgfast
