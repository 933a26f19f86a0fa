// The Fisher information of a policy as a linear map: exact products without the matrix.
#pragma once

#include "pgfast/dist/fisher_block.hpp"
#include "pgfast/linalg/linear_operator.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast {

/// F v = sum over rows of J' M J v / count + damping v, where J is the Jacobian of the row's outputs with respect to
/// the network's parameters and M the Fisher matrix of the distribution with respect to these outputs. A log_std shared
/// by all rows is the last block of v.
///
/// Keeps a copy of the parameters and one forward pass with its inputs; refers to the network, which must outlive it.
/// Products allocate only in the first call.
template <typename Scalar>
class FisherOperator final : public LinearOperator<Scalar> {
 public:
  /// `parameters` [size()]: the network's, then log_std if it is a parameter. `mask` is that of FamilyRows, and only
  /// read here. `count` is the divisor of the sum over the rows of `x`; their number makes it the mean.
  FisherOperator(const Network<Scalar>& network, const Family& family, const Scalar* parameters, Inputs x,
                 const bool* mask, Index rows, Index count, Scalar damping);

  Index size() const override { return network_.parameter_count() + log_std_parameters_; }
  /// v and product must not overlap.
  void apply(const Scalar* v, Scalar* product) override;

  /// The outputs of the forward pass [rows, output_size].
  const Scalar* outputs() { return tape_.outputs(); }
  Index rows() const { return rows_; }
  /// False if a standard deviation is so small that its inverse square overflows.
  bool finite() const { return map_.block.finite(); }

 private:
  struct MeanBlock final : OutputMap<Scalar> {
    MeanBlock(const FamilyRows<Scalar>& rows, Index count)
        : block(rows), scale(Scalar(1) / static_cast<Scalar>(count)) {}
    void apply(Index row, Index rows, Scalar* dy) const override { block.apply(row, rows, scale, dy); }
    FisherBlock<Scalar> block;
    Scalar scale;
  };

  const Scalar* recorded_outputs(Inputs x);

  const Network<Scalar>& network_;
  Index log_std_parameters_;
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
