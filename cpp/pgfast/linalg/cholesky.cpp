#include "pgfast/linalg/cholesky.hpp"

#include <algorithm>
#include <type_traits>

#include <Eigen/Cholesky>

#include "pgfast/base/simd.hpp"
#include "pgfast/base/thread_pool.hpp"
#include "pgfast/linalg/gemm.hpp"

namespace pgfast {
namespace {

constexpr Index kPanel = 128;        // most columns that are factored at a time
constexpr Index kChunk = 64;         // rows below a panel that one task solves for
constexpr Index kTile = 2 * kChunk;  // rows of the trailing matrix that one task updates, kChunk columns wide
constexpr Index kCheckBlock = 64;    // rows and columns compared with their transpose at a time

/// Number of columns factored at a time. Diagonal blocks are factored on one thread, outside the matrix products. In a
/// small matrix they would be a large part of the work, so its panels are narrower.
constexpr Index panel_of(Index n) { return n < 1024 ? kPanel / 2 : kPanel; }

/// Distance between the rows of a transposed chunk.
template <typename Scalar>
constexpr Index kStride = packed_stride<Scalar>(kChunk);

/// Solves for the panel below a factored diagonal block L: columns [k, k + width) of the rows below it become A L^-T.
/// Writes their negative transpose to `chunks`: [width, kChunk] for every kChunk rows, with leading dimension kStride.
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

/// A <- A - (panel)(panel)' in the rows and columns from `begin` on, by tiles of the lower triangle.
template <typename Scalar>
void update_trailing(Index n, Scalar* a, Index begin, Index width, const Scalar* chunks) {
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

/// X [n, width] <- (LL')^-1 X, with leading dimension kStride, from L and L' in the two triangles of `l`.
template <typename Scalar>
void solve_chunk(Index n, const Scalar* l, Index width, Scalar* x) {
  using View = Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>>;
  const auto solve_block = [=](Index k, Index height, auto triangle) {
    const Eigen::Map<const Matrix<Scalar>, 0, Eigen::OuterStride<>> corner(l + k * n + k, height, height,
                                                                           Eigen::OuterStride<>(n));
    View block(x + k * kStride<Scalar>, height, width, Eigen::OuterStride<>(kStride<Scalar>));
    corner.template triangularView<decltype(triangle)::value>().solveInPlace(block);
    block = -block;  // an operand of the products below
  };
  for (Index k = 0; k < n; k += kChunk) {  // L Y = X
    const Index height = std::min(kChunk, n - k);
    multiply_add<Scalar>(
        height, width, k, [=](Index i) { return l + (k + i) * n; }, Contiguous{}, x, kStride<Scalar>,
        [=](Index i) { return x + (k + i) * kStride<Scalar>; });
    solve_block(k, height, std::integral_constant<unsigned, Eigen::Lower>{});
  }
  // L'Z = Y, of which -Y is there, plus L'Z of the blocks below.
  for (Index k = (n - 1) / kChunk * kChunk; k >= 0; k -= kChunk) {
    const Index height = std::min(kChunk, n - k);
    const Index end = k + height;
    multiply_add<Scalar>(
        height, width, n - end, [=](Index i) { return l + (k + i) * n + end; }, Contiguous{}, x + end * kStride<Scalar>,
        kStride<Scalar>, [=](Index i) { return x + (k + i) * kStride<Scalar>; });
    solve_block(k, height, std::integral_constant<unsigned, Eigen::Upper>{});
  }
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

/// Accumulates the differences between blocks of a matrix and their mirror images, a vector at a time.
template <typename Scalar>
class SymmetryCheck {
 public:
  /// Adds the block `below` [m, n] of a matrix with leading dimension `ld` and its mirror image `above` [n, m].
  void compare(const Scalar* below, const Scalar* above, Index m, Index n, Index ld) {
    transpose(above, n, m, ld, mirrored_);
    const Index whole = n / lanes * lanes;
    for (Index i = 0; i < m; ++i) {
      const Scalar* left = below + i * ld;
      const Scalar* right = mirrored_ + i * n;
      for (Index j = 0; j < whole; j += lanes) take(load(left + j), load(right + j));
      if (whole < n) take(load_some(left + whole, n - whole), load_some(right + whole, n - whole));
    }
  }

  Symmetry result() const {
    Symmetry all{true, 0, 0};
    for (int lane = 0; lane < lanes; ++lane) {
      all.finite = all.finite && zero_[lane] == Scalar(0);
      all.largest = std::max(all.largest, static_cast<double>(largest_[lane]));
      all.difference = std::max(all.difference, static_cast<double>(difference_[lane]));
    }
    return all;
  }

 private:
  using Pack = Vector<Scalar>;
  static constexpr int lanes = kLanes<Scalar>;

  static Pack larger(Pack a, Pack b) { return a > b ? a : b; }

  void take(Pack left, Pack right) {
    zero_ += Scalar(0) * left + Scalar(0) * right;  // NaN once an entry is not finite
    largest_ = larger(larger(left, -left), larger(larger(right, -right), largest_));
    const Pack difference = left - right;
    difference_ = larger(larger(difference, -difference), difference_);
  }

  Pack zero_{};
  Pack largest_{};
  Pack difference_{};
  Scalar mirrored_[kCheckBlock * kCheckBlock];
};

}  // namespace

template <typename Scalar>
bool cholesky_factor(Index n, Scalar* a) {
  const Index panel = panel_of(n);
  Matrix<Scalar> block(panel, panel);
  Buffer<Scalar> storage;
  Scalar* chunks = storage.reserve(ceil_divide(n, kChunk) * kPanel * kStride<Scalar>);
  for (Index k = 0; k < n; k += panel) {
    const Index width = std::min(panel, n - k);
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
    update_trailing(n, a, k + width, width, chunks);
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
void mirror_lower(Index n, Scalar* a) {
  const Index blocks = ceil_divide(n, kCheckBlock);
  parallel_for(blocks, [&](Index block) {
    const Index first = block * kCheckBlock;
    const Index rows = std::min(kCheckBlock, n - first);
    for (Index i0 = 0; i0 < first; i0 += kCheckBlock)
      for (Index i = i0; i < i0 + kCheckBlock; ++i)
        for (Index j = 0; j < rows; ++j) a[i * n + first + j] = a[(first + j) * n + i];
    for (Index i = first; i < first + rows; ++i)
      for (Index j = first; j < i; ++j) a[j * n + i] = a[i * n + j];
  });
}

template <typename Scalar>
void cholesky_solve_columns(Index n, const Scalar* l, Index columns, Scalar* x) {
  parallel_for(ceil_divide(columns, kChunk), [&](Index number) {
    thread_local Buffer<Scalar> storage;
    const Index first = number * kChunk;
    const Index width = std::min(kChunk, columns - first);
    // A copy whose rows do not compete for the cache.
    Scalar* const rows = storage.reserve(n * kStride<Scalar>);
    for (Index i = 0; i < n; ++i) std::copy_n(x + i * columns + first, width, rows + i * kStride<Scalar>);
    solve_chunk(n, l, width, rows);
    for (Index i = 0; i < n; ++i) std::copy_n(rows + i * kStride<Scalar>, width, x + i * columns + first);
  });
}

template <typename Scalar>
void cholesky_solve_rows(Index n, const Scalar* l, Index rows, Scalar* x) {
  parallel_for(ceil_divide(rows, kChunk), [&](Index number) {
    thread_local Buffer<Scalar> storage;
    Scalar* const from = x + number * kChunk * n;
    const Index width = std::min(kChunk, rows - number * kChunk);
    Scalar* const transposed = storage.reserve(n * kStride<Scalar>);
    for (Index i = 0; i < width; ++i)
      for (Index j = 0; j < n; ++j) transposed[j * kStride<Scalar> + i] = from[i * n + j];
    solve_chunk(n, l, width, transposed);
    for (Index i = 0; i < width; ++i)
      for (Index j = 0; j < n; ++j) from[i * n + j] = transposed[j * kStride<Scalar> + i];
  });
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
  std::vector<Symmetry> parts(static_cast<std::size_t>(blocks));
  parallel_for(blocks, [&](Index block) {
    const Index i0 = block * kCheckBlock;
    const Index rows = std::min(kCheckBlock, n - i0);
    SymmetryCheck<Scalar> check;
    for (Index j0 = 0; j0 <= i0; j0 += kCheckBlock)
      check.compare(a + i0 * n + j0, a + j0 * n + i0, rows, std::min(kCheckBlock, n - j0), n);
    parts[static_cast<std::size_t>(block)] = check.result();
  });
  Symmetry all = parts[0];
  for (const Symmetry& part : parts) {
    all.finite = all.finite && part.finite;
    all.largest = std::max(all.largest, part.largest);
    all.difference = std::max(all.difference, part.difference);
  }
  return all;
}

template <typename Scalar>
Asymmetry worst_asymmetry(Index n, const Scalar* a) {
  Asymmetry worst{0, 0, 0};
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < i; ++j) {
      const double difference = std::abs(static_cast<double>(a[i * n + j]) - static_cast<double>(a[j * n + i]));
      if (difference > worst.difference) worst = {difference, i, j};
    }
  }
  return worst;
}

template bool cholesky_factor(Index, float*);
template bool cholesky_factor(Index, double*);
template void cholesky_solve(Index, const float*, double*);
template void cholesky_solve(Index, const double*, double*);
template void mirror_lower(Index, float*);
template void mirror_lower(Index, double*);
template void cholesky_solve_rows(Index, const float*, Index, float*);
template void cholesky_solve_rows(Index, const double*, Index, double*);
template void cholesky_solve_columns(Index, const float*, Index, float*);
template void cholesky_solve_columns(Index, const double*, Index, double*);
template SolveStatus solve_damped(Index, const float*, const float*, double, float*);
template SolveStatus solve_damped(Index, const double*, const double*, double, double*);
template Symmetry symmetry_of(Index, const float*);
template Symmetry symmetry_of(Index, const double*);
template Asymmetry worst_asymmetry(Index, const float*);
template Asymmetry worst_asymmetry(Index, const double*);

}  // namespace pgfast
