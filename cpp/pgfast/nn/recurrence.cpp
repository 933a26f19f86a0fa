#include "pgfast/nn/recurrence.hpp"

#include <algorithm>
#include <stdexcept>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/linalg/gemm.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/gru.hpp"
#include "pgfast/nn/limits.hpp"
#include "pgfast/nn/lstm.hpp"

namespace pgfast {
namespace {

// A product of fewer rows leaves most of the arithmetic units idle.
constexpr Index kLeastSequences = 4;
// Fewer rows are not worth a copy of the weights.
constexpr Index kPackedRows = 64;
// The blocks of initial weights of one layer draw different random numbers.
constexpr int kBlockShift = 16;

}  // namespace

template <typename Scalar>
Recurrence<Scalar>::Recurrence(Kind kind, Index inputs, Index size, const std::string& prefix, Index layer)
    : inputs_(inputs), layer_(layer) {
  const std::string number = std::to_string(layer);
  if (size < 1 || size > kMaxOutputs)
    throw std::invalid_argument("layer " + number + ": outputs must be in [1, " + std::to_string(kMaxOutputs) +
                                "], got " + std::to_string(size));
  if (kind == Kind::gru)
    cell_ = std::make_unique<Gru<Scalar>>(size);
  else
    cell_ = std::make_unique<Lstm<Scalar>>(size);
  recurrent_columns_ = cell_->recurrent_columns();
  const std::string name = prefix + (kind == Kind::gru ? "gru" : "lstm") + number + ".";
  const Index weights = inputs * columns();
  const Index recurrent_weights = size * columns();
  const Index biases = cell_->kParts * size;
  layout_ = {{name + "weight", {inputs, columns()}, 0, weights},
             {name + "recurrent_weight", {size, columns()}, weights, recurrent_weights},
             {name + "bias", {biases}, weights + recurrent_weights, biases}};
  if (parameter_count() > kMaxParameters)
    throw std::invalid_argument("layer " + number + " is too large: " + std::to_string(parameter_count()) +
                                " parameters");
}

template <typename Scalar>
void Recurrence<Scalar>::initialize(Scalar* parameters, std::uint64_t seed) const {
  const Index size = output_size();
  Index block = 0;
  const auto fill = [&](Scalar* weight, Index rows) {
    Buffer<Scalar> storage;
    Scalar* from = storage.reserve(rows * size);
    for (Index gate = 0; gate < cell_->gates(); ++gate, ++block) {
      orthogonal(from, rows, size, Scalar(1), seed, static_cast<std::uint32_t>(layer_ + (block << kBlockShift)));
      for (Index row = 0; row < rows; ++row)
        std::copy_n(from + row * size, size, weight + row * columns() + gate * size);
    }
  };
  fill(parameters, inputs_);
  fill(parameters + recurrent_offset(), size);
  cell_->initialize_bias(parameters + bias_offset());
}

template <typename Scalar>
void Recurrence<Scalar>::reserve(Index capacity, RecurrenceMemory<Scalar>& memory) const {
  memory.outputs.reserve(capacity * output_size());
  memory.rest.reserve(capacity * (state_size() - output_size()));
  memory.before.reserve(capacity * state_size());
  memory.gates.reserve(capacity * cell_->kParts * output_size());
}

/// The number of chunks of sequences, given the multiply-adds of one.
template <typename Scalar>
Index Recurrence<Scalar>::chunks_of(const Sequences<Scalar>& sequences, Index multiply_adds) const {
  return ceil_divide(sequences.count, std::max(kLeastSequences, rows_per_chunk(multiply_adds)));
}

template <typename Scalar>
void Recurrence<Scalar>::state_after(const Sequences<Scalar>& sequences, Index row,
                                     const RecurrenceMemory<Scalar>& memory, Scalar* to) const {
  const Index size = output_size();
  const Index rest = state_size() - size;
  if (sequences.held[row]) {
    std::copy_n(memory.before.data() + row * state_size(), state_size(), to);
  } else {
    std::copy_n(memory.outputs.data() + row * size, size, to);
    std::copy_n(memory.rest.data() + row * rest, rest, to + size);
  }
}

/// The weights for a product with `rows` rows. If these pay for it, W and U are copied to a better stride: at a stride
/// of all columns, their rows often compete for the same cache sets.
template <typename Scalar>
auto Recurrence<Scalar>::weights_for(const Scalar* parameters, Index rows, RecurrenceMemory<Scalar>& memory) const
    -> Weights {
  const Scalar* bias = parameters + bias_offset();
  if (rows < kPackedRows) return {parameters, parameters + recurrent_offset(), columns(), bias};
  const Index ld = packed_stride<Scalar>(columns());
  const Index weight_rows = inputs_ + output_size();  // W and U are adjacent
  Scalar* packed = memory.packed.reserve(weight_rows * ld);
  for (Index r = 0; r < weight_rows; ++r) std::copy_n(parameters + r * columns(), columns(), packed + r * ld);
  return {packed, packed + inputs_ * ld, ld, bias};
}

/// Sets the linear parts of rows [row, row + rows) to their bias and the product of the inputs.
template <typename Scalar>
void Recurrence<Scalar>::input_parts(const Weights& weights, const Source<Scalar>& source, Index row, Index rows,
                                     RecurrenceMemory<Scalar>& memory) const {
  thread_local Buffer<Scalar> scratch;
  const Index parts = cell_->kParts * output_size();
  const Scalar* x = source.rows(row, rows, inputs_, scratch);
  Scalar* linear = memory.gates.data() + row * parts;
  for (Index i = 0; i < rows; ++i) std::copy_n(weights.bias, parts, linear + i * parts);
  multiply_add<Scalar>(
      rows, columns(), inputs_, [=, this](Index i) { return x + i * inputs_; }, Contiguous{}, weights.input, weights.ld,
      [=](Index i) { return linear + i * parts; });
}

/// Computes rows [row, row + rows) of one step, whose linear parts hold those of the inputs.
template <typename Scalar>
void Recurrence<Scalar>::step(const Weights& weights, const Sequences<Scalar>& sequences, Index row, Index rows,
                              RecurrenceMemory<Scalar>& memory) const {
  const Index size = output_size();
  const Index states = state_size();
  const Index parts = cell_->kParts * size;
  Scalar* before = memory.before.data() + row * states;
  for (Index i = row; i < row + rows; ++i) {
    Scalar* to = memory.before.data() + i * states;
    if (sequences.starts[i])
      std::fill_n(to, states, Scalar(0));
    else if (i < sequences.count)
      std::copy_n(sequences.state + i * sequences.state_ld, states, to);
    else
      state_after(sequences, i - sequences.count, memory, to);
  }
  Scalar* linear = memory.gates.data() + row * parts;
  for (const auto& [weight, column, count] : recurrent_columns_)
    multiply_add<Scalar>(
        rows, count, size, [=](Index i) { return before + i * states; }, Contiguous{}, weights.recurrent + weight,
        weights.ld, [=, first = linear + column](Index i) { return first + i * parts; });
  cell_->forward(linear, before, rows, memory.outputs.data() + row * size, memory.rest.data() + row * (states - size));
}

template <typename Scalar>
void Recurrence<Scalar>::forward(const Scalar* parameters, const Source<Scalar>& source,
                                 const Sequences<Scalar>& sequences, Index first_row, Index rows,
                                 RecurrenceMemory<Scalar>& memory) const {
  const Index steps = rows / sequences.count;
  const bool one_step = steps == 1;  // is worth waking the threads once, not twice
  const Weights w = weights_for(parameters, rows, memory);
  if (!one_step) {
    const Index chunk_rows = std::max(kLeastProductRows, rows_per_chunk(inputs_ * columns()));
    for_each_chunk(rows, chunk_rows, [&](Index begin, Index end) {
      for (Index row = begin; row < end; row += kDenseBlockRows)
        input_parts(w, source, first_row + row, std::min(kDenseBlockRows, end - row), memory);
    });
  }
  const Index chunks = chunks_of(sequences, (steps * output_size() + (one_step ? inputs_ : 0)) * columns());
  parallel_for(chunks, [&](Index chunk) {
    const Index begin = chunk * sequences.count / chunks;
    const Index count = (chunk + 1) * sequences.count / chunks - begin;
    for (Index t = 0; t < steps; ++t) {
      const Index row = first_row + t * sequences.count + begin;
      if (one_step) input_parts(w, source, row, count, memory);
      step(w, sequences, row, count, memory);
    }
  });
}

template class Recurrence<float>;
template class Recurrence<double>;

}  // namespace pgfast
