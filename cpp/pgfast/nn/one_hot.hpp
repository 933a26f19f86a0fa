// A fully connected layer on one-hot inputs, which are given as codes: it adds rows of the weight.
#pragma once

#include "pgfast/nn/layer.hpp"

namespace pgfast {

/// y = activation(b + sum_k W[first_k + x_k]), first_k = choices_0 + ... + choices_{k-1}; x [codes] are integers from 0
/// on and below choices_k; W [sum(choices), outputs]. A code out of range is taken as 0, so that no input reads or
/// writes other memory.
template <typename Scalar>
class OneHot final : public Layer<Scalar> {
 public:
  OneHot(std::vector<Index> choices, Index outputs, Activation activation);

  Index input_size() const override { return static_cast<Index>(choices_.size()); }
  Index output_size() const override { return outputs_; }
  std::vector<ParameterBlock> layout() const override;
  Index weight_size() const override { return weight_rows_ * outputs_; }
  Index bias_size() const override { return outputs_; }
  Index multiply_adds() const override { return input_size() * outputs_; }
  bool splits_columns() const override { return false; }

  void forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const override;
  /// Ignores `dx`: codes have no tangent.
  void jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y, Index rows,
           Scalar* dy) const override;
  /// `dx` must be null.
  void backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta, Scalar* gradient,
                Scalar* dx) const override;
  void transpose_weight(const Scalar* /*w*/, Scalar* /*wt*/) const override {}
  /// The one-hot row.
  void copy_inputs(const Scalar* x, Index position, Scalar* to) const override;

 private:
  /// y [rows, outputs] = b + sum of rows of w.
  void add_up(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const;
  /// The row of the weight that code k of an input selects.
  Index weight_row(const Scalar* x, Index k) const {
    const bool in_range = x[k] >= Scalar(0) && x[k] < static_cast<Scalar>(choices_[k]);
    return first_[k] + (in_range ? static_cast<Index>(x[k]) : 0);
  }
  Index weight_offset(const Scalar* x, Index k) const { return weight_row(x, k) * outputs_; }

  std::vector<Index> choices_;
  std::vector<Index> first_;
  Index weight_rows_ = 0;
  Index outputs_;
};

extern template class OneHot<float>;
extern template class OneHot<double>;

}  // namespace pgfast
