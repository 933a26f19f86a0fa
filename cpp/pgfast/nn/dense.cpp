#include "pgfast/nn/dense.hpp"

#include <algorithm>

#include "pgfast/linalg/gemm.hpp"

namespace pgfast {
namespace {

constexpr Index kPackedRows = 8;      // fewer rows read the weights only once or twice, which is not worth a copy
constexpr Index kPackedColumns = 64;  // columns of one task of a split layer

}  // namespace

template <typename Scalar>
Dense<Scalar>::Dense(Index inputs, Index outputs, Activation activation)
    : Layer<Scalar>(activation), inputs_(inputs), outputs_(outputs) {}

template <typename Scalar>
std::vector<ParameterBlock> Dense<Scalar>::layout() const {
  return {{"weight", {inputs_, outputs_}, 0, weight_size()}, {"bias", {outputs_}, weight_size(), outputs_}};
}

template <typename Scalar>
bool Dense<Scalar>::splits_columns() const {
  return weight_size() >= Index{1} << 17;
}

template <typename Scalar>
void Dense<Scalar>::forward(const Scalar* w, const Scalar* x, Index rows, Scalar* y) const {
  forward_columns(w, x, rows, 0, outputs_, y);
}

template <typename Scalar>
void Dense<Scalar>::forward_columns(const Scalar* w, const Scalar* x, Index rows, Index begin, Index end,
                                    Scalar* y) const {
  const Scalar* bias = w + weight_size();
  for (Index row = 0; row < rows; ++row) std::copy(bias + begin, bias + end, y + row * outputs_ + begin);
  multiply_packed(x, rows, w, begin, end, y);
  if (begin == 0 && end == outputs_) {
    activate(this->activation_, y, rows * outputs_);
  } else {
    for (Index row = 0; row < rows; ++row) activate(this->activation_, y + row * outputs_ + begin, end - begin);
  }
}

/// Columns [begin, end) of y += x w. At a stride of all outputs, the rows of large weights compete for the same cache
/// sets. If x has enough rows to pay for it, the weights are therefore copied, a block at a time, to a better stride.
template <typename Scalar>
void Dense<Scalar>::multiply_packed(const Scalar* x, Index rows, const Scalar* w, Index begin, Index end,
                                    Scalar* y) const {
  const Index columns = end - begin;
  const auto row_of_y = [=, this](Index i) { return y + i * outputs_ + begin; };
  if (!splits_columns() || rows < kPackedRows || columns > kPackedColumns) {
    multiply_add<Scalar>(
        rows, columns, inputs_, [=, this](Index i) { return x + i * inputs_; }, Contiguous{}, w + begin, outputs_,
        row_of_y);
    return;
  }
  constexpr Index stride = packed_stride<Scalar>(kPackedColumns);
  thread_local Buffer<Scalar> storage;
  Scalar* packed = storage.reserve(kDepthBlock * stride);
  for (Index first = 0; first < inputs_; first += kDepthBlock) {
    const Index depth = std::min(kDepthBlock, inputs_ - first);
    const Scalar* from = w + first * outputs_ + begin;
    for (Index r = 0; r < depth; ++r) {
      for (Index c = 0; c < columns; c += kLine<Scalar>) __builtin_prefetch(from + (r + kPackAhead) * outputs_ + c);
      std::copy_n(from + r * outputs_, columns, packed + r * stride);
    }
    multiply_add<Scalar>(
        rows, columns, depth, [=, this](Index i) { return x + i * inputs_ + first; }, Contiguous{}, packed, stride,
        row_of_y);
  }
}

template <typename Scalar>
void Dense<Scalar>::jvp(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y,
                        Index rows, Scalar* dy) const {
  jvp_columns(w, dw, x, dx, y, rows, 0, outputs_, dy);
}

template <typename Scalar>
void Dense<Scalar>::jvp_columns(const Scalar* w, const Scalar* dw, const Scalar* x, const Scalar* dx, const Scalar* y,
                                Index rows, Index begin, Index end, Scalar* dy) const {
  const Scalar* dbias = dw + weight_size();
  for (Index row = 0; row < rows; ++row) std::copy(dbias + begin, dbias + end, dy + row * outputs_ + begin);
  const auto row_of_dy = [=, this](Index i) { return dy + i * outputs_ + begin; };
  multiply_add<Scalar>(
      rows, end - begin, inputs_, [=, this](Index i) { return x + i * inputs_; }, Contiguous{}, dw + begin, outputs_,
      row_of_dy);
  if (dx != nullptr)
    multiply_add<Scalar>(
        rows, end - begin, inputs_, [=, this](Index i) { return dx + i * inputs_; }, Contiguous{}, w + begin, outputs_,
        row_of_dy);
  if (begin == 0 && end == outputs_) {
    multiply_by_derivative(this->activation_, y, dy, rows * outputs_);
  } else {
    for (Index row = 0; row < rows; ++row)
      multiply_by_derivative(this->activation_, y + row * outputs_ + begin, dy + row * outputs_ + begin, end - begin);
  }
}

template <typename Scalar>
void Dense<Scalar>::backward(const Scalar* wt, const Scalar* x, const Scalar* y, Index rows, Scalar* delta,
                             Scalar* gradient, Scalar* dx) const {
  multiply_by_derivative(this->activation_, y, delta, rows * outputs_);
  if (gradient != nullptr) {
    multiply_add<Scalar>(
        inputs_, outputs_, rows, [=](Index k) { return x + k; }, Stride{inputs_}, delta, outputs_,
        [=, this](Index k) { return gradient + k * outputs_; });
    Scalar* bias_gradient = gradient + weight_size();
    for (Index row = 0; row < rows; ++row)
      for (Index j = 0; j < outputs_; ++j) bias_gradient[j] += delta[row * outputs_ + j];
  }
  if (dx == nullptr) return;
  std::fill_n(dx, rows * inputs_, Scalar(0));
  multiply_add<Scalar>(
      rows, inputs_, outputs_, [=, this](Index i) { return delta + i * outputs_; }, Contiguous{}, wt, inputs_,
      [=, this](Index i) { return dx + i * inputs_; });
}

template <typename Scalar>
void Dense<Scalar>::backward_inputs(const Scalar* w, const Scalar* x, const Scalar* delta, Index rows, Index begin,
                                    Index end, Scalar* gradient, Scalar* dx) const {
  const Index width = end - begin;
  thread_local Buffer<Scalar> packed;
  Scalar* storage = packed.reserve(std::max(rows, outputs_) * width);
  if (gradient != nullptr) {
    // Copies columns [begin, end) of x to adjacent memory: at a stride of all inputs, every row would be on another
    // page.
    Scalar* inputs = storage;
    for (Index row = 0; row < rows; ++row) std::copy_n(x + row * inputs_ + begin, width, inputs + row * width);
    std::fill_n(gradient + begin * outputs_, width * outputs_, Scalar(0));
    multiply_add<Scalar>(
        width, outputs_, rows, [=](Index k) { return inputs + k; }, Stride{width}, delta, outputs_,
        [=, this](Index k) { return gradient + (begin + k) * outputs_; });
  }
  if (dx == nullptr) return;
  Scalar* weights = storage;
  transpose(w + begin * outputs_, width, outputs_, outputs_, weights);
  for (Index row = 0; row < rows; ++row) std::fill_n(dx + row * inputs_ + begin, width, Scalar(0));
  multiply_add<Scalar>(
      rows, width, outputs_, [=, this](Index i) { return delta + i * outputs_; }, Contiguous{}, weights, width,
      [=, this](Index i) { return dx + i * inputs_ + begin; });
}

template <typename Scalar>
void Dense<Scalar>::transpose_weight(const Scalar* w, Scalar* wt) const {
  transpose(w, inputs_, outputs_, outputs_, wt);
}

template class Dense<float>;
template class Dense<double>;

}  // namespace pgfast
