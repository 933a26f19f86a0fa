// Initial weights: random orthogonal matrices.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// Fills `weight` [rows, columns] with `gain` times a matrix of orthonormal columns (rows, if they are fewer),
/// drawn uniformly: Q of the QR decomposition of a normal matrix, with signs taken from R. A pure function of (rows,
/// columns, seed, layer).
template <typename Scalar>
void orthogonal(Scalar* weight, Index rows, Index columns, Scalar gain, std::uint64_t seed, std::uint32_t layer);

extern template void orthogonal(float*, Index, Index, float, std::uint64_t, std::uint32_t);
extern template void orthogonal(double*, Index, Index, double, std::uint64_t, std::uint32_t);

}  // namespace pgfast
