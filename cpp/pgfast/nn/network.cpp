#include "pgfast/nn/network.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/nn/chunks.hpp"
#include "pgfast/nn/conv2d.hpp"
#include "pgfast/nn/dense.hpp"
#include "pgfast/nn/initialization.hpp"

namespace pgfast {
namespace {

// Far above the sizes of any policy, and far below those at which 32-bit offsets or products of sizes overflow.
constexpr Index kMaxOutputs = Index{1} << 26;
constexpr Index kMaxParameters = Index{1} << 32;
// Columns and rows of a split layer's output per task.
constexpr Index kForwardColumns = 64;
constexpr Index kForwardRows = 96;

template <typename Scalar>
std::unique_ptr<Layer<Scalar>> make_layer(const LayerSpec& spec, Index inputs, const ConvolutionShape& image) {
  if (spec.kind == LayerSpec::Kind::dense)
    return std::make_unique<Dense<Scalar>>(inputs, spec.outputs, spec.activation);
  return std::make_unique<Conv2d<Scalar>>(image, spec.activation);
}

}  // namespace

template <typename Scalar>
Network<Scalar>::Network(std::vector<Index> input_shape, const std::vector<LayerSpec>& specs)
    : input_shape_(std::move(input_shape)) {
  if (specs.empty()) throw std::invalid_argument("a network needs at least one layer");
  Index size = 1;
  for (const Index extent : input_shape_) {
    if (extent < 1 || extent > kMaxOutputs / size)
      throw std::invalid_argument("input sizes must be at least 1, and their product at most " +
                                  std::to_string(kMaxOutputs));
    size *= extent;
  }
  ConvolutionShape image{0, 0, 0, ImageLayout::channels_first, 0, 1, 1};
  bool is_image = input_shape_.size() == 3;
  if (is_image) {
    image.channels = input_shape_[0];
    image.height = input_shape_[1];
    image.width = input_shape_[2];
  }
  for (const LayerSpec& spec : specs) {
    const std::string name = std::to_string(layers_.size());
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
    layers_.push_back(make_layer<Scalar>(spec, size, image));
    size = layers_.back()->output_size();
    is_image = is_image && spec.kind == LayerSpec::Kind::conv2d;
    image = {image.filters, image.output_height(), image.output_width(), ImageLayout::channels_last, 0, 1, 1};

    const Layer<Scalar>& layer = *layers_.back();
    for (ParameterBlock block : layer.layout()) {
      block.name = (spec.kind == LayerSpec::Kind::conv2d ? "conv" : "dense") + name + "." + block.name;
      block.offset += parameter_count_;
      layout_.push_back(block);
    }
    offsets_.push_back(parameter_count_);
    parameter_count_ += layer.parameter_count();
    if (size > kMaxOutputs || parameter_count_ > kMaxParameters)
      throw std::invalid_argument("layer " + name + " is too large: " + std::to_string(parameter_count_) +
                                  " parameters so far and " + std::to_string(size) + " outputs");
  }
  offsets_.push_back(parameter_count_);

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
Index Network<Scalar>::multiply_adds() const {
  Index sum = 0;
  for (const auto& layer : layers_) sum += layer->multiply_adds();
  return sum;
}

template <typename Scalar>
void Network<Scalar>::initialize(Scalar* parameters, std::uint64_t seed, Scalar hidden_gain, Scalar output_gain) const {
  for (Index i = 0; i < layer_count(); ++i) {
    const Layer<Scalar>& layer = *layers_[i];
    Scalar* weight = parameters + offsets_[i];
    orthogonal(weight, layer.weight_size() / layer.bias_size(), layer.bias_size(),
               i + 1 == layer_count() ? output_gain : hidden_gain, seed, static_cast<std::uint32_t>(i));
    std::fill_n(weight + layer.weight_size(), layer.bias_size(), Scalar(0));
  }
}

/// Rows [row, row + rows) of `x` as scalars: `x` itself, or the bytes converted into `scratch`.
template <typename Scalar>
const Scalar* Network<Scalar>::input_rows(Inputs x, Index row, Index rows, Buffer<Scalar>& scratch) const {
  const Index first = row * input_size();
  if (!x.bytes) return static_cast<const Scalar*>(x.data) + first;
  const std::uint8_t* bytes = static_cast<const std::uint8_t*>(x.data) + first;
  const Index size = rows * input_size();
  Scalar* values = scratch.reserve(size);
  constexpr Scalar scale = Scalar(1) / Scalar(255);
  for (Index i = 0; i < size; ++i) values[i] = static_cast<Scalar>(bytes[i]) * scale;
  return values;
}

template <typename Scalar>
const Scalar* Network<Scalar>::segment_input(const Segment& segment, Index row, Index rows, Tape<Scalar>& tape) const {
  if (segment.first == 0) {
    thread_local Buffer<Scalar> scratch;
    return input_rows(tape.inputs_, row, rows, scratch);
  }
  return tape.outputs_[segment.first - 1].data() + row * layers_[segment.first]->input_size();
}

template <typename Scalar>
void Network<Scalar>::forward(const Scalar* parameters, Index first_row, Index rows, Tape<Scalar>& tape) const {
  for (const Segment& segment : segments_) {
    if (segment.split_columns)
      forward_columns(segment, parameters, first_row, rows, tape);
    else
      forward_rows(segment, parameters, first_row, rows, tape);
  }
}

template <typename Scalar>
void Network<Scalar>::forward_rows(const Segment& segment, const Scalar* parameters, Index first_row, Index rows,
                                   Tape<Scalar>& tape) const {
  const Index step = std::min(segment.block_rows, segment.chunk_rows);
  parallel_for(ceil_divide(rows, segment.chunk_rows), [&](Index chunk) {
    const Index end = std::min(rows, (chunk + 1) * segment.chunk_rows);
    for (Index row = chunk * segment.chunk_rows; row < end; row += step) {
      const Index count = std::min(step, end - row);
      const Scalar* from = segment_input(segment, first_row + row, count, tape);
      for (Index i = segment.first; i < segment.last; ++i) {
        Scalar* to = tape.outputs_[i].data() + (first_row + row) * layers_[i]->output_size();
        layers_[i]->forward(parameters + offsets_[i], from, count, to);
        from = to;
      }
    }
  });
}

template <typename Scalar>
void Network<Scalar>::forward_columns(const Segment& segment, const Scalar* parameters, Index first_row, Index rows,
                                      Tape<Scalar>& tape) const {
  const auto& layer = static_cast<const Dense<Scalar>&>(*layers_[segment.first]);
  const Index outputs = layer.output_size();
  thread_local Buffer<Scalar> scratch;
  const Scalar* from = segment.first == 0 ? input_rows(tape.inputs_, first_row, rows, scratch)
                                          : tape.outputs_[segment.first - 1].data() + first_row * layer.input_size();
  Scalar* to = tape.outputs_[segment.first].data() + first_row * outputs;
  const Index column_tasks = ceil_divide(outputs, kForwardColumns);
  parallel_for(column_tasks * ceil_divide(rows, kForwardRows), [&](Index task) {
    const Index row = task / column_tasks * kForwardRows;
    const Index column = task % column_tasks * kForwardColumns;
    layer.forward_columns(parameters + offsets_[segment.first], from + row * layer.input_size(),
                          std::min(kForwardRows, rows - row), column, std::min(outputs, column + kForwardColumns),
                          to + row * outputs);
  });
}

template class Network<float>;
template class Network<double>;

}  // namespace pgfast
