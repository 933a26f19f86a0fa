// The Fisher information of a distribution with respect to its parameters, at the outputs of a network.
//
// Categorical, logits l of one group, p = softmax(l):  M t = p (t - <p, t>), 0 where a mask makes p 0.
// Gaussian, mean and log_std:  M t = t_mean / sigma^2 and 2 t_log_std (no cross terms).
// Components are independent: M is block-diagonal.
#pragma once

#include <vector>

#include "pgfast/dist/family.hpp"

namespace pgfast {

template <typename Scalar>
class FisherBlock {
 public:
  /// Computes the weights of the products. Keeps a copy of the family and no pointer.
  explicit FisherBlock(const FamilyRows<Scalar>& rows);

  /// Rows [row, row + rows) of `tangents`, leading dimension ld, become scale M t; columns that the family does not
  /// use become 0. `tangents` points at the first of these rows. Does not allocate.
  void apply(Index row, Index rows, Scalar scale, Scalar* tangents) const;

  /// The block of a log_std shared by all rows: product [A] = 2 tangent. Does nothing if the family has none.
  void apply_log_std(const Scalar* tangent, Scalar* product) const;

  /// False if a standard deviation is so small that its inverse square overflows.
  bool finite() const;

 private:
  void apply_categorical(const Component& component, const Scalar* p, Index rows, Scalar scale, Scalar* tangents) const;
  void apply_gaussian(const Component& component, const Scalar* precision, Index rows, Scalar scale,
                      Scalar* tangents) const;

  Family family_;
  Index ld_;
  // The weights of each component begin at starts_[c]: p [rows, columns]; or 1 / sigma^2, [rows, A] or shared [A].
  std::vector<Index> starts_;
  Index weight_count_ = 0;
  Buffer<Scalar> weights_;
};

extern template class FisherBlock<float>;
extern template class FisherBlock<double>;

}  // namespace pgfast
