// Products of a network's Jacobian with vectors. Sums over rows are taken in chunks and added in chunk order, so that
// they do not depend on the number of threads.
#include <algorithm>
#include <array>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/dense.hpp"
#include "pgfast/nn/network.hpp"

namespace pgfast {
namespace {

// Adding up more partial gradients than this costs more than further threads gain.
constexpr Index kMaxGradientChunks = 16;
// Rows of a split layer's weight per task.
constexpr Index kBackwardInputs = 96;
// Columns and rows of a split layer's tangent per task.
constexpr Index kTangentColumns = 64;
constexpr Index kTangentRows = 96;

/// sum [size] = the sum over chunks of rows of the terms that body(begin, end, partial) adds to `partial` [size].
template <typename Scalar, typename Body>
void add_up_rows(Index rows, Index chunk_rows, Index size, Buffer<Scalar>& storage, Scalar* sum, Body&& body) {
  const Index longer_chunk_rows = std::max(chunk_rows, ceil_divide(rows, kMaxGradientChunks));
  const Index chunks = ceil_divide(rows, longer_chunk_rows);
  Scalar* partials = chunks > 1 ? storage.reserve(chunks * size) : sum;
  parallel_for(chunks, [&](Index chunk) {
    Scalar* partial = partials + chunk * size;
    std::fill_n(partial, size, Scalar(0));
    body(chunk * longer_chunk_rows, std::min(rows, (chunk + 1) * longer_chunk_rows), partial);
  });
  if (chunks == 1) return;
  constexpr Index block = 4096;
  parallel_for(ceil_divide(size, block), [&](Index task) {
    const Index begin = task * block;
    const Index count = std::min(block, size - begin);
    ArrayView<Scalar> total(sum + begin, count);
    total = ConstArrayView<Scalar>(partials + begin, count);
    for (Index chunk = 1; chunk < chunks; ++chunk)
      total += ConstArrayView<Scalar>(partials + chunk * size + begin, count);
  });
}

}  // namespace

template <typename Scalar>
void Network<Scalar>::transpose_weights(Index first, Index last, const Scalar* parameters, Tape<Scalar>& tape) const {
  Scalar* transposed = tape.transposed_.reserve(parameter_count_);
  for (Index i = std::max<Index>(1, first); i < last; ++i)
    layers_[i]->transpose_weight(parameters + offsets_[i], transposed + offsets_[i]);
}

/// The backward pass of layers [first, last) for rows [row, row + rows) of the tape. Overwrites `delta` = dL/dy of
/// layer last - 1 for these rows, adds to `gradient`, which begins with layer `first`, and sets `dx` unless null. `x`
/// is the input of layer `first`.
template <typename Scalar>
void Network<Scalar>::backward_block(Index first, Index last, const Scalar* x, Index row, Index rows,
                                     Tape<Scalar>& tape, Scalar* delta, Scalar* gradient, Scalar* dx) const {
  thread_local std::array<Buffer<Scalar>, 2> scratch;
  for (Index i = last - 1; i >= first; --i) {
    const Layer<Scalar>& layer = *layers_[i];
    const Scalar* from = i == first ? x : tape.outputs_[i - 1].data() + row * layer.input_size();
    Scalar* below = i == first ? dx : scratch[i % 2].reserve(rows * layer.input_size());
    layer.backward(tape.transposed_.data() + offsets_[i], from, tape.outputs_[i].data() + row * layer.output_size(),
                   rows, delta, gradient + offsets_[i] - offsets_[first], below);
    delta = below;
  }
}

template <typename Scalar>
void Network<Scalar>::backward_rows(const Segment& segment, Index rows, Tape<Scalar>& tape, Scalar* delta,
                                    Scalar* gradient, Scalar* dx) const {
  const Index inputs = layers_[segment.first]->input_size();
  const Index outputs = layers_[segment.last - 1]->output_size();
  const Index size = offsets_[segment.last] - offsets_[segment.first];
  add_up_rows(rows, segment.chunk_rows, size, tape.partials_, gradient + offsets_[segment.first],
              [&](Index begin, Index end, Scalar* partial) {
                for (Index row = begin; row < end; row += segment.block_rows) {
                  const Index count = std::min(segment.block_rows, end - row);
                  backward_block(segment.first, segment.last, segment_input(segment, row, count, tape), row, count,
                                 tape, delta + row * outputs, partial, dx == nullptr ? nullptr : dx + row * inputs);
                }
              });
}

template <typename Scalar>
void Network<Scalar>::backward_columns(const Segment& segment, const Scalar* parameters, Index rows, Tape<Scalar>& tape,
                                       Scalar* delta, Scalar* gradient, Scalar* dx) const {
  const auto& layer = static_cast<const Dense<Scalar>&>(*layers_[segment.first]);
  const Scalar* weight = parameters + offsets_[segment.first];
  Scalar* target = gradient + offsets_[segment.first];
  const Index outputs = layer.output_size();
  const Scalar* from = segment.first == 0 ? input_rows(tape.inputs_, 0, rows, tape.scaled_inputs_)
                                          : tape.outputs_[segment.first - 1].data();
  multiply_by_derivative(layer.activation(), tape.outputs_[segment.first].data(), delta, rows * outputs);
  ArrayView<Scalar> bias_gradient(target + layer.weight_size(), outputs);
  bias_gradient.setZero();
  for (Index row = 0; row < rows; ++row) bias_gradient += ConstArrayView<Scalar>(delta + row * outputs, outputs);
  parallel_for(ceil_divide(layer.input_size(), kBackwardInputs), [&](Index task) {
    const Index begin = task * kBackwardInputs;
    layer.backward_inputs(weight, from, delta, rows, begin, std::min(layer.input_size(), begin + kBackwardInputs),
                          target, dx);
  });
}

template <typename Scalar>
void Network<Scalar>::vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy,
                          Scalar* gradient) const {
  Scalar* delta = tape.deltas_[0].reserve(rows * output_size());
  std::copy_n(dy, rows * output_size(), delta);
  for (Index s = static_cast<Index>(segments_.size()) - 1; s >= 0; --s) {
    const Segment& segment = segments_[s];
    const Index flip = static_cast<Index>(segments_.size()) - s;
    Scalar* dx = s == 0 ? nullptr : tape.deltas_[flip % 2].reserve(rows * layers_[segment.first]->input_size());
    if (segment.split_columns) {
      backward_columns(segment, parameters, rows, tape, delta, gradient, dx);
    } else {
      transpose_weights(segment.first, segment.last, parameters, tape);
      backward_rows(segment, rows, tape, delta, gradient, dx);
    }
    delta = dx;
  }
}

template <typename Scalar>
void Network<Scalar>::per_sample_vjp(const Scalar* parameters, Index rows, Tape<Scalar>& tape, const Scalar* dy,
                                     Scalar* gradients, Index ld) const {
  transpose_weights(0, layer_count(), parameters, tape);
  Scalar* delta = tape.deltas_[0].reserve(rows * output_size());
  std::copy_n(dy, rows * output_size(), delta);
  const Index chunk_rows = rows_per_chunk(multiply_adds());
  const Segment whole{0, layer_count(), false, chunk_rows, 1};
  parallel_for(ceil_divide(rows, chunk_rows), [&](Index chunk) {
    const Index end = std::min(rows, (chunk + 1) * chunk_rows);
    for (Index row = chunk * chunk_rows; row < end; ++row) {
      Scalar* gradient = gradients + row * ld;
      std::fill_n(gradient, parameter_count_, Scalar(0));
      backward_block(0, layer_count(), segment_input(whole, row, 1, tape), row, 1, tape, delta + row * output_size(),
                     gradient, nullptr);
    }
  });
}

/// The tangents of a segment for rows [row, row + rows) of the tape: sets `dy`, the tangent of its last layer's output,
/// from `dx`, the tangent of its input `x` (null: zero).
template <typename Scalar>
void Network<Scalar>::jvp_block(const Segment& segment, const Scalar* parameters, const Scalar* tangent,
                                const Scalar* x, const Scalar* dx, Index row, Index rows, const Tape<Scalar>& tape,
                                Scalar* dy) const {
  thread_local std::array<Buffer<Scalar>, 2> scratch;
  for (Index i = segment.first; i < segment.last; ++i) {
    const Layer<Scalar>& layer = *layers_[i];
    const Scalar* output = tape.outputs_[i].data() + row * layer.output_size();
    Scalar* to = i + 1 == segment.last ? dy : scratch[i % 2].reserve(rows * layer.output_size());
    layer.jvp(parameters + offsets_[i], tangent + offsets_[i], x, dx, output, rows, to);
    x = output;
    dx = to;
  }
}

template <typename Scalar>
void Network<Scalar>::jvp_rows(const Segment& segment, const Scalar* parameters, const Scalar* tangent,
                               const Scalar* dx, Index rows, Tape<Scalar>& tape, Scalar* dy) const {
  const Index inputs = layers_[segment.first]->input_size();
  const Index outputs = layers_[segment.last - 1]->output_size();
  const Index step = std::min(segment.block_rows, segment.chunk_rows);
  parallel_for(ceil_divide(rows, segment.chunk_rows), [&](Index chunk) {
    const Index end = std::min(rows, (chunk + 1) * segment.chunk_rows);
    for (Index row = chunk * segment.chunk_rows; row < end; row += step) {
      const Index count = std::min(step, end - row);
      jvp_block(segment, parameters, tangent, segment_input(segment, row, count, tape),
                dx == nullptr ? nullptr : dx + row * inputs, row, count, tape, dy + row * outputs);
    }
  });
}

template <typename Scalar>
void Network<Scalar>::jvp_columns(const Segment& segment, const Scalar* parameters, const Scalar* tangent,
                                  const Scalar* dx, Index rows, Tape<Scalar>& tape, Scalar* dy) const {
  const auto& layer = static_cast<const Dense<Scalar>&>(*layers_[segment.first]);
  const Index inputs = layer.input_size();
  const Index outputs = layer.output_size();
  const Index offset = offsets_[segment.first];
  const Scalar* from = segment.first == 0 ? input_rows(tape.inputs_, 0, rows, tape.scaled_inputs_)
                                          : tape.outputs_[segment.first - 1].data();
  const Scalar* output = tape.outputs_[segment.first].data();
  const Index column_tasks = ceil_divide(outputs, kTangentColumns);
  parallel_for(column_tasks * ceil_divide(rows, kTangentRows), [&](Index task) {
    const Index row = task / column_tasks * kTangentRows;
    const Index column = task % column_tasks * kTangentColumns;
    layer.jvp_columns(parameters + offset, tangent + offset, from + row * inputs,
                      dx == nullptr ? nullptr : dx + row * inputs, output + row * outputs,
                      std::min(kTangentRows, rows - row), column, std::min(outputs, column + kTangentColumns),
                      dy + row * outputs);
  });
}

template <typename Scalar>
void Network<Scalar>::jvp(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape,
                          Scalar* dy) const {
  const Scalar* dx = nullptr;
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    const Segment& segment = segments_[s];
    Scalar* to =
        s + 1 == segments_.size() ? dy : tape.deltas_[s % 2].reserve(rows * layers_[segment.last - 1]->output_size());
    if (segment.split_columns)
      jvp_columns(segment, parameters, tangent, dx, rows, tape, to);
    else
      jvp_rows(segment, parameters, tangent, dx, rows, tape, to);
    dx = to;
  }
}

template <typename Scalar>
void Network<Scalar>::prepare_products(const Scalar* parameters, Tape<Scalar>& tape) const {
  transpose_weights(0, layer_count(), parameters, tape);
}

template <typename Scalar>
void Network<Scalar>::curvature_product(const Scalar* parameters, const Scalar* tangent, Index rows, Tape<Scalar>& tape,
                                        const OutputMap<Scalar>& map, Scalar* product) const {
  const Index outputs = output_size();
  const Segment& segment = segments_.front();
  if (segments_.size() > 1 || segment.split_columns) {
    Scalar* dy = tape.tangents_.reserve(rows * outputs);
    jvp(parameters, tangent, rows, tape, dy);
    map.apply(0, rows, dy);
    vjp(parameters, rows, tape, dy, product);
    return;
  }
  add_up_rows(rows, segment.chunk_rows, parameter_count_, tape.partials_, product,
              [&](Index begin, Index end, Scalar* partial) {
                thread_local Buffer<Scalar> scratch;
                for (Index row = begin; row < end; row += segment.block_rows) {
                  const Index count = std::min(segment.block_rows, end - row);
                  Scalar* dy = scratch.reserve(count * outputs);
                  const Scalar* from = segment_input(segment, row, count, tape);
                  jvp_block(segment, parameters, tangent, from, nullptr, row, count, tape, dy);
                  map.apply(row, count, dy);
                  backward_block(0, layer_count(), from, row, count, tape, dy, partial, nullptr);
                }
              });
}

// The other members are instantiated in network.cpp, with the constructor.
#define PGFAST_INSTANTIATE(Scalar)                                                                                  \
  template void Network<Scalar>::vjp(const Scalar*, Index, Tape<Scalar>&, const Scalar*, Scalar*) const;            \
  template void Network<Scalar>::per_sample_vjp(const Scalar*, Index, Tape<Scalar>&, const Scalar*, Scalar*, Index) \
      const;                                                                                                        \
  template void Network<Scalar>::jvp(const Scalar*, const Scalar*, Index, Tape<Scalar>&, Scalar*) const;            \
  template void Network<Scalar>::prepare_products(const Scalar*, Tape<Scalar>&) const;                              \
  template void Network<Scalar>::curvature_product(const Scalar*, const Scalar*, Index, Tape<Scalar>&,              \
                                                   const OutputMap<Scalar>&, Scalar*) const;
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
