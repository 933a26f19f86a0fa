#include "pgfast/rl/minibatches.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace pgfast {
namespace {

/// Calls function(part, x, row) for every number.
template <typename Scalar, typename Function>
void for_each_number(const Parts<Scalar>& parts, Function&& function) {
  const std::int64_t* row = parts.index;
  for (Index part = 0; part < parts.parts; ++part)
    for (const std::int64_t* const end = row + parts.sizes[part]; row < end; ++row)
      function(part, static_cast<double>(parts.x[*row]), *row);
}

}  // namespace

void sort_keys(Index n, const double* keys, Index* order) {
  // Keys are spread evenly, so a bucket for each of them holds one on average.
  const auto bucket_of = [&](Index i) { return std::min(n - 1, static_cast<Index>(keys[i] * static_cast<double>(n))); };
  std::vector<Index> begins(static_cast<std::size_t>(n) + 1);
  for (Index i = 0; i < n; ++i) ++begins[static_cast<std::size_t>(bucket_of(i)) + 1];
  std::partial_sum(begins.begin(), begins.end(), begins.begin());
  std::vector<std::pair<double, Index>> sorted(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) {
    auto place = static_cast<std::size_t>(begins[static_cast<std::size_t>(bucket_of(i))]++);
    sorted[place] = {keys[i], i};
    for (; place > 0 && sorted[place] < sorted[place - 1]; --place) std::swap(sorted[place], sorted[place - 1]);
  }
  for (Index k = 0; k < n; ++k) order[k] = sorted[static_cast<std::size_t>(k)].second;
}

void draw_groups(Index n, const double* keys, Index groups, Index* group_of) {
  std::vector<Index> order(static_cast<std::size_t>(n));
  sort_keys(n, keys, order.data());
  for (Index k = 0; k < n; ++k) group_of[order[static_cast<std::size_t>(k)]] = k * groups / n;
}

void sort_by_group(Index rows, const std::int64_t* units, const Index* group_of, Index groups, std::int64_t* order,
                   std::int64_t* ends) {
  std::fill_n(ends, groups, 0);
  for (Index row = 0; row < rows; ++row) ++ends[group_of[units[row]]];
  std::partial_sum(ends, ends + groups, ends);
  for (Index row = rows - 1; row >= 0; --row) order[--ends[group_of[units[row]]]] = row;
  // Each end has become the beginning of its group, the end of the group before.
  std::copy(ends + 1, ends + groups, ends);
  ends[groups - 1] = rows;
}

template <typename Scalar>
void part_moments(const Parts<Scalar>& parts, double* sums, double* minima, double* maxima) {
  std::fill_n(sums, parts.parts, 0.0);
  std::fill_n(minima, parts.parts, std::numeric_limits<double>::infinity());
  std::fill_n(maxima, parts.parts, -std::numeric_limits<double>::infinity());
  for_each_number(parts, [&](Index part, double x, std::int64_t) {
    sums[part] += x;
    if (x < minima[part] || std::isnan(x)) minima[part] = x;  // a NaN stays: no number is below it
    if (x > maxima[part] || std::isnan(x)) maxima[part] = x;
  });
}

template <typename Scalar>
void part_squares(const Parts<Scalar>& parts, const double* means, double* squares) {
  std::fill_n(squares, parts.parts, 0.0);
  for_each_number(parts,
                  [&](Index part, double x, std::int64_t) { squares[part] += (x - means[part]) * (x - means[part]); });
}

template <typename Scalar>
void standardize_parts(const Parts<Scalar>& parts, const double* means, const double* stds, Scalar* out) {
  for_each_number(parts, [&](Index part, double x, std::int64_t row) {
    out[row] = static_cast<Scalar>((x - means[part]) / stds[part]);
  });
}

template void part_moments(const Parts<float>&, double*, double*, double*);
template void part_moments(const Parts<double>&, double*, double*, double*);
template void part_squares(const Parts<float>&, const double*, double*);
template void part_squares(const Parts<double>&, const double*, double*);
template void standardize_parts(const Parts<float>&, const double*, const double*, float*);
template void standardize_parts(const Parts<double>&, const double*, const double*, double*);

}  // namespace pgfast
