#include "pgfast/linalg/gram.hpp"

#include <algorithm>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/linalg/gemm.hpp"

namespace pgfast {
namespace {

constexpr Index kDepth = 128;  // terms of the sum that are added at a time: what a register tile reads of both operands
                               // stays in the first-level cache
constexpr Index kStrip = 48;   // rows of a diagonal tile that are computed as wide as their last one

/// Rows and columns of the result that one thread computes at a time; with two operands, half of the second-level
/// cache.
template <typename Scalar>
constexpr Index kTile = sizeof(Scalar) == 4 ? 256 : 192;

template <typename Scalar>
constexpr Index kStride = packed_stride<Scalar>(kTile<Scalar>);

struct Tile {
  Index row;
  Index column;
};

/// A tile on or below the diagonal by its number, those farthest from the diagonal first: the diagonal's own are half
/// the work, and even out the threads at the end.
Tile tile_of(Index number, Index tiles) {
  Index distance = tiles - 1;
  for (; number >= tiles - distance; --distance) number -= tiles - distance;
  return {number + distance, number};
}

/// gram [n, n] = sum over `depth` of panel' panel / divisor. `pack(first, count, begin, terms, to)` writes the operand
/// [terms, count] of columns first, ... to rows kStride<Scalar> apart: each is packed once for kTile^2 kDepth products.
template <typename Scalar, typename Pack>
void gram_in_tiles(Index n, Index depth, double divisor, Scalar* gram, Pack&& pack) {
  const Index tiles = ceil_divide(n, kTile<Scalar>);
  parallel_for(tiles * (tiles + 1) / 2, [&](Index number) {
    thread_local Buffer<Scalar> storage;
    Scalar* const sums = storage.reserve((kTile<Scalar> + 2 * kDepth) * kStride<Scalar>);
    Scalar* const left = sums + kTile<Scalar> * kStride<Scalar>;
    const Tile tile = tile_of(number, tiles);
    const bool on_diagonal = tile.row == tile.column;
    Scalar* const right = on_diagonal ? left : left + kDepth * kStride<Scalar>;
    const Index i0 = tile.row * kTile<Scalar>;
    const Index j0 = tile.column * kTile<Scalar>;
    const Index rows = std::min(kTile<Scalar>, n - i0);
    const Index columns = std::min(kTile<Scalar>, n - j0);
    std::fill_n(sums, rows * kStride<Scalar>, Scalar(0));
    for (Index begin = 0; begin < depth; begin += kDepth) {
      const Index terms = std::min(kDepth, depth - begin);
      pack(i0, rows, begin, terms, left);
      if (!on_diagonal) pack(j0, columns, begin, terms, right);
      const Index strip = on_diagonal ? kStrip : rows;
      for (Index first = 0; first < rows; first += strip) {
        const Index count = std::min(strip, rows - first);
        multiply_add<Scalar>(
            count, on_diagonal ? first + count : columns, terms, [=](Index i) { return left + first + i; },
            Stride{kStride<Scalar>}, right, kStride<Scalar>,
            [=](Index i) { return sums + (first + i) * kStride<Scalar>; });
      }
    }
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < (on_diagonal ? i + 1 : columns); ++j)
        gram[(i0 + i) * n + j0 + j] = static_cast<Scalar>(static_cast<double>(sums[i * kStride<Scalar> + j]) / divisor);
    for (Index j = 0; j < columns; ++j)
      for (Index i = on_diagonal ? j + 1 : 0; i < rows; ++i) gram[(j0 + j) * n + i0 + i] = gram[(i0 + i) * n + j0 + j];
  });
}

}  // namespace

template <typename Scalar>
void gram_of_columns(Index rows, Index columns, const Scalar* x, double divisor, Scalar* gram) {
  gram_in_tiles(columns, rows, divisor, gram, [=](Index first, Index count, Index begin, Index terms, Scalar* to) {
    for (Index r = 0; r < terms; ++r) {
      const Scalar* from = x + (begin + r) * columns + first;
      for (Index c = 0; c < count; c += kLine<Scalar>) __builtin_prefetch(from + kPackAhead * columns + c);
      std::copy_n(from, count, to + r * kStride<Scalar>);
    }
  });
}

template <typename Scalar>
void gram_of_rows(Index rows, Index columns, const Scalar* x, double* gram) {
  gram_in_tiles(rows, columns, 1.0, gram, [=](Index first, Index count, Index begin, Index terms, double* to) {
    for (Index i = 0; i < count; ++i)
      for (Index r = 0; r < terms; ++r)
        to[r * kStride<double> + i] = static_cast<double>(x[(first + i) * columns + begin + r]);
  });
}

template void gram_of_columns(Index, Index, const float*, double, float*);
template void gram_of_columns(Index, Index, const double*, double, double*);
template void gram_of_rows(Index, Index, const float*, double*);
template void gram_of_rows(Index, Index, const double*, double*);

}  // namespace pgfast
