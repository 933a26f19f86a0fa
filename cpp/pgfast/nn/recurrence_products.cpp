// Products of a recurrence's Jacobian with vectors: through time for each chunk of sequences, then the products with
// the weights for all rows at once. Every element of a gradient is one sum over the rows, in their order, so that it
// does not depend on the number of threads.
#include <algorithm>
#include <utility>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/linalg/gemm.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/recurrence.hpp"

namespace pgfast {
namespace {

// Rows of a weight's gradient per task, a multiple of the rows of a register tile.
constexpr Index kWeightRows = 48;

/// to[c, r] = from[r, c] for a contiguous [rows, columns] matrix, in blocks; the rows of `to` have the packed stride.
template <typename Scalar>
void transpose_packed(const Scalar* from, Index rows, Index columns, Scalar* to) {
  constexpr Index block = 16;
  const Index ld = packed_stride<Scalar>(rows);
  for (Index begin = 0; begin < rows; begin += block)
    for (Index c = 0; c < columns; ++c)
      for (Index r = begin; r < std::min(rows, begin + block); ++r) to[c * ld + r] = from[r * columns + c];
}

}  // namespace

/// The gradients of rows [row, row + rows) of one step: writes dL/d linear to the memory and dL/d state before the step
/// to `dbefore` [rows, state_size]. Overwrites `dafter`, which holds the part of dL/d state after the step that later
/// steps contribute. `transposed` is U' [gates size, size], packed.
template <typename Scalar>
void Recurrence<Scalar>::step_back(const Scalar* transposed, const Sequences<Scalar>& sequences, const Scalar* dy,
                                   Index row, Index rows, RecurrenceMemory<Scalar>& memory, Scalar* dafter,
                                   Scalar* dbefore) const {
  const Index size = output_size();
  const Index states = state_size();
  const Index ld = packed_stride<Scalar>(cell_->kParts * size);
  for (Index i = 0; i < rows; ++i) {
    ArrayView<Scalar> after(dafter + i * states, states);
    ArrayView<Scalar> passed(dbefore + i * states, states);
    passed.setZero();
    if (sequences.held[row + i]) after.swap(passed);  // the state before is the state after; the output is apart
    after.head(size) += ConstArrayView<Scalar>(dy + (row + i) * size, size);
  }
  Scalar* deltas = memory.deltas.data() + row * ld;
  cell_->backward(memory.gates.data() + row * cell_->kParts * size, memory.before.data() + row * states,
                  memory.rest.data() + row * (states - size), rows, dafter, deltas, ld);
  for (const auto& [weight, column, count] : recurrent_columns_)
    multiply_add<Scalar>(
        rows, size, count, [=, first = deltas + column](Index i) { return first + i * ld; }, Contiguous{},
        transposed + weight * packed_stride<Scalar>(size), packed_stride<Scalar>(size),
        [=](Index i) { return dafter + i * states; });
  for (Index i = 0; i < rows; ++i) {
    ArrayView<Scalar> before(dbefore + i * states, states);
    if (sequences.starts[row + i])
      before.setZero();
    else
      before += ConstArrayView<Scalar>(dafter + i * states, states);
  }
}

/// Sets gradient [parameter_count] from dL/d linear of all rows.
template <typename Scalar>
void Recurrence<Scalar>::weight_gradients(const Scalar* x, Index rows, const RecurrenceMemory<Scalar>& memory,
                                          Scalar* gradient) const {
  const Index size = output_size();
  const Index parts = cell_->kParts * size;
  const Index ld = packed_stride<Scalar>(parts);
  const Scalar* deltas = memory.deltas.data();
  const Index input_tasks = ceil_divide(inputs_, kWeightRows);
  const Index recurrent_tasks = ceil_divide(size, kWeightRows);
  // Rows [begin, begin + width) of the gradient of a weight whose inputs are `from`.
  const auto add_product = [&](const Scalar* from, Index from_ld, Index begin, Index width, Index weight, Index column,
                               Index count, Scalar* to) {
    thread_local Buffer<Scalar> packed;
    // Copies the columns of the inputs to adjacent memory: at a stride of all inputs they would compete for cache sets.
    Scalar* inputs = packed.reserve(rows * width);
    for (Index row = 0; row < rows; ++row) std::copy_n(from + row * from_ld + begin, width, inputs + row * width);
    multiply_add<Scalar>(
        width, count, rows, [=](Index k) { return inputs + k; }, Stride{width}, deltas + column, ld,
        [=, this](Index k) { return to + (begin + k) * columns() + weight; });
  };
  std::fill_n(gradient, parameter_count(), Scalar(0));
  parallel_for(input_tasks + recurrent_tasks + 1, [&](Index task) {
    if (task < input_tasks) {
      const Index begin = task * kWeightRows;
      add_product(x, inputs_, begin, std::min(kWeightRows, inputs_ - begin), 0, 0, columns(), gradient);
    } else if (task < input_tasks + recurrent_tasks) {
      const Index begin = (task - input_tasks) * kWeightRows;
      for (const auto& [weight, column, count] : recurrent_columns_)
        add_product(memory.before.data(), state_size(), begin, std::min(kWeightRows, size - begin), weight, column,
                    count, gradient + recurrent_offset());
    } else {
      ArrayView<Scalar> bias(gradient + bias_offset(), parts);
      for (Index row = 0; row < rows; ++row) bias += ConstArrayView<Scalar>(deltas + row * ld, parts);
    }
  });
}

/// Sets dx [rows, input_size] from dL/d linear of all rows.
template <typename Scalar>
void Recurrence<Scalar>::input_gradients(const Scalar* parameters, Index rows, RecurrenceMemory<Scalar>& memory,
                                         Scalar* dx) const {
  const Index ld = packed_stride<Scalar>(cell_->kParts * output_size());
  const Scalar* deltas = memory.deltas.data();
  const Index weight_ld = packed_stride<Scalar>(inputs_);
  Scalar* transposed = memory.transposed.reserve(columns() * weight_ld);
  transpose_packed(parameters, inputs_, columns(), transposed);
  const Index chunk_rows = std::max(kLeastProductRows, rows_per_chunk(inputs_ * columns()));
  for_each_chunk(rows, chunk_rows, [&](Index begin, Index end) {
    for (Index row = begin; row < end; row += kDenseBlockRows) {
      const Index count = std::min(kDenseBlockRows, end - row);
      std::fill_n(dx + row * inputs_, count * inputs_, Scalar(0));
      multiply_add<Scalar>(
          count, inputs_, columns(), [=](Index i) { return deltas + (row + i) * ld; }, Contiguous{}, transposed,
          weight_ld, [=, this](Index i) { return dx + (row + i) * inputs_; });
    }
  });
}

template <typename Scalar>
void Recurrence<Scalar>::vjp(const Scalar* parameters, const Source<Scalar>& source, const Sequences<Scalar>& sequences,
                             Index rows, RecurrenceMemory<Scalar>& memory, const Scalar* dy, Scalar* gradient,
                             Scalar* dx, Scalar* dstate) const {
  const Index size = output_size();
  const Index states = state_size();
  const Index steps = rows / sequences.count;
  memory.deltas.reserve(rows * packed_stride<Scalar>(cell_->kParts * size));
  Scalar* transposed = memory.transposed.reserve(columns() * packed_stride<Scalar>(std::max(size, inputs_)));
  transpose_packed(parameters + recurrent_offset(), size, columns(), transposed);
  const Index chunks = chunks_of(sequences, steps * size * columns());
  parallel_for(chunks, [&](Index chunk) {
    thread_local Buffer<Scalar> storage;
    const Index begin = chunk * sequences.count / chunks;
    const Index count = (chunk + 1) * sequences.count / chunks - begin;
    Scalar* dafter = storage.reserve(2 * count * states);
    Scalar* dbefore = dafter + count * states;
    std::fill_n(dafter, count * states, Scalar(0));
    for (Index t = steps - 1; t >= 0; --t) {
      step_back(transposed, sequences, dy, t * sequences.count + begin, count, memory, dafter, dbefore);
      std::swap(dafter, dbefore);
    }
    for (Index n = 0; n < count; ++n)
      std::copy_n(dafter + n * states, states, dstate + (begin + n) * sequences.state_ld);
  });
  weight_gradients(source.rows(0, rows, inputs_, memory.inputs), rows, memory, gradient);
  if (dx != nullptr) input_gradients(parameters, rows, memory, dx);
}

/// Sets the tangents of the linear parts of rows [row, row + rows), but for what the tangent of the state before
/// contributes.
template <typename Scalar>
void Recurrence<Scalar>::linear_tangents(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source,
                                         const Scalar* dx, Index row, Index rows,
                                         RecurrenceMemory<Scalar>& memory) const {
  thread_local Buffer<Scalar> scratch;
  const Index states = state_size();
  const Index parts = cell_->kParts * output_size();
  const Index ld = packed_stride<Scalar>(parts);
  const Scalar* x = source.rows(row, rows, inputs_, scratch);
  const Scalar* before = memory.before.data() + row * states;
  Scalar* to = memory.deltas.data() + row * ld;
  for (Index i = 0; i < rows; ++i) std::copy_n(tangent + bias_offset(), parts, to + i * ld);
  const auto add_inputs = [&](const Scalar* from, const Scalar* weight) {
    multiply_add<Scalar>(
        rows, columns(), inputs_, [=, this](Index i) { return from + i * inputs_; }, Contiguous{}, weight, columns(),
        [=](Index i) { return to + i * ld; });
  };
  add_inputs(x, tangent);
  if (dx != nullptr) add_inputs(dx + row * inputs_, parameters);
  for (const auto& [weight, column, count] : recurrent_columns_)
    multiply_add<Scalar>(
        rows, count, output_size(), [=](Index i) { return before + i * states; }, Contiguous{},
        tangent + recurrent_offset() + weight, columns(), [=, first = to + column](Index i) { return first + i * ld; });
}

/// The tangents of rows [row, row + rows) of one step. `dstate` [rows, state_size] holds the tangent of the state after
/// the step before and is replaced by that after this one. Writes dy; `drest` is working memory.
template <typename Scalar>
void Recurrence<Scalar>::step_tangents(const Scalar* recurrent, const Sequences<Scalar>& sequences, Index row,
                                       Index rows, RecurrenceMemory<Scalar>& memory, Scalar* dstate, Scalar* drest,
                                       Scalar* dy) const {
  const Index size = output_size();
  const Index states = state_size();
  const Index rest = states - size;
  const Index ld = packed_stride<Scalar>(cell_->kParts * size);
  Scalar* linear = memory.deltas.data() + row * ld;
  Scalar* output = dy + row * size;
  for (Index i = 0; i < rows; ++i)
    if (sequences.starts[row + i]) std::fill_n(dstate + i * states, states, Scalar(0));
  for (const auto& [weight, column, count] : recurrent_columns_)
    multiply_add<Scalar>(
        rows, count, size, [=](Index i) { return dstate + i * states; }, Contiguous{}, recurrent + weight, columns(),
        [=, first = linear + column](Index i) { return first + i * ld; });
  cell_->jvp(memory.gates.data() + row * cell_->kParts * size, memory.before.data() + row * states,
             memory.rest.data() + row * rest, rows, linear, ld, dstate, output, drest);
  for (Index i = 0; i < rows; ++i) {
    if (sequences.held[row + i]) continue;
    std::copy_n(output + i * size, size, dstate + i * states);
    std::copy_n(drest + i * rest, rest, dstate + i * states + size);
  }
}

template <typename Scalar>
void Recurrence<Scalar>::jvp(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source,
                             const Sequences<Scalar>& sequences, const Scalar* dx, Index rows,
                             RecurrenceMemory<Scalar>& memory, Scalar* dy) const {
  const Index size = output_size();
  const Index states = state_size();
  const Index steps = rows / sequences.count;
  memory.deltas.reserve(rows * packed_stride<Scalar>(cell_->kParts * size));
  const Index chunk_rows = std::max(kLeastProductRows, rows_per_chunk((2 * inputs_ + size) * columns()));
  for_each_chunk(rows, chunk_rows, [&](Index begin, Index end) {
    for (Index row = begin; row < end; row += kDenseBlockRows)
      linear_tangents(parameters, tangent, source, dx, row, std::min(kDenseBlockRows, end - row), memory);
  });
  const Index chunks = chunks_of(sequences, steps * size * columns());
  parallel_for(chunks, [&](Index chunk) {
    thread_local Buffer<Scalar> storage;
    const Index begin = chunk * sequences.count / chunks;
    const Index count = (chunk + 1) * sequences.count / chunks - begin;
    Scalar* dstate = storage.reserve(count * (2 * states - size));
    std::fill_n(dstate, count * states, Scalar(0));
    for (Index t = 0; t < steps; ++t)
      step_tangents(parameters + recurrent_offset(), sequences, t * sequences.count + begin, count, memory, dstate,
                    dstate + count * states, dy);
  });
}

// The other members are instantiated in recurrence.cpp, with the constructor.
#define PGFAST_INSTANTIATE(Scalar)                                                                                     \
  template void Recurrence<Scalar>::vjp(const Scalar*, const Source<Scalar>&, const Sequences<Scalar>&, Index,         \
                                        RecurrenceMemory<Scalar>&, const Scalar*, Scalar*, Scalar*, Scalar*) const;    \
  template void Recurrence<Scalar>::jvp(const Scalar*, const Scalar*, const Source<Scalar>&, const Sequences<Scalar>&, \
                                        const Scalar*, Index, RecurrenceMemory<Scalar>&, Scalar*) const;
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
