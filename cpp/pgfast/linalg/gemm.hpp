// Matrix products for small networks: C[i, j] += sum over r of A[i, r] B[r, j], with A addressed by one pointer per row
// and one offset per r.
//
// Eigen's product packs both operands on every call. With 8 to 320 rows against a weight matrix, and with the patches
// of a convolution, packing costs as much as the arithmetic, so these loops read both operands in place. The
// pointer-and-offset form of A covers a dense layer, its transpose, a convolution without im2col, and the weight
// gradient of either.
//
// Every element of C is one chain of multiply-adds in the order of r (in blocks of kDepthBlock), whatever the number
// of rows. The bits of a row therefore depend neither on its batch nor on how the batch is split among threads.
#pragma once

#include <algorithm>
#include <cstring>

#include "pgfast/base/simd.hpp"
#include "pgfast/base/types.hpp"

#if defined(__clang__)
#define PGFAST_ONE_COPY [[gnu::noinline]]
#else
#define PGFAST_ONE_COPY [[gnu::noinline, gnu::noclone]]
#endif

namespace pgfast {

/// Offsets r * stride.
struct Stride {
  Index stride;
  Index operator[](Index r) const { return r * stride; }
};

/// Offsets r, for contiguous rows.
struct Contiguous {
  Index operator[](Index r) const { return r; }
};

/// Offsets from a table: the positions or the taps of a convolution.
struct Table {
  const std::int32_t* offsets;
  Index operator[](Index r) const { return offsets[r]; }
};

inline constexpr Index kDepthBlock = 256;  // a panel of 256 x 2 vectors of B stays in the first-level cache

namespace gemm_detail {

inline constexpr Index kPrefetchRows = 24;  // far enough ahead to hide the latency of the last-level cache

/// Most rows of a tile of `Vectors` vectors: at least twelve chains of multiply-adds, which hide their latency.
template <int Vectors>
inline constexpr int kRows = Vectors == 4 && kVectorRegisters == 32 ? 6 : 12 / Vectors;
inline constexpr int kMaxRows = kRows<1>;

/// Rows of A, each by its own pointer.
template <typename Scalar, int Rows>
struct Separate {
  const Scalar* row[Rows];
  explicit Separate(const Scalar* const* a) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) row[i] = a[i];
  }
  struct At {
    Index first;
  };
  At at(Index offset) const { return {offset}; }
  Scalar operator()(int i, At at) const { return row[i][at.first]; }
};

/// Rows of A in pairs of the same distance, which need half as many general registers: with one pointer each, twelve
/// rows do not fit the sixteen of x86, and a tile of one vector would spend its time on reloading pointers.
template <typename Scalar, int Rows>
struct Paired {
  const Scalar* row[Rows / 2];
  Index distance;
  explicit Paired(const Scalar* const* a) : distance(a[1] - a[0]) {
    for (Index i = 0; i < Rows / 2; ++i) row[i] = a[2 * i];
  }
  struct At {
    Index first;
    Index second;
  };
  At at(Index offset) const { return {offset, offset + distance}; }
  Scalar operator()(int i, At at) const { return row[i / 2][i % 2 == 0 ? at.first : at.second]; }

  static bool fits(const Scalar* const* a) {
    bool equal = true;
    for (int i = 2; i < Rows; i += 2) equal &= a[i + 1] - a[i] == a[1] - a[0];
    return equal;
  }
};

/// One register tile: Rows rows of C by Vectors vectors, added to C row by row (rows of C may overlap).
/// Only the first `columns` lanes of the last vector are stored; the others are padding.
template <typename Scalar, int Rows, int Vectors, typename RowsOfA, typename Offsets>
inline void tile(RowsOfA a, Offsets offset, Index begin, Index end, const Scalar* b, Index ldb, Scalar* const* c,
                 int columns) {
  using Pack = Vector<Scalar>;
  constexpr int lanes = kLanes<Scalar>;
  Pack accumulator[Rows][Vectors] = {};
  for (int i = 0; i < Rows; ++i) __builtin_prefetch(c[i], 1);
  for (Index r = begin; r < end; ++r, b += ldb) {
    const auto at = a.at(offset[r]);
    // Each row of a column panel of a large matrix is on another cache line, often on another page, where the hardware
    // prefetcher does not follow.
    __builtin_prefetch(b + kPrefetchRows * ldb);
    Pack weights[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) weights[v] = load(b + v * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Scalar x = a(i, at);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) accumulator[i][v] += x * weights[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      Scalar* to = c[i] + v * lanes;
      if (v + 1 < Vectors || columns == lanes) {
        store(to, load(to) + accumulator[i][v]);
      } else {
        Scalar values[lanes];
        store(values, accumulator[i][v]);
        for (int j = 0; j < columns; ++j) to[j] += values[j];
      }
    }
  }
}

/// Many rows of one vector: as pairs of equal distance, or as two tiles. One copy of the code serves every translation
/// unit: GCC would clone it into each, which makes a module 6 to 9 % larger.
template <typename Scalar, int Rows, typename Offsets>
PGFAST_ONE_COPY void tall_tile(const Scalar* const* a, Offsets offset, Index begin, Index end, const Scalar* b,
                               Index ldb, Scalar* const* c, int columns) {
  if (Rows % 2 == 0 && Paired<Scalar, Rows>::fits(a)) {
    tile<Scalar, Rows, 1>(Paired<Scalar, Rows>(a), offset, begin, end, b, ldb, c, columns);
  } else {
    tile<Scalar, 6, 1>(Separate<Scalar, 6>(a), offset, begin, end, b, ldb, c, columns);
    tile<Scalar, Rows - 6, 1>(Separate<Scalar, Rows - 6>(a + 6), offset, begin, end, b, ldb, c + 6, columns);
  }
}

/// Calls the tile of the given number of rows.
template <typename Scalar, int Vectors, int Rows = kRows<Vectors>, typename Offsets>
void tile_rows(int rows, const Scalar* const* a, Offsets offset, Index begin, Index end, const Scalar* b, Index ldb,
               Scalar* const* c, int columns) {
  if constexpr (Rows > 1)
    if (rows < Rows) return tile_rows<Scalar, Vectors, Rows - 1>(rows, a, offset, begin, end, b, ldb, c, columns);
  if constexpr (Vectors == 1 && Rows > 6)
    tall_tile<Scalar, Rows>(a, offset, begin, end, b, ldb, c, columns);
  else
    tile<Scalar, Rows, Vectors>(Separate<Scalar, Rows>(a), offset, begin, end, b, ldb, c, columns);
}

/// to [depth, kLanes] = the first `columns` of b [depth, ldb], padded with zeros.
template <typename Scalar, int Columns = kLanes<Scalar> - 1>
void pad(Index columns, Index depth, const Scalar* b, Index ldb, Scalar* to) {
  if constexpr (Columns > 1)
    if (columns < Columns) return pad<Scalar, Columns - 1>(columns, depth, b, ldb, to);
  for (Index r = 0; r < depth; ++r, to += kLanes<Scalar>) {
    store(to, Vector<Scalar>{});
    std::memcpy(to, b + r * ldb, Columns * sizeof(Scalar));
  }
}

/// Multiplies all rows by one panel of `Vectors` vectors of B, in tiles of nearly equal height: pairs of rows if
/// `Vectors` is 1.
template <typename Scalar, int Vectors, typename RowOfA, typename Offsets, typename RowOfC>
void panel(Index m, RowOfA row_of_a, Offsets offset, Index begin, Index end, const Scalar* b, Index ldb,
           RowOfC row_of_c, Index column, int columns) {
  constexpr Index unit = Vectors == 1 ? 2 : 1;
  const Index units = ceil_divide(m, unit);
  const Index tiles = ceil_divide(units, kRows<Vectors> / unit);
  const Scalar* a[kMaxRows];
  Scalar* c[kMaxRows];
  Index i = 0;
  for (Index t = 0; t < tiles; ++t) {
    const Index stop = std::min(m, (t + 1) * units / tiles * unit);
    const int rows = static_cast<int>(stop - i);
    for (int k = 0; k < rows; ++k) {
      a[k] = row_of_a(i + k);
      c[k] = row_of_c(i + k) + column;
    }
    tile_rows<Scalar, Vectors>(rows, a, offset, begin, end, b, ldb, c, columns);
    i = stop;
  }
}

}  // namespace gemm_detail

/// Scalars per cache line.
template <typename Scalar>
inline constexpr Index kLine = 64 / static_cast<Index>(sizeof(Scalar));

/// Number of rows to prefetch ahead of the one being packed: pieces of rows are too short for the hardware prefetcher.
inline constexpr Index kPackAhead = 8;

/// The leading dimension of a packed operand, at least `columns`: an odd number of whole cache lines, because the rows
/// of a block would otherwise compete for a few sets of the cache.
template <typename Scalar>
constexpr Index packed_stride(Index columns) {
  return (ceil_divide(columns, kLine<Scalar>) | 1) * kLine<Scalar>;
}

/// C[i, j] += sum_{r < depth} row_of_a(i)[offset[r]] * b[r * ldb + j] for i < m, j < n.
/// `row_of_c(i)` points at C[i, 0]; C must not overlap A or B. Does not allocate after its first call on a thread.
template <typename Scalar, typename RowOfA, typename Offsets, typename RowOfC>
void multiply_add(Index m, Index n, Index depth, RowOfA row_of_a, Offsets offset, const Scalar* b, Index ldb,
                  RowOfC row_of_c) {
  using namespace gemm_detail;
  constexpr Index lanes = kLanes<Scalar>;
  for (Index begin = 0; begin < depth; begin += kDepthBlock) {
    const Index end = std::min(depth, begin + kDepthBlock);
    const Scalar* block = b + begin * ldb;
    Index column = 0;
    if (m <= kRows<4>) {
      // Few rows leave registers free: wider panels keep enough independent chains in flight.
      for (; column + 4 * lanes <= n; column += 4 * lanes)
        panel<Scalar, 4>(m, row_of_a, offset, begin, end, block + column, ldb, row_of_c, column, lanes);
    }
    for (; column + 2 * lanes <= n; column += 2 * lanes)
      panel<Scalar, 2>(m, row_of_a, offset, begin, end, block + column, ldb, row_of_c, column, lanes);
    for (; column + lanes <= n; column += lanes)
      panel<Scalar, 1>(m, row_of_a, offset, begin, end, block + column, ldb, row_of_c, column, lanes);
    if (column < n) {
      // The last columns go through a zero-padded copy, so that they use the same vector instructions.
      alignas(kVectorBytes) Scalar padded[kDepthBlock * lanes];
      pad(n - column, end - begin, block + column, ldb, padded);
      panel<Scalar, 1>(m, row_of_a, offset, begin, end, padded, lanes, row_of_c, column, static_cast<int>(n - column));
    }
  }
}

namespace gemm_detail {

/// to[c, r] = from[r, c] for a square of four. Compilers move the numbers of such a square one by one.
inline void transpose_square(const float* from, Index ld, float* to, Index to_ld) {
  using Four = float __attribute__((vector_size(16)));
  Four row[4];
  for (int r = 0; r < 4; ++r) std::memcpy(&row[r], from + r * ld, sizeof(Four));
  const Four low_even = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  const Four low_odd = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  const Four high_even = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  const Four high_odd = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  const Four column[4] = {__builtin_shufflevector(low_even, low_odd, 0, 1, 4, 5),
                          __builtin_shufflevector(low_even, low_odd, 2, 3, 6, 7),
                          __builtin_shufflevector(high_even, high_odd, 0, 1, 4, 5),
                          __builtin_shufflevector(high_even, high_odd, 2, 3, 6, 7)};
  for (int c = 0; c < 4; ++c) std::memcpy(to + c * to_ld, &column[c], sizeof(Four));
}

inline void transpose_square(const double* from, Index ld, double* to, Index to_ld) {
  for (Index c = 0; c < 4; ++c)
    for (Index r = 0; r < 4; ++r) to[c * to_ld + r] = from[r * ld + c];
}

}  // namespace gemm_detail

/// to[c, r] = from[r, c] for a [rows, columns] matrix with leading dimension `ld`.
template <typename Scalar>
void transpose(const Scalar* from, Index rows, Index columns, Index ld, Scalar* to) {
  constexpr Index block = 16;  // a square of this many lines of both stays in the first-level cache
  constexpr Index square = 4;
  const Index whole_rows = rows / square * square;
  const Index whole_columns = columns / square * square;
  for (Index r0 = 0; r0 < whole_rows; r0 += block)
    for (Index c0 = 0; c0 < whole_columns; c0 += block)
      for (Index c = c0; c < std::min(whole_columns, c0 + block); c += square)
        for (Index r = r0; r < std::min(whole_rows, r0 + block); r += square)
          gemm_detail::transpose_square(from + r * ld + c, ld, to + c * rows + r, rows);
  for (Index r = 0; r < rows; ++r)
    for (Index c = r < whole_rows ? whole_columns : 0; c < columns; ++c) to[c * rows + r] = from[r * ld + c];
}

}  // namespace pgfast
