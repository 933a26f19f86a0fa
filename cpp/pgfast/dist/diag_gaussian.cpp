#include "pgfast/dist/diag_gaussian.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "pgfast/dist/exponential_factor.hpp"

namespace pgfast {
namespace {

constexpr double kHalfLogTwoPi = 0.918938533204672741780;

/// exp(multiple log_std), computed once if all rows share log_std.
template <typename Scalar>
class LogStdFactors {
 public:
  LogStdFactors(const GaussianRows<Scalar>& rows, double multiple) : rows_(rows), multiple_(multiple) {
    if (!rows.shares_log_std()) return;
    shared_.reserve(static_cast<std::size_t>(rows.size));
    for (Index j = 0; j < rows.size; ++j) shared_.emplace_back(exponent(0, j));
  }

  /// x exp(multiple log_std_ij).
  double times(Index i, Index j, double x) const {
    if (!shared_.empty()) return shared_[static_cast<std::size_t>(j)].times(x);
    return ExponentialFactor(exponent(i, j)).times(x);
  }

 private:
  double exponent(Index i, Index j) const { return multiple_ * static_cast<double>(rows_.log_std_row(i)[j]); }

  GaussianRows<Scalar> rows_;
  double multiple_;
  std::vector<ExponentialFactor> shared_;
};

template <typename Scalar>
double difference(const Scalar* a, const Scalar* b, Index j) {
  return static_cast<double>(a[j]) - static_cast<double>(b[j]);
}

template <typename Scalar>
double sum_of_log_std(const GaussianRows<Scalar>& rows, Index i) {
  double sum = 0;
  for (Index j = 0; j < rows.size; ++j) sum += static_cast<double>(rows.log_std_row(i)[j]);
  return sum;
}

/// `inverse_std` holds exp(-log_std); `actions` are those of row i.
template <typename Scalar>
double row_log_prob(const GaussianRows<Scalar>& rows, const LogStdFactors<Scalar>& inverse_std, Index i,
                    const Scalar* actions) {
  double squares = 0;
  for (Index j = 0; j < rows.size; ++j) {
    const double z = inverse_std.times(i, j, difference(actions, rows.mean_row(i), j));
    squares += z * z;
  }
  // Squares that overflow outweigh any log_std, whose sum may be infinite with the opposite sign.
  if (std::isinf(squares)) return -std::numeric_limits<double>::infinity();
  return -0.5 * squares - sum_of_log_std(rows, i) - static_cast<double>(rows.size) * kHalfLogTwoPi;
}

/// e^x - 1 - x, not negative.
double exp_beyond_linear(double x) {
  return x > 700 ? std::exp(x) : std::max(std::expm1(x) - x, 0.0);  // infinity minus infinity would be NaN
}

}  // namespace

template <typename Scalar>
void diag_gaussian_log_prob(GaussianRows<Scalar> rows, const Scalar* actions, Scalar* log_prob) {
  const LogStdFactors<Scalar> inverse_std(rows, -1);
  for_each_row(rows.rows, [&](Index i) {
    log_prob[i] = static_cast<Scalar>(row_log_prob(rows, inverse_std, i, actions + i * rows.size));
  });
}

template <typename Scalar>
void diag_gaussian_entropy(GaussianRows<Scalar> rows, Scalar* entropy) {
  const double constant = static_cast<double>(rows.size) * (0.5 + kHalfLogTwoPi);
  for_each_row(rows.rows, [&](Index i) { entropy[i] = static_cast<Scalar>(sum_of_log_std(rows, i) + constant); });
}

template <typename Scalar>
void diag_gaussian_kl(GaussianRows<Scalar> rows, GaussianRows<Scalar> other, Scalar* kl) {
  const LogStdFactors<Scalar> inverse_std(other, -1);
  for_each_row(rows.rows, [&](Index i) {
    double sum = 0;
    for (Index j = 0; j < rows.size; ++j) {
      const double z = inverse_std.times(i, j, difference(rows.mean_row(i), other.mean_row(i), j));
      sum += exp_beyond_linear(2 * difference(rows.log_std_row(i), other.log_std_row(i), j)) + z * z;
    }
    kl[i] = static_cast<Scalar>(0.5 * sum);
  });
}

template <typename Scalar>
void diag_gaussian_likelihood_ratio(GaussianRows<Scalar> rows, GaussianRows<Scalar> old, const Scalar* actions,
                                    Scalar* ratio) {
  const LogStdFactors<Scalar> inverse_std(rows, -1);
  const LogStdFactors<Scalar> old_inverse_std(old, -1);
  for_each_row(rows.rows, [&](Index i) {
    const Scalar* row = actions + i * rows.size;
    ratio[i] = static_cast<Scalar>(
        likelihood_ratio(row_log_prob(rows, inverse_std, i, row), row_log_prob(old, old_inverse_std, i, row)));
  });
}

template <typename Scalar>
void diag_gaussian_mode(GaussianRows<Scalar> rows, Scalar* actions) {
  for_each_row(rows.rows, [&](Index i) { std::copy_n(rows.mean_row(i), rows.size, actions + i * rows.size); });
}

template <typename Scalar>
void diag_gaussian_sample(GaussianRows<Scalar> rows, const RowKey& key, Scalar* actions, Scalar* log_prob) {
  const LogStdFactors<Scalar> std(rows, 1);
  const LogStdFactors<Scalar> inverse_std(rows, -1);
  for_each_row(rows.rows, [&](Index i) {
    Scalar* row = actions + i * rows.size;
    for (Index j = 0; j < rows.size; j += 2) {
      const auto pair = normal_pair(key.block(i, j / 2));
      for (Index k = j; k < std::min(j + 2, rows.size); ++k)
        row[k] = static_cast<Scalar>(static_cast<double>(rows.mean_row(i)[k]) +
                                     std.times(i, k, pair[static_cast<std::size_t>(k - j)]));
    }
    log_prob[i] = static_cast<Scalar>(row_log_prob(rows, inverse_std, i, row));
  });
}

template <typename Scalar>
void diag_gaussian_gradient(GaussianRows<Scalar> rows, const Scalar* actions, const Scalar* weight_log_prob,
                            const Scalar* weight_entropy, Scalar* dmean, Index dmean_ld, Scalar* dlog_std,
                            Index dlog_std_ld) {
  const Index size = rows.size;
  const bool summed = dlog_std_ld == 0;
  const LogStdFactors<Scalar> precision(rows, -2);
  // In a sum over rows, log_std is shared and its factor is common: each chunk sums wl (a - m)^2, and we - wl last.
  const Index columns = size + 1;
  thread_local std::vector<double> scratch;
  if (summed) scratch.assign(static_cast<std::size_t>(ceil_divide(rows.rows, kRowsPerChunk) * columns), 0);
  double* partial_sums = scratch.data();
  for_each_row_chunk(rows.rows, [&](Index chunk, Index begin, Index end) {
    double* sums = summed ? partial_sums + chunk * columns : nullptr;
    for (Index i = begin; i < end; ++i) {
      const auto weight = static_cast<double>(weight_log_prob[i]);
      const double rest = (weight_entropy == nullptr ? 0 : static_cast<double>(weight_entropy[i])) - weight;
      for (Index j = 0; j < size; ++j) {
        const double distance = weight == 0 ? 0 : difference(actions + i * size, rows.mean_row(i), j);
        dmean[i * dmean_ld + j] = static_cast<Scalar>(precision.times(i, j, weight * distance));
        const double square = weight * distance * distance;
        if (sums != nullptr)
          sums[j] += square;
        else
          dlog_std[i * dlog_std_ld + j] = static_cast<Scalar>(precision.times(i, j, square) + rest);
      }
      if (sums != nullptr) sums[size] += rest;
    }
  });
  if (!summed) return;
  for (Index chunk = 1; chunk < ceil_divide(rows.rows, kRowsPerChunk); ++chunk)
    for (Index j = 0; j < columns; ++j) partial_sums[j] += partial_sums[chunk * columns + j];
  for (Index j = 0; j < size; ++j)
    dlog_std[j] = static_cast<Scalar>(precision.times(0, j, partial_sums[j]) + partial_sums[size]);
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                  \
  template void diag_gaussian_log_prob(GaussianRows<Scalar>, const Scalar*, Scalar*);                               \
  template void diag_gaussian_entropy(GaussianRows<Scalar>, Scalar*);                                               \
  template void diag_gaussian_kl(GaussianRows<Scalar>, GaussianRows<Scalar>, Scalar*);                              \
  template void diag_gaussian_likelihood_ratio(GaussianRows<Scalar>, GaussianRows<Scalar>, const Scalar*, Scalar*); \
  template void diag_gaussian_mode(GaussianRows<Scalar>, Scalar*);                                                  \
  template void diag_gaussian_sample(GaussianRows<Scalar>, const RowKey&, Scalar*, Scalar*);                        \
  template void diag_gaussian_gradient(GaussianRows<Scalar>, const Scalar*, const Scalar*, const Scalar*, Scalar*,  \
                                       Index, Scalar*, Index);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
