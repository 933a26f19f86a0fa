// The gated recurrent unit (Cho et al., 2014) in the form of PyTorch and cuDNN.
#pragma once

#include "pgfast/nn/memory_cell.hpp"

namespace pgfast {

/// r = sigmoid(x W_r + h U_r + b_r)
/// z = sigmoid(x W_z + h U_z + b_z)
/// n = tanh(x W_n + b_n + r * q), q = h U_n + b_q
/// h' = (1 - z) * n + z * h
///
/// W and U have the columns of r, z, n, the bias those of r, z, n, q. The paper multiplies r with h before the product
/// with U_n; after it, all products of a step are one. Where PyTorch has two biases of r and z, only their sum counts.
template <typename Scalar>
class Gru final : public MemoryCell<Scalar> {
 public:
  explicit Gru(Index size) : MemoryCell<Scalar>(size) {}

  Index state_size() const override { return this->size_; }
  Index gates() const override { return 3; }
  std::vector<typename MemoryCell<Scalar>::Columns> recurrent_columns() const override {
    return {{0, 0, 2 * this->size_}, {2 * this->size_, 3 * this->size_, this->size_}};
  }
  void initialize_bias(Scalar* bias) const override;
  void forward(Scalar* linear, const Scalar* before, Index rows, Scalar* output, Scalar* rest) const override;
  void backward(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, Scalar* dstate,
                Scalar* deltas, Index ld) const override;
  void jvp(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, const Scalar* dlinear, Index ld,
           const Scalar* dbefore, Scalar* doutput, Scalar* drest) const override;
};

extern template class Gru<float>;
extern template class Gru<double>;

}  // namespace pgfast
