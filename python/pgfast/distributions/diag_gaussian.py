"""The Gaussian distribution of independent real actions."""

from __future__ import annotations

from pgfast._native import core
from pgfast._typing import FloatArray
from pgfast.distributions.distribution import Distribution

__all__ = ["DiagGaussian"]


class DiagGaussian(Distribution[FloatArray]):
    """A Gaussian distribution with diagonal covariance for each row; std = exp(log_std).

    Actions are ``[B, A]``, finite, of the mean's dtype.

    Any finite ``log_std`` is allowed. Everything is computed in float64 and rounded once: a result is infinite if its
    value lies outside the range of the dtype, and never NaN. For example, with log_std = -1e38 the log-density is
    +1e38 A at the mean and -inf anywhere else; with log_std = 1e38 it is -1e38 A everywhere. If ((a - m) / std)^2
    overflows float64, the log-density is -inf regardless of the other terms.

    Args:
        mean: ``[B, A]``, kept without a copy.
        log_std: ``[A]``, the same for all rows, or ``[B, A]``; kept without a copy.
    """

    def __init__(self, mean: FloatArray, log_std: FloatArray) -> None:
        self.mean = mean
        self.log_std = log_std

    def log_prob(self, actions: FloatArray) -> FloatArray:
        """Returns the log-density of the actions, ``[B]``.

        log p(a) = -sum_j ((a_j - m_j) / std_j)^2 / 2 + log_std_j + log(2 pi) / 2
        """
        return core.diag_gaussian_log_prob(self.mean, self.log_std, actions)

    def entropy(self) -> FloatArray:
        """Returns the differential entropy, ``[B]``, in nats; it may be negative.

        H = sum_j log_std_j + log(2 pi e) / 2
        """
        return core.diag_gaussian_entropy(self.mean, self.log_std)

    def kl(self, other: DiagGaussian) -> FloatArray:
        """Returns KL(self, other), ``[B]``, in nats, never negative; the log_std of either may have either shape.

        KL(p, q) = sum_j log_std_q - log_std_p + (std_p^2 + (m_p - m_q)^2) / (2 std_q^2) - 1/2

        It is +inf if a ratio of variances or a squared distance overflows.
        """
        self._require_family("kl", "other", other)
        return core.diag_gaussian_kl(self.mean, self.log_std, other.mean, other.log_std)

    def likelihood_ratio(self, old: DiagGaussian, actions: FloatArray) -> FloatArray:
        """Returns p(a) / p_old(a), ``[B]``.

        The log-ratio is clamped to [-80, 80], which keeps the ratio finite. If both log-densities lie outside the range
        of float64 on the same side, the ratio is 1.
        """
        self._require_family("likelihood_ratio", "old", old)
        return core.diag_gaussian_likelihood_ratio(self.mean, self.log_std, old.mean, old.log_std, actions)

    @property
    def draws(self) -> int:
        return (int(self.mean.shape[1]) + 1) // 2

    def sample_at(
        self, seed: int, stream: int, environment: int, step: int, draw: int = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Draws actions m + std e, e standard normal, and returns them ``[B, A]`` with their log-densities ``[B]``.

        Row b uses the random numbers of (seed, stream, environment + b, step); components 2 k and 2 k + 1 use the pair
        of normal numbers of draw ``draw`` + k. An action outside the range of the dtype is infinite, and its
        log-density is -inf. This can occur for a log_std above 88 in float32 or 709 in float64.
        """
        return core.diag_gaussian_sample(self.mean, self.log_std, seed, stream, environment, step, draw)

    def mode(self) -> FloatArray:
        """Returns a copy of the mean, ``[B, A]``."""
        return core.diag_gaussian_mode(self.mean, self.log_std)

    def gradient(
        self, actions: FloatArray, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Computes the gradient of weighted log-densities and entropies in the mean and log_std.

        f = sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b
        df / dmean_bj = weight_log_prob_b (a_bj - m_bj) / std_bj^2
        df / dlog_std_bj = weight_log_prob_b (((a_bj - m_bj) / std_bj)^2 - 1) + weight_entropy_b

        Args:
            actions: ``[B, A]``. The action of a row with weights 0 has no effect.
            weight_log_prob: ``[B]``, finite.
            weight_entropy: ``[B]``, finite; None for zero.

        Returns:
            ``(dmean, dlog_std)``, of the shapes of ``mean`` and ``log_std``. For a ``log_std`` ``[A]``, ``dlog_std`` is
            the sum over rows, added in float64 in a fixed order. The gradient is never NaN, for a ``log_std`` ``[A]``
            provided that ``|a - m|`` < 1e150.
        """
        return core.diag_gaussian_gradient(self.mean, self.log_std, actions, weight_log_prob, weight_entropy)
