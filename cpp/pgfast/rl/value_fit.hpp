// The fit of a value network to returns.
#pragma once

#include <cstdint>
#include <span>

#include "pgfast/base/types.hpp"
#include "pgfast/nn/tape.hpp"

namespace pgfast {

/// gradient [parameter_count] = d / d parameters of the sum of (V(x[i]) - returns[i])^2 / count over the rows i of
/// `index`; 0 if there are none. The network has one output. The tape holds at least as many rows and takes copies of
/// those of x, which are of the kind of its inputs.
template <typename Scalar>
void squared_error_gradient(const Scalar* parameters, Inputs x, const Scalar* returns,
                            std::span<const std::int64_t> index, Index count, Tape<Scalar>& tape, Scalar* gradient);

}  // namespace pgfast
