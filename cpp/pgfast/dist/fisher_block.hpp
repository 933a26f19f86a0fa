// The Fisher information of a distribution in its own parameters, at the outputs of a network.
//
// Categorical, logits l of one group, p = softmax(l):  M t = p (t - <p, t>).
// Gaussian, mean and log_std:  M t = t_mean / sigma^2 and 2 t_log_std (no cross terms).
#pragma once

#include "pgfast/dist/family.hpp"

namespace pgfast {

template <typename Scalar>
class FisherBlock {
 public:
  /// Keeps what the products need of `outputs` [rows, ld], whose first columns are the family's, and of `log_std` [A]
  /// (null where it is no parameter of its own).
  FisherBlock(const Family& family, const Scalar* outputs, Index rows, Index ld, const Scalar* log_std);

  /// Rows [row, row + rows) of `tangents`, leading dimension ld, become scale M t; columns that are not the family's
  /// become 0. `tangents` points at the first of these rows. Does not allocate.
  void apply(Index row, Index rows, Scalar scale, Scalar* tangents) const;

  /// The block of a log_std that is shared by all rows: own [A] = 2 tangent.
  void apply_own(const Scalar* tangent, Scalar* own) const;

  /// False where a standard deviation is so small that its inverse square overflows.
  bool finite() const;

 private:
  void apply_categorical(Index row, Index rows, Scalar scale, Scalar* tangents) const;
  void apply_gaussian(Index row, Index rows, Scalar scale, Scalar* tangents) const;

  Family family_;
  Index ld_;
  Index columns_;
  Index weight_count_;
  Buffer<Scalar> weights_;  // p [rows, columns]; or 1 / sigma^2, [rows, A] or shared [A]
};

extern template class FisherBlock<float>;
extern template class FisherBlock<double>;

}  // namespace pgfast
