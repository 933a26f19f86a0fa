// Minibatches: units that are drawn into groups at random, and numbers that are normalized within groups of rows.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// order [n] = the indices of the keys [n], from the smallest key to the largest; equal keys keep their order. Keys are
/// numbers in [0, 1), best spread evenly.
void sort_keys(Index n, const double* keys, Index* order);

/// Draws n units into groups whose sizes differ by one at most: group_of [n]. The unit with the k-th smallest key, in
/// the order of `sort_keys`, falls into group k groups / n.
void draw_groups(Index n, const double* keys, Index groups, Index* group_of);

/// Sorts rows by the group of their units [rows], those of a group in the order that they have: order [rows], and the
/// end of each group therein, ends [groups].
void sort_by_group(Index rows, const std::int64_t* units, const Index* group_of, Index groups, std::int64_t* order,
                   std::int64_t* ends);

/// The numbers x[index[i]] in parts of sizes [parts], one part after the other.
template <typename Scalar>
struct Parts {
  const Scalar* x;
  const std::int64_t* index;
  const std::int64_t* sizes;
  Index parts;
};

/// The sum of each part, the smallest and the largest of its numbers, [parts] each: 0, infinity and -infinity for a
/// part of nothing, NaN for one with a NaN.
template <typename Scalar>
void part_moments(const Parts<Scalar>& parts, double* sums, double* minima, double* maxima);

/// squares [parts] = the sum of (x - mean)^2 over each part.
template <typename Scalar>
void part_squares(const Parts<Scalar>& parts, const double* means, double* squares);

/// out[index[i]] = (x - mean) / std.
template <typename Scalar>
void standardize_parts(const Parts<Scalar>& parts, const double* means, const double* stds, Scalar* out);

}  // namespace pgfast
