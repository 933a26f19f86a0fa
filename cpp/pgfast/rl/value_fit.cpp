#include "pgfast/rl/value_fit.hpp"

#include <algorithm>

#include "pgfast/nn/network.hpp"

namespace pgfast {

template <typename Scalar>
void squared_error_gradient(const Scalar* parameters, Inputs x, const Scalar* returns,
                            std::span<const std::int64_t> index, Index count, Tape<Scalar>& tape, Scalar* gradient) {
  const auto rows = static_cast<Index>(index.size());
  if (rows == 0) {
    std::fill_n(gradient, tape.network().parameter_count(), Scalar(0));
    return;
  }
  const Index row_bytes = tape.network().row_bytes(x.bytes);
  auto* const inputs = static_cast<std::uint8_t*>(tape.reserve_inputs(x.bytes, rows));
  for (Index i = 0; i < rows; ++i)
    std::copy_n(static_cast<const std::uint8_t*>(x.data) + index[i] * row_bytes, row_bytes, inputs + i * row_bytes);
  tape.record(parameters, {inputs, x.bytes}, 0, rows);
  Scalar* const doutputs = tape.output_gradients(rows);
  const auto scale = static_cast<Scalar>(2.0 / static_cast<double>(count));
  for (Index i = 0; i < rows; ++i) doutputs[i] = (tape.outputs()[i] - returns[index[i]]) * scale;
  tape.network().vjp(parameters, rows, tape, doutputs, gradient);
}

template void squared_error_gradient(const float*, Inputs, const float*, std::span<const std::int64_t>, Index,
                                     Tape<float>&, float*);
template void squared_error_gradient(const double*, Inputs, const double*, std::span<const std::int64_t>, Index,
                                     Tape<double>&, double*);

}  // namespace pgfast
