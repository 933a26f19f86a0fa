#include "pgfast/nn/chain.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/conv2d.hpp"
#include "pgfast/nn/dense.hpp"
#include "pgfast/nn/layer_norm.hpp"
#include "pgfast/nn/limits.hpp"
#include "pgfast/nn/one_hot.hpp"

namespace pgfast {
namespace {

// Columns and rows of a split layer's output per task.
constexpr Index kForwardColumns = 64;
constexpr Index kForwardRows = 96;

}  // namespace

template <typename Scalar>
Chain<Scalar>::Chain(const Leaf& leaf, const std::vector<LayerSpec>& specs, const std::string& prefix,
                     Index first_layer)
    : first_layer_(first_layer), reads_leaf_(true) {
  add_layers(leaf, specs, prefix, first_layer);
  divide_into_segments(specs);
}

template <typename Scalar>
Chain<Scalar>::Chain(Index inputs, const std::vector<LayerSpec>& specs, const std::string& prefix, Index first_layer)
    : first_layer_(first_layer), reads_leaf_(false) {
  Leaf numbers;
  numbers.shape = {inputs};
  add_layers(numbers, specs, prefix, first_layer);
  divide_into_segments(specs);
}

template <typename Scalar>
void Chain<Scalar>::add_layers(const Leaf& input, const std::vector<LayerSpec>& specs, const std::string& prefix,
                               Index first_layer) {
  if (specs.empty()) throw std::invalid_argument("a network needs at least one layer");
  Index size = input.size();
  bool is_image = input.shape.size() == 3;
  ConvolutionShape image{0, 0, 0, input.layout, 0, 1, 1};
  if (is_image) {
    const bool first = input.layout == ImageLayout::channels_first;
    image.channels = input.shape[first ? 0 : 2];
    image.height = input.shape[first ? 1 : 0];
    image.width = input.shape[first ? 2 : 1];
  }
  for (LayerSpec spec : specs) {
    const std::string name = std::to_string(first_layer + layer_count());
    if (spec.recurrent())
      throw std::invalid_argument("layer " + name + ": gru and lstm cannot stand among other layers, only as a memory");
    if (spec.kind == LayerSpec::Kind::layer_norm) spec.outputs = size;
    if (spec.outputs < 1 || spec.outputs > kMaxOutputs)
      throw std::invalid_argument("layer " + name + ": outputs must be in [1, " + std::to_string(kMaxOutputs) +
                                  "], got " + std::to_string(spec.outputs));
    if (spec.kind == LayerSpec::Kind::conv2d) {
      if (!is_image)
        throw std::invalid_argument("layer " + name +
                                    ": a convolution needs inputs of shape (channels, height, width)");
      if (spec.kernel < 1 || spec.stride < 1 || spec.kernel > std::min(image.height, image.width))
        throw std::invalid_argument("layer " + name + ": a kernel of " + std::to_string(spec.kernel) + " with stride " +
                                    std::to_string(spec.stride) + " does not fit an image of " +
                                    std::to_string(image.height) + " x " + std::to_string(image.width));
      image.filters = spec.outputs;
      image.kernel = spec.kernel;
      image.stride = spec.stride;
    }
    const bool takes_codes = layers_.empty() && !input.choices.empty();
    if (takes_codes && spec.kind != LayerSpec::Kind::dense)
      throw std::invalid_argument("layer " + name + ": one-hot inputs need a dense layer");
    const char* kind = "dense";
    if (takes_codes) {
      layers_.push_back(std::make_unique<OneHot<Scalar>>(input.choices, spec.outputs, spec.activation));
    } else if (spec.kind == LayerSpec::Kind::dense) {
      layers_.push_back(std::make_unique<Dense<Scalar>>(size, spec.outputs, spec.activation));
    } else if (spec.kind == LayerSpec::Kind::conv2d) {
      kind = "conv";
      layers_.push_back(std::make_unique<Conv2d<Scalar>>(image, spec.activation));
      image = {image.filters, image.output_height(), image.output_width(), ImageLayout::channels_last, 0, 1, 1};
    } else {
      kind = "norm";
      layers_.push_back(std::make_unique<LayerNorm<Scalar>>(size, spec.activation));
    }
    is_image = is_image && spec.kind != LayerSpec::Kind::dense;
    const Layer<Scalar>& layer = *layers_.back();
    size = layer.output_size();
    std::string block_prefix = prefix;
    block_prefix.append(kind).append(name).append(".");
    for (ParameterBlock block : layer.layout()) {
      block.name.insert(0, block_prefix);
      block.offset += parameter_count();
      layout_.push_back(block);
    }
    offsets_.push_back(parameter_count() + layer.parameter_count());
    if (size > kMaxOutputs || parameter_count() > kMaxParameters)
      throw std::invalid_argument("layer " + name + " is too large: " + std::to_string(parameter_count()) +
                                  " parameters so far and " + std::to_string(size) + " outputs");
  }
}

template <typename Scalar>
void Chain<Scalar>::divide_into_segments(const std::vector<LayerSpec>& specs) {
  for (Index i = 0; i < layer_count(); ++i) {
    const bool split = layers_[i]->splits_columns();
    if (i == 0 || split || segments_.back().split_columns) segments_.push_back({i, i, split, 1, kDenseBlockRows});
    Segment& segment = segments_.back();
    segment.last = i + 1;
    if (specs[i].kind == LayerSpec::Kind::conv2d) segment.block_rows = 1;
  }
  for (Segment& segment : segments_) {
    Index multiply_adds = 0;
    for (Index i = segment.first; i < segment.last; ++i) multiply_adds += layers_[i]->multiply_adds();
    segment.chunk_rows = rows_per_chunk(multiply_adds);
  }
}

template <typename Scalar>
Index Chain<Scalar>::multiply_adds() const {
  Index sum = 0;
  for (const auto& layer : layers_) sum += layer->multiply_adds();
  return sum;
}

template <typename Scalar>
void Chain<Scalar>::initialize(Scalar* parameters, std::uint64_t seed, Scalar gain, Scalar last_gain) const {
  for (Index i = 0; i < layer_count(); ++i)
    layers_[i]->initialize(parameters + offsets_[i], i + 1 == layer_count() ? last_gain : gain, seed,
                           static_cast<std::uint32_t>(first_layer_ + i));
}

template <typename Scalar>
void Chain<Scalar>::reserve(Index capacity, ChainMemory<Scalar>& memory) const {
  memory.outputs.resize(layer_count());
  for (Index i = 0; i < layer_count(); ++i) memory.outputs[i].reserve(capacity * layers_[i]->output_size());
}

/// Rows [row, row + rows) of the input of a segment.
template <typename Scalar>
const Scalar* Chain<Scalar>::all_inputs(const Segment& segment, const Source<Scalar>& source, Index row, Index rows,
                                        const ChainMemory<Scalar>& memory, Buffer<Scalar>& scratch) const {
  const Index size = layers_[segment.first]->input_size();
  if (segment.first == 0) return source.rows(row, rows, size, scratch);
  return memory.outputs[segment.first - 1].data() + row * size;
}

/// The same for the calling thread's block of rows.
template <typename Scalar>
const Scalar* Chain<Scalar>::segment_input(const Segment& segment, const Source<Scalar>& source, Index row, Index rows,
                                           const ChainMemory<Scalar>& memory) const {
  thread_local Buffer<Scalar> scratch;
  return all_inputs(segment, source, row, rows, memory, scratch);
}

template <typename Scalar>
void Chain<Scalar>::forward(const Scalar* parameters, const Source<Scalar>& source, Index first_row, Index rows,
                            ChainMemory<Scalar>& memory) const {
  for (const Segment& segment : segments_) {
    if (segment.split_columns)
      forward_columns(segment, parameters, source, first_row, rows, memory);
    else
      forward_rows(segment, parameters, source, first_row, rows, memory);
  }
}

template <typename Scalar>
void Chain<Scalar>::forward_rows(const Segment& segment, const Scalar* parameters, const Source<Scalar>& source,
                                 Index first_row, Index rows, ChainMemory<Scalar>& memory) const {
  const Index step = std::min(segment.block_rows, segment.chunk_rows);
  for_each_chunk(rows, segment.chunk_rows, [&](Index begin, Index end) {
    for (Index row = begin; row < end; row += step) {
      const Index count = std::min(step, end - row);
      const Scalar* from = segment_input(segment, source, first_row + row, count, memory);
      for (Index i = segment.first; i < segment.last; ++i) {
        Scalar* to = memory.outputs[i].data() + (first_row + row) * layers_[i]->output_size();
        layers_[i]->forward(parameters + offsets_[i], from, count, to);
        from = to;
      }
    }
  });
}

template <typename Scalar>
void Chain<Scalar>::forward_columns(const Segment& segment, const Scalar* parameters, const Source<Scalar>& source,
                                    Index first_row, Index rows, ChainMemory<Scalar>& memory) const {
  const auto& layer = static_cast<const Dense<Scalar>&>(*layers_[segment.first]);
  const Index outputs = layer.output_size();
  thread_local Buffer<Scalar> scratch;
  const Scalar* from = all_inputs(segment, source, first_row, rows, memory, scratch);
  Scalar* to = memory.outputs[segment.first].data() + first_row * outputs;
  const Index column_tasks = ceil_divide(outputs, kForwardColumns);
  parallel_for(column_tasks * ceil_divide(rows, kForwardRows), [&](Index task) {
    const Index row = task / column_tasks * kForwardRows;
    const Index column = task % column_tasks * kForwardColumns;
    layer.forward_columns(parameters + offsets_[segment.first], from + row * layer.input_size(),
                          std::min(kForwardRows, rows - row), column, std::min(outputs, column + kForwardColumns),
                          to + row * outputs);
  });
}

template class Chain<float>;
template class Chain<double>;

}  // namespace pgfast
