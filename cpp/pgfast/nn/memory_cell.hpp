// The interface of a recurrent cell: what tells a GRU from an LSTM. The products with the weights are the same for
// every cell and belong to Recurrence. Every call works on rows of one step on one thread, and neither checks its
// arguments nor allocates.
#pragma once

#include <vector>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// A cell of `size` units computes its output h [size] and the rest of its state [state_size - size] from four linear
/// parts [4 size], functions of the input x and the state before the step, whose first `size` numbers are h_before:
///
///   linear = bias, plus x W [gates size] in its first columns, plus h_before U [gates size] in recurrent_columns().
template <typename Scalar>
class MemoryCell {
 public:
  static constexpr Index kParts = 4;

  /// Columns [weight, weight + count) of h_before U are added to the linear parts from column `linear` on.
  struct Columns {
    Index weight;
    Index linear;
    Index count;
  };

  virtual ~MemoryCell() = default;

  Index size() const { return size_; }
  virtual Index state_size() const = 0;
  virtual Index gates() const = 0;
  virtual std::vector<Columns> recurrent_columns() const = 0;
  /// The initial bias [4 size].
  virtual void initialize_bias(Scalar* bias) const = 0;

  /// Replaces the linear parts [rows, 4 size] by the gates, and sets `output` [rows, size] and `rest`
  /// [rows, state_size - size] from them and from the state `before` [rows, state_size].
  virtual void forward(Scalar* linear, const Scalar* before, Index rows, Scalar* output, Scalar* rest) const = 0;

  /// Replaces dL/d(output, rest), `dstate` [rows, state_size], by the part of dL/d before that does not go through the
  /// linear parts, and writes dL/d linear to `deltas` [rows, 4 size] with leading dimension `ld`.
  virtual void backward(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, Scalar* dstate,
                        Scalar* deltas, Index ld) const = 0;

  /// Sets the tangents `doutput` [rows, size] and `drest` [rows, state_size - size] from those of the linear parts,
  /// `dlinear` [rows, 4 size] with leading dimension `ld`, and of the state before, `dbefore` [rows, state_size].
  virtual void jvp(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, const Scalar* dlinear,
                   Index ld, const Scalar* dbefore, Scalar* doutput, Scalar* drest) const = 0;

 protected:
  explicit MemoryCell(Index size) : size_(size) {}
  Index size_;
};

/// 1 / (1 + exp(-x)), in place. By tanh, whose vector and scalar forms have the same bits, unlike Eigen's logistic().
template <typename Scalar>
void sigmoid(Scalar* x, Index size) {
  constexpr auto half = Scalar(0.5);
  ArrayView<Scalar> values(x, size);
  values = (values * half).tanh() * half + half;
}

}  // namespace pgfast
