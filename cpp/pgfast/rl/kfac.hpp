// Kronecker-factored approximate curvature, K-FAC: the natural gradient of a large network (Martens and Grosse, 2015;
// Grosse and Martens, 2016, for convolutions).
#pragma once

#include <mutex>
#include <vector>

#include "pgfast/nn/network.hpp"

namespace pgfast {

/// The Fisher matrix of one layer, whose parameters are W [inputs, outputs] with the bias as the last row. It is
/// approximated by the Kronecker product of A [inputs, inputs] and S [outputs, outputs]: second moments of the layer's
/// inputs, with a 1 for the bias, and of the gradients with respect to its outputs before the activation. A layer of
/// which each weight has an output of its own (`diagonal`) has the diagonal of its Fisher matrix instead, [2, outputs].
struct KroneckerBlock {
  Index parameter;  // the first of its parameters
  bool diagonal;
  Index inputs;
  Index outputs;
  Index positions;  // of a row that the statistics use, `stride` apart
  Index stride;
  double share;  // of all positions
  Index a;       // the first entry of A, or of the diagonal, in the statistics
  Index s;       // that of S
};

/// The statistics of a network's layers, and the products with the inverse of what they approximate. The network must
/// outlive it and have no recurrence.
template <typename Scalar>
class Kfac {
 public:
  /// Convolutions use every `position_stride`-th position of an image.
  Kfac(const Network<Scalar>& network, Index position_stride);

  const Network<Scalar>& network() const { return network_; }
  const std::vector<KroneckerBlock>& blocks() const { return blocks_; }
  /// Number of statistics: the blocks' A and S one after the other.
  Index size() const { return size_; }

  /// statistics [size] = sum over the valid rows / count. `dy` [rows, output_size] is the gradient of each row's
  /// log-likelihood of outputs that were drawn from the model; the tape holds the forward pass. A is a sum over the
  /// positions of a convolution, S a mean. `valid` may be null.
  void measure(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy, const bool* valid,
               double count, Scalar* statistics);

  /// statistics <- averages + rate (statistics - averages). Returns false if a result is not finite.
  bool blend(const Scalar* averages, double rate, Scalar* statistics) const;

  /// Factors what the statistics approximate: A + pi sqrt(damping) I and S + sqrt(damping) / pi I (Martens and Grosse,
  /// section 6.3). Each time one of a layer's matrices is not positive definite, its damping is multiplied by 10.
  /// Returns how often that was, or -1 if it did not help; `factors` [size] is undefined then.
  int factor(const Scalar* statistics, double damping, Scalar* factors) const;

  /// x [parameter_count] = F^-1 gradient.
  void solve(const Scalar* factors, const Scalar* gradient, Scalar* x) const;

  /// x'Fx without damping.
  double curvature(const Scalar* statistics, const Scalar* x) const;

  /// Locks the memory of `measure`. A thread that measures what other threads may measure, too, must hold this lock.
  std::unique_lock<std::mutex> exclusive() { return std::unique_lock(mutex_); }

 private:
  const Network<Scalar>& network_;
  std::vector<KroneckerBlock> blocks_;
  Index size_ = 0;
  std::vector<Buffer<Scalar>> inputs_;  // of each block [rows positions, inputs]
  std::vector<Buffer<Scalar>> deltas_;  // [rows positions, outputs]
  std::mutex mutex_;
};

extern template class Kfac<float>;
extern template class Kfac<double>;

}  // namespace pgfast
