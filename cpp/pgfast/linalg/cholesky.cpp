#include "pgfast/linalg/cholesky.hpp"

#include <algorithm>
#include <type_traits>

#include <Eigen/Cholesky>

#include "pgfast/base/thread_pool.hpp"
#include "pgfast/linalg/gemm.hpp"

namespace pgfast {
namespace {

constexpr Index kPanel = 128;        // columns that are factored at a time
constexpr Index kChunk = 64;         // rows below them that one thread solves for at a time
constexpr Index kTile = 2 * kChunk;  // rows of what is left that one thread updates at a time, kChunk columns wide
constexpr Index kCheckBlock = 64;    // rows and columns that are compared with their transpose at a time

/// Between rows of a transposed chunk.
template <typename Scalar>
constexpr Index kStride = packed_stride<Scalar>(kChunk);

/// The panel below a factored block: rows [begin, n) of columns [k, k + width) become A L^-T of that block. Their
/// negative transpose goes to `chunks`: [width, kChunk] for each kChunk rows, kStride apart.
template <typename Scalar>
void solve_panel(Index n, Scalar* a, Index k, Index width, const Matrix<Scalar>& block, Scalar* chunks) {
  const Index begin = k + width;
  parallel_for(ceil_divide(n - begin, kChunk), [&](Index number) {
    const Index first = begin + number * kChunk;
    const Index count = std::min(kChunk, n - first);
    Scalar* chunk = chunks + number * kPanel * kStride<Scalar>;
    for (Index j = 0; j < width; ++j)
      for (Index i = 0; i < kChunk; ++i)
        chunk[j * kStride<Scalar> + i] = i < count ? a[(first + i) * n + k + j] : Scalar(0);
    Eigen::Map<Matrix<Scalar>, Eigen::AlignedMax, Eigen::OuterStride<>> rows(chunk, width, kChunk,
                                                                             Eigen::OuterStride<>(kStride<Scalar>));
    block.topLeftCorner(width, width).template triangularView<Eigen::Lower>().solveInPlace(rows);
    for (Index i = 0; i < count; ++i)
      for (Index j = 0; j < width; ++j) a[(first + i) * n + k + j] = chunk[j * kStride<Scalar> + i];
    rows = -rows;
  });
}

/// A <- A - (panel)(panel)' in the rows and columns from `begin` on, tile by tile of the lower triangle.
template <typename Scalar>
void update_rest(Index n, Scalar* a, Index begin, Index width, const Scalar* chunks) {
  const Index row_tiles = ceil_divide(n - begin, kTile);
  const Index column_tiles = ceil_divide(n - begin, kChunk);
  parallel_for(row_tiles * column_tiles, [&](Index number) {
    const Index i0 = number / column_tiles * kTile;
    const Index j0 = number % column_tiles * kChunk;
    const Index rows = std::min(kTile, n - begin - i0);
    if (j0 >= i0 + rows) return;
    Scalar* const corner = a + (begin + i0) * n + begin;
    multiply_add<Scalar>(
        rows, std::min(kChunk, n - begin - j0), width, [=](Index i) { return corner + i * n - width; }, Contiguous{},
        chunks + j0 / kChunk * kPanel * kStride<Scalar>, kStride<Scalar>, [=](Index i) { return corner + i * n + j0; });
  });
}

/// r = b - (A + damping I) x, from the lower triangle of A.
template <typename Scalar>
void damped_residual(Index n, const Scalar* a, const Scalar* b, double damping, const double* x, double* r) {
  for (Index i = 0; i < n; ++i) {
    const Scalar* row = a + i * n;
    const double diagonal = static_cast<double>(row[i]) + damping;
    r[i] = static_cast<double>(b[i]) - dot(row, x, i) - diagonal * x[i];
    for (Index j = 0; j < i; ++j) r[j] -= x[i] * static_cast<double>(row[j]);
  }
}

}  // namespace

template <typename Scalar>
bool cholesky_factor(Index n, Scalar* a) {
  Matrix<Scalar> block(kPanel, kPanel);
  Buffer<Scalar> storage;
  Scalar* chunks = storage.reserve(ceil_divide(n, kChunk) * kPanel * kStride<Scalar>);
  for (Index k = 0; k < n; k += kPanel) {
    const Index width = std::min(kPanel, n - k);
    for (Index i = 0; i < width; ++i)
      for (Index j = 0; j < width; ++j) block(i, j) = j <= i ? a[(k + i) * n + k + j] : Scalar(0);
    Eigen::Ref<Matrix<Scalar>, 0, Eigen::OuterStride<>> corner = block.topLeftCorner(width, width);
    const Eigen::LLT<Eigen::Ref<Matrix<Scalar>, 0, Eigen::OuterStride<>>> factor(corner);
    if (factor.info() != Eigen::Success) return false;
    for (Index i = 0; i < width; ++i) {
      if (!std::isfinite(block(i, i))) return false;
      for (Index j = 0; j <= i; ++j) a[(k + i) * n + k + j] = block(i, j);
    }
    if (k + width == n) break;
    solve_panel(n, a, k, width, block, chunks);
    update_rest(n, a, k + width, width, chunks);
  }
  return true;
}

template <typename Scalar>
void cholesky_solve(Index n, const Scalar* l, double* x) {
  for (Index i = 0; i < n; ++i) {
    const Scalar* row = l + i * n;
    x[i] = (x[i] - dot(row, x, i)) / static_cast<double>(row[i]);
  }
  for (Index i = n - 1; i >= 0; --i) {
    const Scalar* row = l + i * n;
    x[i] /= static_cast<double>(row[i]);
    for (Index j = 0; j < i; ++j) x[j] -= x[i] * static_cast<double>(row[j]);
  }
}

template <typename Scalar>
SolveStatus solve_damped(Index n, const Scalar* a, const Scalar* b, double damping, Scalar* x) {
  Buffer<Scalar> storage;
  Scalar* l = storage.reserve(n * n);
  for (Index i = 0; i < n; ++i) {
    std::copy_n(a + i * n, i + 1, l + i * n);
    l[i * n + i] = static_cast<Scalar>(static_cast<double>(l[i * n + i]) + damping);
  }
  if (!cholesky_factor(n, l)) return SolveStatus::not_positive_definite;
  const int steps = std::is_same_v<Scalar, float> ? 3 : 1;
  return solve_with_refinement(
      n, b, steps, [&](double* r) { cholesky_solve(n, l, r); },
      [&](const double* at, double* r) { damped_residual(n, a, b, damping, at, r); }, x);
}

template <typename Scalar>
Symmetry symmetry_of(Index n, const Scalar* a) {
  const Index blocks = ceil_divide(n, kCheckBlock);
  std::vector<Symmetry> parts(static_cast<std::size_t>(blocks), Symmetry{true, 0, 0, 0, 0});
  parallel_for(blocks, [&](Index block) {
    Symmetry& part = parts[static_cast<std::size_t>(block)];
    const Index end = std::min(n, (block + 1) * kCheckBlock);
    for (Index j0 = 0; j0 < end; j0 += kCheckBlock) {
      for (Index i = block * kCheckBlock; i < end; ++i) {
        for (Index j = j0; j < std::min(i + 1, j0 + kCheckBlock); ++j) {
          const auto below = static_cast<double>(a[i * n + j]);
          const auto above = static_cast<double>(a[j * n + i]);
          // A NaN makes the difference NaN, and so do two infinities.
          const double difference = std::abs(below - above);
          part.finite = part.finite && std::isfinite(below) && std::isfinite(above);
          part.largest = std::max({part.largest, std::abs(below), std::abs(above)});
          if (difference > part.difference) part = {part.finite, part.largest, difference, i, j};
        }
      }
    }
  });
  Symmetry all = parts[0];
  for (const Symmetry& part : parts) {
    all.finite = all.finite && part.finite;
    all.largest = std::max(all.largest, part.largest);
    if (part.difference > all.difference) all = {all.finite, all.largest, part.difference, part.row, part.column};
  }
  return all;
}

template bool cholesky_factor(Index, float*);
template bool cholesky_factor(Index, double*);
template void cholesky_solve(Index, const float*, double*);
template void cholesky_solve(Index, const double*, double*);
template SolveStatus solve_damped(Index, const float*, const float*, double, float*);
template SolveStatus solve_damped(Index, const double*, const double*, double, double*);
template Symmetry symmetry_of(Index, const float*);
template Symmetry symmetry_of(Index, const double*);

}  // namespace pgfast
