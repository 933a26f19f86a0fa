#include "pgfast/rl/kfac.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "pgfast/base/sums.hpp"
#include "pgfast/linalg/cholesky.hpp"
#include "pgfast/linalg/gemm.hpp"
#include "pgfast/linalg/gram.hpp"

namespace pgfast {
namespace {

constexpr int kMostAttempts = 8;  // the last one has 10^7 times the damping
constexpr Index kRows = 64;       // of a matrix that one task computes

template <typename Scalar>
double mean_of_diagonal(Index n, const Scalar* matrix) {
  return sum_of(n, [=](Index i) { return static_cast<double>(matrix[i * (n + 1)]); }) / static_cast<double>(n);
}

/// Writes L and L' of matrix + damping I = LL' to the triangles of `factor`. Returns false if there are none.
template <typename Scalar>
bool factor_damped(Index n, const Scalar* matrix, double damping, Scalar* factor) {
  parallel_for(ceil_divide(n, kRows), [=](Index task) {
    for (Index i = task * kRows; i < std::min(n, (task + 1) * kRows); ++i) {
      std::copy_n(matrix + i * n, i + 1, factor + i * n);
      factor[i * (n + 1)] = static_cast<Scalar>(static_cast<double>(factor[i * (n + 1)]) + damping);
    }
  });
  if (!cholesky_factor(n, factor)) return false;
  mirror_lower(n, factor);
  return true;
}

/// Copies the inputs and gradients of each layer at the positions that the statistics use, row by row. Those of rows
/// that are not valid become zero.
template <typename Scalar>
class CopiedRows final : public LayerVisitor<Scalar> {
 public:
  struct Target {
    const KroneckerBlock* block;
    const Layer<Scalar>* layer;
    Scalar* inputs;
    Scalar* deltas;
  };

  CopiedRows(std::vector<Target> targets, const bool* valid)
      : targets_(std::move(targets)), seen_(targets_.size()), valid_(valid) {}

  /// Whether a layer was shown: not if no head reads it.
  bool has_seen(std::size_t number) const { return seen_[number]; }

  void visit(Index number, Index first_row, Index rows, const Scalar* x, const Scalar* delta) const override {
    const auto& [block, layer, inputs, deltas] = targets_[static_cast<std::size_t>(number)];
    seen_[static_cast<std::size_t>(number)] = true;
    for (Index i = 0; i < rows; ++i) {
      const Index row = first_row + i;
      Scalar* input = inputs + row * block->positions * block->inputs;
      Scalar* gradient = deltas + row * block->positions * block->outputs;
      if (valid_ != nullptr && !valid_[row]) {
        std::fill_n(input, block->positions * block->inputs, Scalar(0));
        std::fill_n(gradient, block->positions * block->outputs, Scalar(0));
        continue;
      }
      for (Index p = 0; p < block->positions; ++p, input += block->inputs, gradient += block->outputs) {
        const Index position = p * block->stride;
        input[block->inputs - 1] = Scalar(1);  // of the bias; the input of a diagonal block's last weight otherwise
        layer->copy_inputs(x + i * layer->input_size(), position, input);
        std::copy_n(delta + i * layer->output_size() + position * block->outputs, block->outputs, gradient);
      }
    }
  }

 private:
  std::vector<Target> targets_;
  mutable std::vector<std::atomic<bool>> seen_;
  const bool* valid_;
};

/// diagonal [2, size] = mean of the squared gradients of the weights, which multiply `inputs`, and of the biases.
template <typename Scalar>
void mean_squares(Index rows, Index size, const Scalar* inputs, const Scalar* deltas, double count, Scalar* diagonal) {
  std::vector<double> sums(static_cast<std::size_t>(2 * size));
  ArrayView<double> weights(sums.data(), size);
  ArrayView<double> biases(sums.data() + size, size);
  for (Index row = 0; row < rows; ++row, inputs += size, deltas += size) {
    const auto delta = ConstArrayView<Scalar>(deltas, size).template cast<double>();
    weights += (delta * ConstArrayView<Scalar>(inputs, size).template cast<double>()).square();
    biases += delta.square();
  }
  for (Index j = 0; j < 2 * size; ++j) diagonal[j] = static_cast<Scalar>(sums[static_cast<std::size_t>(j)] / count);
}

}  // namespace

template <typename Scalar>
Kfac<Scalar>::Kfac(const Network<Scalar>& network, Index position_stride) : network_(network) {
  Index parameter = 0;
  for (const Layer<Scalar>* each : network.layers()) {
    const Layer<Scalar>& layer = *each;
    const Index outputs = layer.bias_size();
    KroneckerBlock block{.parameter = parameter,
                         .diagonal = !layer.has_outer_products(),
                         .inputs = outputs,
                         .outputs = outputs,
                         .positions = 1,
                         .stride = 1,
                         .share = 1.0,
                         .a = size_,
                         .s = size_};
    if (block.diagonal) {
      size_ += 2 * outputs;
    } else {
      block.inputs = layer.weight_size() / outputs + 1;
      block.stride = std::min(position_stride, layer.positions());
      block.positions = ceil_divide(layer.positions(), block.stride);
      block.share = static_cast<double>(block.positions) / static_cast<double>(layer.positions());
      block.s = block.a + block.inputs * block.inputs;
      size_ = block.s + outputs * outputs;
    }
    blocks_.push_back(block);
    parameter += layer.parameter_count();
  }
  inputs_.resize(blocks_.size());
  deltas_.resize(blocks_.size());
}

template <typename Scalar>
void Kfac<Scalar>::measure(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy,
                           const bool* valid, double count, Scalar* statistics) {
  const std::vector<const Layer<Scalar>*> layers = network_.layers();
  std::vector<typename CopiedRows<Scalar>::Target> targets;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const KroneckerBlock& block = blocks_[i];
    targets.push_back({&block, layers[i], inputs_[i].reserve(rows * block.positions * block.inputs),
                       deltas_[i].reserve(rows * block.positions * block.outputs)});
  }
  const CopiedRows<Scalar> visitor(std::move(targets), valid);
  network_.vjp(parameters, rows, tape, dy, nullptr, &visitor);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const KroneckerBlock& block = blocks_[i];
    if (!visitor.has_seen(i)) {
      const Index end = i + 1 < blocks_.size() ? blocks_[i + 1].a : size_;
      std::fill(statistics + block.a, statistics + end, Scalar(0));
      continue;
    }
    const Scalar* inputs = inputs_[i].data();
    const Scalar* deltas = deltas_[i].data();
    if (block.diagonal) {
      mean_squares(rows, block.outputs, inputs, deltas, count, statistics + block.a);
      continue;
    }
    const Index terms = rows * block.positions;
    gram_of_columns(terms, block.inputs, inputs, count * block.share, statistics + block.a);
    gram_of_columns(terms, block.outputs, deltas, count * static_cast<double>(block.positions), statistics + block.s);
  }
}

template <typename Scalar>
bool Kfac<Scalar>::blend(const Scalar* averages, double rate, Scalar* statistics) const {
  std::vector<double> parts;
  const auto by = static_cast<Scalar>(rate);
  const double zero = sum_over_blocks(size_, parts, [&](Index begin, Index count) {
    ArrayView<Scalar> to(statistics + begin, count);
    const ConstArrayView<Scalar> from(averages + begin, count);
    to = from + by * (to - from);
    return static_cast<double>((Scalar(0) * to).sum());  // NaN unless all are finite
  });
  return zero == 0.0;
}

template <typename Scalar>
int Kfac<Scalar>::factor(const Scalar* statistics, double damping, Scalar* factors) const {
  int failures = 0;
  for (const KroneckerBlock& block : blocks_) {
    const Scalar* a = statistics + block.a;
    const Scalar* s = statistics + block.s;
    if (block.diagonal) {
      for (Index j = 0; j < 2 * block.outputs; ++j)
        factors[block.a + j] = static_cast<Scalar>(static_cast<double>(a[j]) + damping);
      continue;
    }
    const double ratio = mean_of_diagonal(block.inputs, a) / mean_of_diagonal(block.outputs, s);
    const double pi = ratio > 0 && std::isfinite(ratio) ? std::sqrt(ratio) : 1.0;
    double root = std::sqrt(damping);
    int attempts = 1;
    while (!factor_damped(block.inputs, a, pi * root, factors + block.a) ||
           !factor_damped(block.outputs, s, root / pi, factors + block.s)) {
      if (attempts++ == kMostAttempts) return -1;
      root *= std::sqrt(10.0);
      ++failures;
    }
  }
  return failures;
}

template <typename Scalar>
void Kfac<Scalar>::solve(const Scalar* factors, const Scalar* gradient, Scalar* x) const {
  for (const KroneckerBlock& block : blocks_) {
    const Scalar* from = gradient + block.parameter;
    Scalar* to = x + block.parameter;
    if (block.diagonal) {
      for (Index j = 0; j < 2 * block.outputs; ++j) to[j] = from[j] / factors[block.a + j];
      continue;
    }
    std::copy_n(from, block.inputs * block.outputs, to);
    cholesky_solve_rows(block.outputs, factors + block.s, block.inputs, to);
    cholesky_solve_columns(block.inputs, factors + block.a, block.outputs, to);
  }
}

template <typename Scalar>
double Kfac<Scalar>::curvature(const Scalar* statistics, const Scalar* x) const {
  double sum = 0;
  std::vector<double> parts;
  for (const KroneckerBlock& block : blocks_) {
    const Index outputs = block.outputs;
    const Scalar* at = x + block.parameter;
    const Scalar* a = statistics + block.a;
    const Scalar* s = statistics + block.s;
    if (block.diagonal) {
      for (Index j = 0; j < 2 * outputs; ++j)
        sum += static_cast<double>(a[j]) * static_cast<double>(at[j]) * static_cast<double>(at[j]);
      continue;
    }
    parts.resize(static_cast<std::size_t>(ceil_divide(block.inputs, kRows)));
    parallel_for(std::ssize(parts), [&](Index task) {  // the sum of X (A X S), by rows
      thread_local Buffer<Scalar> storage;
      const Index first = task * kRows;
      const Index rows = std::min(kRows, block.inputs - first);
      Scalar* ax = storage.reserve(2 * kRows * outputs);
      Scalar* axs = ax + rows * outputs;
      std::fill_n(ax, 2 * rows * outputs, Scalar(0));
      multiply_add<Scalar>(
          rows, outputs, block.inputs, [=](Index i) { return a + (first + i) * block.inputs; }, Contiguous{}, at,
          outputs, [=](Index i) { return ax + i * outputs; });
      multiply_add<Scalar>(
          rows, outputs, outputs, [=](Index i) { return ax + i * outputs; }, Contiguous{}, s, outputs,
          [=](Index i) { return axs + i * outputs; });
      parts[static_cast<std::size_t>(task)] = dot(axs, at + first * outputs, rows * outputs);
    });
    for (const double part : parts) sum += part;
  }
  return sum;
}

template class Kfac<float>;
template class Kfac<double>;

}  // namespace pgfast
