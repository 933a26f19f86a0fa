#include "pgfast/linalg/gram.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

#include "pgfast/base/simd.hpp"
#include "pgfast/base/thread_pool.hpp"

namespace pgfast {
namespace {

// Terms added at a time: two panels of them stay in the first-level cache.
constexpr Index kDepth = kVectorBytes > 32 ? 64 : 128;
constexpr Index kStrip = 512;  // terms packed at a time
static_assert(kStrip % kDepth == 0);

/// The sizes that follow from the number of vectors in a row of a register tile: 3, or fewer if the whole result is
/// not wider.
template <typename Scalar, int Vectors>
struct Tiling {
  /// Columns of a packed panel, a multiple of a register tile's rows, so that one packing serves both operands.
  static constexpr Index width = Vectors * kLanes<Scalar>;
  /// Rows of a register tile. 4 x 3 accumulators, 3 vectors of one operand and 1 of the other fill 16 registers.
  static constexpr int height = Vectors == 1 ? std::min<int>(8, width) : Vectors == 2 ? 4 : width % 4 == 0 ? 4 : 3;
  /// Panels along one side of the block of the result that one task computes: 120 columns with AVX, 144 with AVX-512.
  static constexpr Index panels =
      Vectors < 3 ? 1 : (kVectorBytes > 32 ? 3 : 5) * (std::is_same_v<Scalar, float> ? 1 : 2);
  static constexpr Index side = panels * width;
  static_assert(width % height == 0);
};

/// sums[i, j] += the sum over `depth` terms of a[i] b[j], for i < height and j < width. Terms are `width` apart.
template <typename Scalar, int Vectors>
void add_products(const Scalar* a, const Scalar* b, Index depth, Scalar* sums) {
  using Tile = Tiling<Scalar, Vectors>;
  constexpr int lanes = kLanes<Scalar>;
  constexpr int height = Tile::height;
  Vector<Scalar> tile[height][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < height; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) tile[i][v] = load(sums + i * Tile::side + v * lanes);
  for (Index r = 0; r < depth; ++r, a += Tile::width, b += Tile::width) {
    Vector<Scalar> row[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + v * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < height; ++i) {
      const Scalar x = a[i];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) tile[i][v] += x * row[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < height; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) store(sums + i * Tile::side + v * lanes, tile[i][v]);
}

/// The indices of a block on or below the diagonal of the result.
struct Block {
  Index row;
  Index column;
};

/// The block with a given number. Blocks farthest from the diagonal come first: a diagonal block is half the work of
/// another, which evens out the load of the threads at the end.
Block block_of(Index number, Index blocks) {
  Index distance = blocks - 1;
  for (; number >= blocks - distance; --distance) number -= blocks - distance;
  return {number + distance, number};
}

template <int Vectors, typename Scalar, typename Pack>
void gram_in_blocks(Index n, Index depth, double divisor, Scalar* gram, const Pack& pack) {
  using Tile = Tiling<Scalar, Vectors>;
  constexpr Index width = Tile::width;
  constexpr Index side = Tile::side;
  const Index panels = ceil_divide(n, width);
  const Index blocks = ceil_divide(panels, Tile::panels);
  thread_local Buffer<Scalar> storage;
  Scalar* const packed = storage.reserve(panels * width * kStrip);
  for (Index strip = 0; strip < depth; strip += kStrip) {
    const Index terms = std::min(kStrip, depth - strip);
    parallel_for(panels, [&](Index p) {
      pack.template operator()<width>(p * width, std::min(width, n - p * width), strip, terms,
                                      packed + p * width * kStrip);
    });
    const bool is_last = strip + terms == depth;
    parallel_for(blocks * (blocks + 1) / 2, [&](Index number) {
      alignas(kVectorBytes) std::array<Scalar, side * side> sums{};
      const Block block = block_of(number, blocks);
      const Index rows = block.row * side;
      const Index columns = block.column * side;
      const Index count = std::min(side, n - rows);
      // The number of columns of row rows + i up to the diagonal.
      const auto columns_of = [&](Index i) { return std::min(side, rows + i + 1 - columns); };
      if (strip > 0)
        for (Index i = 0; i < count; ++i)
          std::copy_n(gram + (rows + i) * n + columns, columns_of(i), &sums[static_cast<std::size_t>(i * side)]);
      for (Index begin = 0; begin < terms; begin += kDepth) {
        const Index some = std::min(kDepth, terms - begin);
        for (Index q = columns; q < std::min(n, columns + side); q += width) {
          for (Index p = std::max(rows, q); p < rows + count; p += width) {
            const Scalar* a = packed + p * kStrip + begin * width;
            const Scalar* b = packed + q * kStrip + begin * width;
            Scalar* to = &sums[static_cast<std::size_t>((p - rows) * side + q - columns)];
            for (Index i = 0; i < width; i += Tile::height)
              add_products<Scalar, Vectors>(a + i, b, some, to + i * side);
          }
        }
      }
      const Scalar by = is_last ? static_cast<Scalar>(divisor) : Scalar(1);
      for (Index i = 0; i < count; ++i) {
        const Scalar* from = &sums[static_cast<std::size_t>(i * side)];
        Scalar* to = gram + (rows + i) * n + columns;
        for (Index j = 0; j < columns_of(i); ++j) to[j] = from[j] / by;
      }
      for (Index j = 0; is_last && j < std::min(side, n - columns); ++j) {
        Scalar* to = gram + (columns + j) * n + rows;
        for (Index i = std::max(Index{0}, columns + j - rows); i < count; ++i)
          to[i] = sums[static_cast<std::size_t>(i * side + j)] / by;
      }
    });
  }
}

/// gram [n, n] = X'X / divisor for an operand X [depth, n] that `pack<width>(first, count, begin, terms, to)` writes in
/// panels: columns [first, first + count) of rows [begin, begin + terms) to `to` [terms, width], padded with zeros.
template <typename Scalar, typename Pack>
void gram_in_tiles(Index n, Index depth, double divisor, Scalar* gram, const Pack& pack) {
  if (n <= kLanes<Scalar>)
    gram_in_blocks<1>(n, depth, divisor, gram, pack);
  else if (n <= 2 * kLanes<Scalar>)
    gram_in_blocks<2>(n, depth, divisor, gram, pack);
  else
    gram_in_blocks<3>(n, depth, divisor, gram, pack);
}

}  // namespace

template <typename Scalar>
void gram_of_columns(Index rows, Index columns, const Scalar* x, double divisor, Scalar* gram) {
  const auto pack = [=]<Index width>(Index first, Index count, Index begin, Index terms, Scalar* to) {
    const Scalar* from = x + begin * columns + first;
    if (count < width) std::fill_n(to, terms * width, Scalar(0));
    for (Index r = 0; r < terms; ++r, from += columns, to += width) {
      if (count == width)
        std::copy_n(from, width, to);  // of a size known at compile time
      else
        std::copy_n(from, count, to);
    }
  };
  gram_in_tiles(columns, rows, divisor, gram, pack);
}

template <typename Scalar>
void gram_of_rows(Index rows, Index columns, const Scalar* x, double* gram) {
  const auto pack = [=]<Index width>(Index first, Index count, Index begin, Index terms, double* to) {
    if (count < width) std::fill_n(to, terms * width, 0.0);
    for (Index i = 0; i < count; ++i) {
      const Scalar* from = x + (first + i) * columns + begin;
      for (Index r = 0; r < terms; ++r) to[r * width + i] = static_cast<double>(from[r]);
    }
  };
  gram_in_tiles(rows, columns, 1.0, gram, pack);
}

template void gram_of_columns(Index, Index, const float*, double, float*);
template void gram_of_columns(Index, Index, const double*, double, double*);
template void gram_of_rows(Index, Index, const float*, double*);
template void gram_of_rows(Index, Index, const double*, double*);

}  // namespace pgfast
