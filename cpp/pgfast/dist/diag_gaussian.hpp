// Gaussian distributions with a diagonal covariance, with means and log standard deviations as rows of a matrix.
//
// Means are [rows, size] with leading dimension `ld` (a network's output may have further columns). Everything is
// computed in double. A result is infinite if its value lies outside the range of Scalar, and never NaN for a finite
// mean, log_std and action: see ExponentialFactor.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"
#include "pgfast/dist/rows.hpp"

namespace pgfast {

template <typename Scalar>
struct GaussianRows {
  const Scalar* mean;
  Index rows;
  Index size;
  Index ld;
  const Scalar* log_std;
  Index log_std_ld;  // 0: one log_std [size] for all rows
  const Scalar* mean_row(Index i) const { return mean + i * ld; }
  const Scalar* log_std_row(Index i) const { return log_std + i * log_std_ld; }
  bool shares_log_std() const { return log_std_ld == 0; }
};

/// log_prob[i] = sum_j -z_ij^2 / 2 - log_std_ij - log(2 pi) / 2, z = (actions - mean) exp(-log_std);
/// actions [rows, size]. -inf if a z^2 is beyond the range of double, whatever the other terms.
template <typename Scalar>
void diag_gaussian_log_prob(GaussianRows<Scalar> rows, const Scalar* actions, Scalar* log_prob);

/// entropy[i] = sum_j log_std_ij + log(2 pi e) / 2.
template <typename Scalar>
void diag_gaussian_entropy(GaussianRows<Scalar> rows, Scalar* entropy);

/// kl[i] = sum_j ((expm1(x) - x) + (m_p - m_q)^2 exp(-2 log_std_q)) / 2 with x = 2 (log_std_p - log_std_q), a sum of
/// terms that are not negative; p from `rows`, q from `other`. Either may share its log_std.
template <typename Scalar>
void diag_gaussian_kl(GaussianRows<Scalar> rows, GaussianRows<Scalar> other, Scalar* kl);

/// ratio[i] = p(actions_i) / p_old(actions_i); see likelihood_ratio in rows.hpp.
template <typename Scalar>
void diag_gaussian_likelihood_ratio(GaussianRows<Scalar> rows, GaussianRows<Scalar> old, const Scalar* actions,
                                    Scalar* ratio);

/// actions [rows, size] = mean.
template <typename Scalar>
void diag_gaussian_mode(GaussianRows<Scalar> rows, Scalar* actions);

/// Number of draws that a sample takes.
constexpr Index gaussian_draws(Index size) { return ceil_divide(size, 2); }

/// actions [rows, size] = mean + exp(log_std) e: numbers 2 k and 2 k + 1 of each row use the pair of normal numbers of
/// draw k of the key. An action beyond the range of Scalar is infinite. log_prob[i] is that of the actions as written.
template <typename Scalar>
void diag_gaussian_sample(GaussianRows<Scalar> rows, const RowKey& key, Scalar* actions, Scalar* log_prob);

/// Gradient of sum_i weight_log_prob[i] log_prob_i + weight_entropy[i] entropy_i:
///   dmean_ij = wl_i (a_ij - m_ij) exp(-2 log_std_ij)                    [rows, size], leading dimension `dmean_ld`
///   dlog_std_ij = wl_i (a_ij - m_ij)^2 exp(-2 log_std_ij) - wl_i + we_i  [rows, size], leading dimension `dlog_std_ld`
/// If `dlog_std_ld` is 0, dlog_std [size] is the sum over rows, in double and in the order of chunks; log_std must then
/// be shared. `weight_entropy` may be null: all zero. Rows of weight 0 have zero gradient, whatever their action. The
/// sum requires |a - m| < 1e150: beyond that, squares of opposite weight may both be infinite.
template <typename Scalar>
void diag_gaussian_gradient(GaussianRows<Scalar> rows, const Scalar* actions, const Scalar* weight_log_prob,
                            const Scalar* weight_entropy, Scalar* dmean, Index dmean_ld, Scalar* dlog_std,
                            Index dlog_std_ld);

}  // namespace pgfast
