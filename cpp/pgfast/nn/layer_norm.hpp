// Layer normalization (Ba et al., 2016, equations 3 and 4): each row is shifted and scaled to mean 0 and variance 1,
// and then by a gain and a bias for each of its numbers.
#pragma once

#include "pgfast/nn/layer.hpp"

namespace pgfast {

/// y = activation(w xhat + b), xhat = (x - mean(x)) / sqrt(variance(x) + 1e-5) over the row; w, b [size].
template <typename Scalar>
class LayerNorm final : public Layer<Scalar> {
 public:
  LayerNorm(Index size, Activation activation) : Layer<Scalar>(activation), size_(size) {}

  Index input_size() const override { return size_; }
  Index output_size() const override { return size_; }
  std::vector<ParameterBlock> layout() const override;
  Index weight_size() const override { return size_; }
  Index bias_size() const override { return size_; }
  Index multiply_adds() const override { return 4 * size_; }
  bool splits_columns() const override { return false; }
  bool has_outer_products() const override { return false; }
  /// Gain 1 and bias 0, whatever the arguments.
  void initialize(Scalar* w, Scalar gain, std::uint64_t seed, std::uint32_t layer) const override;

  void forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const override;
  void jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y, Index rows,
           Scalar* dy) const override;
  void backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta, Scalar* gradient,
                Scalar* dx) const override;
  void transpose_weight(const Scalar* w, Scalar* wt) const override { std::copy_n(w, size_, wt); }
  /// xhat, whose numbers have a weight each.
  void copy_inputs(const Scalar* x, Index position, Scalar* to) const override;

 private:
  Index size_;
};

extern template class LayerNorm<float>;
extern template class LayerNorm<double>;

}  // namespace pgfast
