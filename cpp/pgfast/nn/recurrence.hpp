// A recurrent cell run over time, a part of a network: forward pass, vector-Jacobian and Jacobian-vector product
// through time. It holds neither parameters nor results, so many threads may use one recurrence.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/layer.hpp"
#include "pgfast/nn/leaf.hpp"
#include "pgfast/nn/memory_cell.hpp"

namespace pgfast {

/// Rows of a product with large weights per chunk, at least: four register tiles use a panel of the weights while it is
/// in the cache.
inline constexpr Index kLeastProductRows = 24;

/// What the rows of a tape mean to a recurrence: row t `count` + n is step t of sequence n.
template <typename Scalar>
struct Sequences {
  Index count = 0;
  const Scalar* state = nullptr;  // before the first step, [count, state_size]
  Index state_ld = 0;
  const bool* starts = nullptr;  // per row: the state before it is zero
  const bool* held = nullptr;    // per row: the state after it is the one before it
};

/// The results of a recurrence's forward pass for `capacity` rows, and the working memory of its products.
template <typename Scalar>
struct RecurrenceMemory {
  Buffer<Scalar> outputs;     // [capacity, size]
  Buffer<Scalar> rest;        // of the state after the row, unless it is held: [capacity, state_size - size]
  Buffer<Scalar> before;      // the state before the row [capacity, state_size]
  Buffer<Scalar> gates;       // [capacity, 4 size]
  Buffer<Scalar> packed;      // W and U at a better stride
  Buffer<Scalar> inputs;      // if the source does not hold them as scalars
  Buffer<Scalar> deltas;      // dL/d linear, or the tangents of the linear parts
  Buffer<Scalar> transposed;  // the transposed weights
};

/// Pointers to parameters and gradients are to the recurrence's part of the network's: weight W [inputs, gates size],
/// recurrent weight U [size, gates size], bias [4 size].
template <typename Scalar>
class Recurrence {
 public:
  enum class Kind { gru, lstm };

  /// The names of the blocks begin with `prefix` and `layer`, which also keys the initial weights.
  /// Throws std::invalid_argument if the cell is larger than offsets can hold.
  Recurrence(Kind kind, Index inputs, Index size, const std::string& prefix, Index layer);

  Index input_size() const { return inputs_; }
  Index output_size() const { return cell_->size(); }
  Index state_size() const { return cell_->state_size(); }
  Index parameter_count() const { return layout_.back().offset + layout_.back().size; }
  Index layer_count() const { return 1; }
  /// The blocks of the parameters, with offsets relative to the first.
  const std::vector<ParameterBlock>& layout() const { return layout_; }

  /// Each gate's block of W and of U is orthogonal (Saxe et al., 2014) with gain 1.
  void initialize(Scalar* parameters, std::uint64_t seed) const;
  void reserve(Index capacity, RecurrenceMemory<Scalar>& memory) const;

  /// Writes the outputs of rows [first_row, first_row + rows): whole steps, of which those before have been computed.
  /// An output has the same bits whether its step is computed alone or with others.
  void forward(const Scalar* parameters, const Source<Scalar>& source, const Sequences<Scalar>& sequences,
               Index first_row, Index rows, RecurrenceMemory<Scalar>& memory) const;
  /// Writes the state [state_size] after a row.
  void state_after(const Sequences<Scalar>& sequences, Index row, const RecurrenceMemory<Scalar>& memory,
                   Scalar* to) const;

  /// gradient [parameter_count] = sum over rows of dy[row] . d output[row] / d parameters; sets `dx` [rows, input_size]
  /// unless null, and `dstate` [count, state_size], with the leading dimension of the state, to the gradient with
  /// respect to the state before the first step. Requires a forward pass of rows [0, rows), which are whole steps, with
  /// the same memory, source, sequences and parameters.
  void vjp(const Scalar* parameters, const Source<Scalar>& source, const Sequences<Scalar>& sequences, Index rows,
           RecurrenceMemory<Scalar>& memory, const Scalar* dy, Scalar* gradient, Scalar* dx, Scalar* dstate) const;
  /// dy [rows, size] = d output / d parameters . tangent + d output / d input . dx (null: zero). Requires what `vjp`
  /// does.
  void jvp(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source,
           const Sequences<Scalar>& sequences, const Scalar* dx, Index rows, RecurrenceMemory<Scalar>& memory,
           Scalar* dy) const;

 private:
  struct Weights {
    const Scalar* input;      // W, leading dimension `ld`
    const Scalar* recurrent;  // U, the same
    Index ld;
    const Scalar* bias;
  };

  Index columns() const { return cell_->gates() * cell_->size(); }
  Index recurrent_offset() const { return layout_[1].offset; }
  Index bias_offset() const { return layout_[2].offset; }
  Index chunks_of(const Sequences<Scalar>& sequences, Index multiply_adds) const;
  Weights weights_for(const Scalar* parameters, Index rows, RecurrenceMemory<Scalar>& memory) const;
  void input_parts(const Weights& weights, const Source<Scalar>& source, Index row, Index rows,
                   RecurrenceMemory<Scalar>& memory) const;
  void step(const Weights& weights, const Sequences<Scalar>& sequences, Index row, Index rows,
            RecurrenceMemory<Scalar>& memory) const;
  void step_back(const Scalar* transposed, const Sequences<Scalar>& sequences, const Scalar* dy, Index row, Index rows,
                 RecurrenceMemory<Scalar>& memory, Scalar* dafter, Scalar* dbefore) const;
  void linear_tangents(const Scalar* parameters, const Scalar* tangent, const Source<Scalar>& source, const Scalar* dx,
                       Index row, Index rows, RecurrenceMemory<Scalar>& memory) const;
  void step_tangents(const Scalar* recurrent, const Sequences<Scalar>& sequences, Index row, Index rows,
                     RecurrenceMemory<Scalar>& memory, Scalar* dstate, Scalar* drest, Scalar* dy) const;
  void weight_gradients(const Scalar* x, Index rows, const RecurrenceMemory<Scalar>& memory, Scalar* gradient) const;
  void input_gradients(const Scalar* parameters, Index rows, RecurrenceMemory<Scalar>& memory, Scalar* dx) const;

  Index inputs_;
  std::unique_ptr<MemoryCell<Scalar>> cell_;
  std::vector<typename MemoryCell<Scalar>::Columns> recurrent_columns_;
  std::vector<ParameterBlock> layout_;
  Index layer_;
};

}  // namespace pgfast
