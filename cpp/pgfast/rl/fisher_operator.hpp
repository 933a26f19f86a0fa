// The Fisher information of a policy as a linear map: exact products without the matrix.
#pragma once

#include "pgfast/dist/fisher_block.hpp"
#include "pgfast/linalg/linear_operator.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast {

/// F v = sum over rows of J' M J v / count + damping v, J the Jacobian of the row's outputs in the network's
/// parameters, M the Fisher matrix of the distribution in these outputs. A log_std that is shared by all rows is the
/// last block of v.
///
/// Keeps the parameters and one forward pass with its inputs; refers to the network. Products allocate only in the
/// first call.
template <typename Scalar>
class FisherOperator final : public LinearOperator<Scalar> {
 public:
  /// `parameters` [size()]: the network's, then the family's own. `count`: the rows for the mean over all of `x`.
  FisherOperator(const Network<Scalar>& network, const Family& family, const Scalar* parameters, Inputs x, Index rows,
                 Index count, Scalar damping);

  Index size() const override { return network_.parameter_count() + own_parameters_; }
  /// v and product must not overlap.
  void apply(const Scalar* v, Scalar* product) override;

  /// The kept outputs [rows, output_size].
  const Scalar* outputs() { return tape_.outputs(); }
  Index rows() const { return rows_; }
  /// False where a standard deviation is so small that its inverse square overflows.
  bool finite() const { return map_.block.finite(); }

 private:
  struct MeanBlock final : OutputMap<Scalar> {
    MeanBlock(const Family& family, const Scalar* outputs, Index rows, Index count, Index ld, const Scalar* log_std)
        : block(family, outputs, rows, ld, log_std), scale(Scalar(1) / static_cast<Scalar>(count)) {}
    void apply(Index row, Index rows, Scalar* dy) const override { block.apply(row, rows, scale, dy); }
    FisherBlock<Scalar> block;
    Scalar scale;
  };

  const Scalar* recorded_outputs(Inputs x);

  const Network<Scalar>& network_;
  Index own_parameters_;
  Eigen::Array<Scalar, Eigen::Dynamic, 1> parameters_;
  Index rows_;
  Index count_;
  Scalar damping_;
  Tape<Scalar> tape_;
  MeanBlock map_;
};

extern template class FisherOperator<float>;
extern template class FisherOperator<double>;

}  // namespace pgfast
