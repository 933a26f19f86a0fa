// Products of a chain's Jacobian with vectors. Sums over rows are taken in chunks and added in chunk order, so that
// they do not depend on the number of threads.
#include <algorithm>
#include <array>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/nn/chain.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/dense.hpp"

namespace pgfast {
namespace {

// Adding up more partial gradients than this costs more than further threads gain.
constexpr Index kMaxGradientChunks = 16;
// Additions of partial gradients that are worth a thread.
constexpr Index kAdditions = 1 << 16;
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
  parallel_for(chunks, worthwhile_threads(rows, chunk_rows), [&](Index chunk) {
    Scalar* partial = partials + chunk * size;
    std::fill_n(partial, size, Scalar(0));
    body(chunk * longer_chunk_rows, std::min(rows, (chunk + 1) * longer_chunk_rows), partial);
  });
  if (chunks == 1) return;
  const Index block = kAdditions / chunks;
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
void Chain<Scalar>::transpose_weights(Index first, Index last, const Scalar* parameters,
                                      ChainMemory<Scalar>& memory) const {
  Scalar* transposed = memory.transposed.reserve(parameter_count());
  for (Index i = std::max<Index>(reads_leaf_ ? 1 : 0, first); i < last; ++i)
    layers_[i]->transpose_weight(parameters + offsets_[i], transposed + offsets_[i]);
}

/// The backward pass of layers [first, last) for rows [row, row + rows) of the memory. Overwrites `delta` = dL/dy of
/// layer last - 1 for these rows, adds to `gradient`, which begins with layer `first`, and sets `dx`, both unless null.
/// `x` is the input of layer `first`.
template <typename Scalar>
void Chain<Scalar>::backward_block(Index first, Index last, const Scalar* x, Index row, Index rows,
                                   ChainMemory<Scalar>& memory, Scalar* delta, Scalar* gradient, Scalar* dx,
                                   const LayerVisitor<Scalar>* visitor) const {
  thread_local std::array<Buffer<Scalar>, 2> scratch;
  for (Index i = last - 1; i >= first; --i) {
    const Layer<Scalar>& layer = *layers_[i];
    const Scalar* from = i == first ? x : memory.outputs[i - 1].data() + row * layer.input_size();
    Scalar* below = i == first ? dx : scratch[i % 2].reserve(rows * layer.input_size());
    layer.backward(memory.transposed.data() + offsets_[i], from, memory.outputs[i].data() + row * layer.output_size(),
                   rows, delta, gradient == nullptr ? nullptr : gradient + offsets_[i] - offsets_[first], below);
    if (visitor != nullptr) visitor->visit(first_layer_ + i, row, rows, from, delta);
    delta = below;
  }
}

template <typename Scalar>
void Chain<Scalar>::backward_rows(const Segment& segment, const Source<Scalar>& source, Index rows,
                                  ChainMemory<Scalar>& memory, Scalar* delta, Scalar* gradient, Scalar* dx,
                                  const LayerVisitor<Scalar>* visitor) const {
  const Index inputs = layers_[segment.first]->input_size();
  const Index outputs = layers_[segment.last - 1]->output_size();
  const auto go_back = [&](Index begin, Index end, Scalar* partial) {
    for (Index row = begin; row < end; row += segment.block_rows) {
      const Index count = std::min(segment.block_rows, end - row);
      backward_block(segment.first, segment.last, segment_input(segment, source, row, count, memory), row, count,
                     memory, delta + row * outputs, partial, dx == nullptr ? nullptr : dx + row * inputs, visitor);
    }
  };
  if (gradient == nullptr) {
    for_each_chunk(rows, segment.chunk_rows, [&](Index begin, Index end) { go_back(begin, end, nullptr); });
    return;
  }
  const Index size = offsets_[segment.last] - offsets_[segment.first];
  add_up_rows(rows, segment.chunk_rows, size, memory.partials, gradient + offsets_[segment.first], go_back);
}

template <typename Scalar>
void Chain<Scalar>::backward_columns(const Segment& segment, const Scalar* parameters, const Source<Scalar>& source,
                                     Index rows, ChainMemory<Scalar>& memory, Scalar* delta, Scalar* gradient,
                                     Scalar* dx, const LayerVisitor<Scalar>* visitor) const {
  const auto& layer = static_cast<const Dense<Scalar>&>(*layers_[segment.first]);
  const Scalar* weight = parameters + offsets_[segment.first];
  Scalar* target = gradient == nullptr ? nullptr : gradient + offsets_[segment.first];
  const Index outputs = layer.output_size();
  const Scalar* from = all_inputs(segment, source, 0, rows, memory, memory.scaled_inputs);
  multiply_by_derivative(layer.activation(), memory.outputs[segment.first].data(), delta, rows * outputs);
  if (target != nullptr) {
    ArrayView<Scalar> bias_gradient(target + layer.weight_size(), outputs);
    bias_gradient.setZero();
    for (Index row = 0; row < rows; ++row) bias_gradient += ConstArrayView<Scalar>(delta + row * outputs, outputs);
  }
  parallel_for(ceil_divide(layer.input_size(), kBackwardInputs), [&](Index task) {
    const Index begin = task * kBackwardInputs;
    layer.backward_inputs(weight, from, delta, rows, begin, std::min(layer.input_size(), begin + kBackwardInputs),
                          target, dx);
  });
  if (visitor != nullptr) visitor->visit(first_layer_ + segment.first, 0, rows, from, delta);
}

template <typename Scalar>
void Chain<Scalar>::vjp(const Scalar* parameters, const Source<Scalar>& source, Index rows, ChainMemory<Scalar>& memory,
                        Scalar* dy, Scalar* gradient, Scalar* dx, const LayerVisitor<Scalar>* visitor) const {
  Scalar* delta = dy;
  for (Index s = static_cast<Index>(segments_.size()) - 1; s >= 0; --s) {
    const Segment& segment = segments_[s];
    Scalar* below = s == 0 ? dx : memory.deltas[s % 2].reserve(rows * layers_[segment.first]->input_size());
    if (segment.split_columns) {
      backward_columns(segment, parameters, source, rows, memory, delta, gradient, below, visitor);
    } else {
      transpose_weights(segment.first, segment.last, parameters, memory);
      backward_rows(segment, source, rows, memory, delta, gradient, below, visitor);
    }
    delta = below;
  }
}

template <typename Scalar>
void Chain<Scalar>::row_vjp(const Source<Scalar>& source, Index row, ChainMemory<Scalar>& memory, Scalar* dy,
                            Scalar* gradient, Scalar* dx) const {
  const Scalar* x = segment_input(segments_.front(), source, row, 1, memory);
  backward_block(0, layer_count(), x, row, 1, memory, dy, gradient, dx, nullptr);
}

/// The tangents of a segment for rows [row, row + rows) of the memory: sets `dy`, the tangent of its last layer's
/// output, from `dx`, the tangent of its input `x` (null: zero).
template <typename Scalar>
void Chain<Scalar>::jvp_block(const Segment& segment, const Scalar* parameters, const Scalar* tangent, const Scalar* x,
                              const Scalar* dx, Index row, Index rows, const ChainMemory<Scalar>& memory,
                              Scalar* dy) const {
  thread_local std::array<Buffer<Scalar>, 2> scratch;
  for (Index i = segment.first; i < segment.last; ++i) {
    const Layer<Scalar>& layer = *layers_[i];
    const Scalar* output = memory.outputs[i].data() + row * layer.output_size();
    Scalar* to = i + 1 == segment.last ? dy : scratch[i % 2].reserve(rows * layer.output_size());
    layer.jvp(parameters + offsets_[i], tangent + offsets_[i], x, dx, output, rows, to);
    x = output;
    dx = to;
  }
}

template <typename Scalar>
void Chain<Scalar>::jvp_rows(const Segment& segment, const Scalar* parameters, const Scalar* tangent,
                             const Source<Scalar>& source, const Scalar* dx, Index rows, ChainMemory<Scalar>& memory,
                             Scalar* dy) const {
  const Index inputs = layers_[segment.first]->input_size();
  const Index outputs = layers_[segment.last - 1]->output_size();
  const Index step = std::min(segment.block_rows, segment.chunk_rows);
  for_each_chunk(rows, segment.chunk_rows, [&](Index begin, Index end) {
    for (Index row = begin; row < end; row += step) {
      const Index count = std::min(step, end - row);
      jvp_block(segment, parameters, tangent, segment_input(segment, source, row, count, memory),
                dx == nullptr ? nullptr : dx + row * inputs, row, count, memory, dy + row * outputs);
    }
  });
}

template <typename Scalar>
void Chain<Scalar>::jvp_columns(const Segment& segment, const Scalar* parameters, const Scalar* tangent,
                                const Source<Scalar>& source, const Scalar* dx, Index rows, ChainMemory<Scalar>& memory,
                                Scalar* dy) const {
  const auto& layer = static_cast<const Dense<Scalar>&>(*layers_[segment.first]);
  const Index inputs = layer.input_size();
  const Index outputs = layer.output_size();
  const Index offset = offsets_[segment.first];
  const Scalar* from = all_inputs(segment, source, 0, rows, memory, memory.scaled_inputs);
  const Scalar* output = memory.outputs[segment.first].data();
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
void Chain<Scalar>::jvp(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source, const Scalar* dx,
                        Index rows, ChainMemory<Scalar>& memory, Scalar* dy) const {
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    const Segment& segment = segments_[s];
    Scalar* to =
        s + 1 == segments_.size() ? dy : memory.deltas[s % 2].reserve(rows * layers_[segment.last - 1]->output_size());
    if (segment.split_columns)
      jvp_columns(segment, parameters, tangent, source, dx, rows, memory, to);
    else
      jvp_rows(segment, parameters, tangent, source, dx, rows, memory, to);
    dx = to;
  }
}

template <typename Scalar>
void Chain<Scalar>::prepare_products(const Scalar* parameters, ChainMemory<Scalar>& memory) const {
  transpose_weights(0, layer_count(), parameters, memory);
}

template <typename Scalar>
void Chain<Scalar>::curvature_product(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source,
                                      Index rows, ChainMemory<Scalar>& memory, const OutputMap<Scalar>& map,
                                      Scalar* product) const {
  const Index outputs = output_size();
  const Segment& segment = segments_.front();
  add_up_rows(rows, segment.chunk_rows, parameter_count(), memory.partials, product,
              [&](Index begin, Index end, Scalar* partial) {
                thread_local Buffer<Scalar> scratch;
                for (Index row = begin; row < end; row += segment.block_rows) {
                  const Index count = std::min(segment.block_rows, end - row);
                  Scalar* dy = scratch.reserve(count * outputs);
                  const Scalar* from = segment_input(segment, source, row, count, memory);
                  jvp_block(segment, parameters, tangent, from, nullptr, row, count, memory, dy);
                  map.apply(row, count, dy);
                  backward_block(0, layer_count(), from, row, count, memory, dy, partial, nullptr, nullptr);
                }
              });
}

// The other members are instantiated in chain.cpp, with the constructor.
#define PGFAST_INSTANTIATE(Scalar)                                                                                    \
  template void Chain<Scalar>::vjp(const Scalar*, const Source<Scalar>&, Index, ChainMemory<Scalar>&, Scalar*,        \
                                   Scalar*, Scalar*, const LayerVisitor<Scalar>*) const;                              \
  template void Chain<Scalar>::row_vjp(const Source<Scalar>&, Index, ChainMemory<Scalar>&, Scalar*, Scalar*, Scalar*) \
      const;                                                                                                          \
  template void Chain<Scalar>::jvp(const Scalar*, const Scalar*, const Source<Scalar>&, const Scalar*, Index,         \
                                   ChainMemory<Scalar>&, Scalar*) const;                                              \
  template void Chain<Scalar>::prepare_products(const Scalar*, ChainMemory<Scalar>&) const;                           \
  template void Chain<Scalar>::curvature_product(const Scalar*, const Scalar*, const Source<Scalar>&, Index,          \
                                                 ChainMemory<Scalar>&, const OutputMap<Scalar>&, Scalar*) const;
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
