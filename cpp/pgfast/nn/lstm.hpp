// Long short-term memory (Hochreiter and Schmidhuber, 1997) with forget gates (Gers et al., 2000), in the form of
// PyTorch: no peepholes, no projection.
#pragma once

#include "pgfast/nn/memory_cell.hpp"

namespace pgfast {

/// i, f, o = sigmoid(x W + h U + b), g = tanh(x W + h U + b), each with its own columns, in the order i, f, g, o
/// c' = f * c + i * g
/// h' = o * tanh(c')
///
/// The state is h, then c. Where PyTorch has two biases, only their sum counts.
template <typename Scalar>
class Lstm final : public MemoryCell<Scalar> {
 public:
  explicit Lstm(Index size) : MemoryCell<Scalar>(size) {}

  Index state_size() const override { return 2 * this->size_; }
  Index gates() const override { return 4; }
  std::vector<typename MemoryCell<Scalar>::Columns> recurrent_columns() const override {
    return {{0, 0, 4 * this->size_}};
  }
  /// Zero, but 1 for the forget gate: a cell that keeps most of its state passes gradients back from the start
  /// (Jozefowicz et al., 2015).
  void initialize_bias(Scalar* bias) const override;
  void forward(Scalar* linear, const Scalar* before, Index rows, Scalar* output, Scalar* rest) const override;
  void backward(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, Scalar* dstate,
                Scalar* deltas, Index ld) const override;
  void jvp(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, const Scalar* dlinear, Index ld,
           const Scalar* dbefore, Scalar* doutput, Scalar* drest) const override;
};

extern template class Lstm<float>;
extern template class Lstm<double>;

}  // namespace pgfast
