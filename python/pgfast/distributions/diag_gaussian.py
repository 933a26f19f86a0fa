"""Real actions, independent of each other."""

from __future__ import annotations

from pgfast._native import core
from pgfast._typing import FloatArray
from pgfast.distributions.distribution import Distribution

__all__ = ["DiagGaussian"]


class DiagGaussian(Distribution[FloatArray]):
    """A Gaussian with diagonal covariance for each row of ``mean`` ``[B, A]``; std = exp(log_std).

    ``log_std`` is ``[A]``, the same for all rows, or ``[B, A]``. Actions are ``[B, A]`` of the mean's dtype, finite.

    Any finite ``log_std`` will do. Everything is computed in float64 and rounded once: a result is infinite where its
    value lies outside the range of the dtype, and never NaN. So with log_std = -1e38 the log-density is +1e38 A at the
    mean and -inf anywhere else; with log_std = 1e38 it is -1e38 A everywhere. A ((a - m) / std)^2 that overflows
    float64 gives -inf, whatever the rest.
    """

    def __init__(self, mean: FloatArray, log_std: FloatArray) -> None:
        self.mean = mean
        self.log_std = log_std

    def log_prob(self, actions: FloatArray) -> FloatArray:
        """log p(a) = -sum_j ((a_j - m_j) / std_j)^2 / 2 + log_std_j + log(2 pi) / 2, ``[B]``: the log of a density."""
        return core.diag_gaussian_log_prob(self.mean, self.log_std, actions)

    def entropy(self) -> FloatArray:
        """H = sum_j log_std_j + log(2 pi e) / 2, ``[B]``, in nats: of a density, so it may be negative."""
        return core.diag_gaussian_entropy(self.mean, self.log_std)

    def kl(self, other: DiagGaussian) -> FloatArray:
        """KL(self, other), ``[B]``, in nats, never negative; either may have its log_std in either shape.

        KL(p, q) = sum_j log_std_q - log_std_p + (std_p^2 + (m_p - m_q)^2) / (2 std_q^2) - 1/2

        It is +inf where a ratio of variances or a squared distance overflows.
        """
        self._require_family("kl", "other", other)
        return core.diag_gaussian_kl(self.mean, self.log_std, other.mean, other.log_std)

    def likelihood_ratio(self, old: DiagGaussian, actions: FloatArray) -> FloatArray:
        """p(a) / p_old(a), ``[B]``; the log-ratio is clamped to +-80 so that the ratio stays finite.

        Where both log-densities lie outside the range of float64 on the same side, the ratio is 1.
        """
        self._require_family("likelihood_ratio", "old", old)
        return core.diag_gaussian_likelihood_ratio(self.mean, self.log_std, old.mean, old.log_std, actions)

    def sample_at(self, seed: int, stream: int, environment: int, step: int) -> tuple[FloatArray, FloatArray]:
        """Actions ``[B, A]``, m + std e with standard normal e, and :meth:`log_prob` of them ``[B]``.

        Components 2 k and 2 k + 1 take the pair of normal numbers of draw k. An action that lies outside the range of
        the dtype, as for a log_std above 88 in float32 or 709 in float64, is infinite and its log-probability -inf.
        """
        return core.diag_gaussian_sample(self.mean, self.log_std, seed, stream, environment, step)

    def mode(self) -> FloatArray:
        """The mean, ``[B, A]``, a copy."""
        return core.diag_gaussian_mode(self.mean, self.log_std)

    def gradient(
        self, actions: FloatArray, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """``(dmean [B, A], dlog_std)``: the gradient of sum_b weight_log_prob_b log p_b + weight_entropy_b H_b.

        dmean_bj = weight_log_prob_b (a_bj - m_bj) / std_bj^2
        dlog_std_bj = weight_log_prob_b (((a_bj - m_bj) / std_bj)^2 - 1) + weight_entropy_b

        ``dlog_std`` has the shape of ``log_std``: where that is ``[A]``, the sum over rows, added in float64 in a fixed
        order. A row of weight 0 adds nothing, wherever its action lies. Never NaN; where ``log_std`` is ``[A]``, for
        ``|a - m|`` < 1e150.
        """
        return core.diag_gaussian_gradient(self.mean, self.log_std, actions, weight_log_prob, weight_entropy)
