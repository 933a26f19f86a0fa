#include "pgfast/linalg/gram.hpp"

#include <algorithm>

#include "pgfast/base/thread_pool.hpp"

namespace pgfast {
namespace {

constexpr Index kTile = 256;   // rows and columns of the result that one thread computes at a time
constexpr Index kDepth = 256;  // terms of the sum that are added at a time: both operands stay in the cache

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

/// gram [n, n] = sum over `depth` of panel' panel / divisor. `panel(slot, first, count, begin, terms)` gives the
/// operand [terms, count] of columns first, ...; two are alive at a time, in slots 0 and 1.
template <typename Scalar, typename Panel>
void gram_in_tiles(Index n, Index depth, double divisor, Scalar* gram, Panel&& panel) {
  const Index tiles = ceil_divide(n, kTile);
  parallel_for(tiles * (tiles + 1) / 2, [&](Index number) {
    thread_local Matrix<Scalar> sums(kTile, kTile);
    const Tile tile = tile_of(number, tiles);
    const bool on_diagonal = tile.row == tile.column;
    const Index i0 = tile.row * kTile;
    const Index j0 = tile.column * kTile;
    const Index rows = std::min(kTile, n - i0);
    const Index columns = std::min(kTile, n - j0);
    auto sum = sums.topLeftCorner(rows, columns);
    sum.setZero();
    for (Index begin = 0; begin < depth; begin += kDepth) {
      const Index terms = std::min(kDepth, depth - begin);
      const auto left = panel(0, i0, rows, begin, terms);
      if (on_diagonal)
        sum.template selfadjointView<Eigen::Lower>().rankUpdate(left.transpose());
      else
        sum.noalias() += left.transpose() * panel(1, j0, columns, begin, terms);
    }
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < (on_diagonal ? i + 1 : columns); ++j)
        gram[(i0 + i) * n + j0 + j] = static_cast<Scalar>(static_cast<double>(sum(i, j)) / divisor);
    for (Index j = 0; j < columns; ++j)
      for (Index i = on_diagonal ? j + 1 : 0; i < rows; ++i) gram[(j0 + j) * n + i0 + i] = gram[(i0 + i) * n + j0 + j];
  });
}

}  // namespace

template <typename Scalar>
void gram_of_columns(Index rows, Index columns, const Scalar* x, double divisor, Scalar* gram) {
  using Panel = Eigen::Map<const Matrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;
  gram_in_tiles(columns, rows, divisor, gram, [=](int, Index first, Index count, Index begin, Index terms) {
    return Panel(x + begin * columns + first, terms, count, Eigen::OuterStride<>(columns));
  });
}

template <typename Scalar>
void gram_of_rows(Index rows, Index columns, const Scalar* x, double* gram) {
  using Panel = Eigen::Map<const Eigen::MatrixXd>;
  gram_in_tiles(rows, columns, 1.0, gram, [=](int slot, Index first, Index count, Index begin, Index terms) {
    thread_local Eigen::MatrixXd storage[2];
    Eigen::MatrixXd& panel = storage[slot];
    panel.resize(kDepth, kTile);
    for (Index i = 0; i < count; ++i) std::copy_n(x + (first + i) * columns + begin, terms, panel.data() + i * terms);
    return Panel(panel.data(), terms, count);
  });
}

template void gram_of_columns(Index, Index, const float*, double, float*);
template void gram_of_columns(Index, Index, const double*, double, double*);
template void gram_of_rows(Index, Index, const float*, double*);
template void gram_of_rows(Index, Index, const double*, double*);

}  // namespace pgfast
