// A fully connected layer. Large ones are also computed in blocks of columns, so that all threads share the weights.
#pragma once

#include "pgfast/nn/layer.hpp"

namespace pgfast {

/// y = activation(x W + b), W [inputs, outputs], b [outputs].
template <typename Scalar>
class Dense final : public Layer<Scalar> {
 public:
  Dense(Index inputs, Index outputs, Activation activation);

  Index input_size() const override { return inputs_; }
  Index output_size() const override { return outputs_; }
  std::vector<ParameterBlock> layout() const override;
  Index weight_size() const override { return inputs_ * outputs_; }
  Index bias_size() const override { return outputs_; }
  Index multiply_adds() const override { return inputs_ * outputs_; }
  bool splits_columns() const override;

  void forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const override;
  void jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y, Index rows,
           Scalar* dy) const override;
  void backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta, Scalar* gradient,
                Scalar* dx) const override;
  void transpose_weight(const Scalar* w, Scalar* wt) const override;
  void copy_inputs(const Scalar* x, Index /*position*/, Scalar* to) const override { std::copy_n(x, inputs_, to); }

  // The same in disjoint blocks, for weights too large to be worth a copy per thread.

  /// Columns [begin, end) of y.
  void forward_columns(const Scalar* w, const Scalar* x, Index rows, Index begin, Index end, Scalar* y) const;
  /// Columns [begin, end) of dy.
  void jvp_columns(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y, Index rows,
                   Index begin, Index end, Scalar* dy) const;
  /// From delta = dL/d(linear): sets rows [begin, end) of the weight gradient (does not add to them), and columns
  /// [begin, end) of dx unless it is null.
  void backward_inputs(const Scalar* w, const Scalar* x, const Scalar* delta, Index rows, Index begin, Index end,
                       Scalar* gradient, Scalar* dx) const;

 private:
  void multiply_packed(const Scalar* x, Index rows, const Scalar* w, Index begin, Index end, Scalar* y) const;

  Index inputs_;
  Index outputs_;
};

extern template class Dense<float>;
extern template class Dense<double>;

}  // namespace pgfast
