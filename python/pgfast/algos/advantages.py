"""Advantages and returns of a rollout, and the explained variance of its values."""

from __future__ import annotations

import numpy as np

from pgfast._typing import BoolArray, FloatArray
from pgfast.envs.normalization import Statistics
from pgfast.kernels import gae
from pgfast.learning.settings import Settings
from pgfast.metrics import Metrics
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.rollout import Rollout
from pgfast.value_functions import ValueFunction

__all__ = ["describe", "estimate", "explained_variance", "mean", "mean_and_variance", "normalize"]


def estimate(
    rollout: Rollout,
    statistics: Statistics,
    value_function: ValueFunction,
    settings: Settings,
    reduce: Reduce,
    *,
    all_rows: bool = False,
) -> Batch:
    """Computes the generalized advantages and returns of a rollout.

    Args:
        rollout: this worker's rollout.
        statistics: scale the rewards.
        value_function: V of the observations.
        settings: discount and lambda, and whether advantages are normalized.
        reduce: the sums over all workers.
        all_rows: whether the batch holds all rows and the mask of the valid ones, or only the valid rows.

    Returns:
        The batch, with advantages and returns.

    Raises:
        FloatingPointError: if advantages to be normalized are not finite.
    """
    s = settings
    values = value_function.of_rollout(rollout)
    next_values = rollout.next_values(values, value_function.values_at)
    rewards = statistics.scale_rewards(rollout.rewards)
    advantages, returns = gae(
        rewards, values[:-1], next_values, rollout.terminated, rollout.truncated, s.discount, s.gae_lambda
    )
    if s.normalize_advantages:
        advantages = normalize(advantages, rollout.valid, reduce)
    return (Batch.of_all_rows if all_rows else Batch.of_valid_rows)(rollout, advantages, returns, values)


def normalize(advantages: FloatArray, valid: BoolArray, reduce: Reduce) -> FloatArray:
    """Returns (A - mean) / std over the valid rows of all workers, ddof 0; a constant batch becomes zero.

    Raises:
        FloatingPointError: if a valid advantage is not finite.
    """
    used = advantages[valid]
    count = reduce.sum(used.size)
    minimum = np.min(reduce.gather(float(used.min(initial=np.inf))))
    maximum = np.max(reduce.gather(float(used.max(initial=-np.inf))))
    if count and not (np.isfinite(minimum) and np.isfinite(maximum)):
        raise FloatingPointError("the advantages are not finite: rewards or values are too large for float32")
    if minimum >= maximum:  # constant: rounding of the mean would leave a tiny std to divide by
        return np.zeros_like(advantages)
    mean, variance = mean_and_variance(used, count, reduce)
    normalized: FloatArray = ((advantages - mean) / np.sqrt(variance)).astype(advantages.dtype)
    return normalized


def mean_and_variance(used: FloatArray, count: int, reduce: Reduce) -> tuple[np.float64, float]:
    """Returns mean and variance over the ``count`` valid rows of all workers; ``used`` are this worker's; ddof 0."""
    mean = np.float64(reduce.sum(float(used.sum(dtype=np.float64))) / count)
    return mean, reduce.sum(float(np.square(used - mean).sum())) / count


def mean(numbers: FloatArray, batch: Batch, count: int, reduce: Reduce) -> float:
    """Returns the mean of ``numbers`` ``[B]`` over the ``count`` valid rows of all workers."""
    return reduce.sum(batch.sum(numbers)) / count


def describe(loss: float, entropy: FloatArray, batch: Batch, count: int, reduce: Reduce) -> Metrics:
    """Returns the metrics of an update with a separate value function; value_loss is mean((R - V)^2) before the fit."""
    errors = np.square(batch.returns - batch.values, dtype=np.float64)
    return {
        "policy_loss": loss,
        "value_loss": mean(errors, batch, count, reduce),
        "entropy": mean(entropy, batch, count, reduce),
        "explained_variance": explained_variance(batch, count, reduce),
    }


def explained_variance(batch: Batch, count: int, reduce: Reduce) -> float | None:
    """Returns 1 - Var(R - V) / Var(R), with the values from before the update.

    It is 1 for a perfect value function, 0 for a constant one, and None if R is constant.
    """
    returns, values = batch.used(batch.returns), batch.used(batch.values)
    _, variance = mean_and_variance(returns, count, reduce)
    _, unexplained = mean_and_variance(returns - values, count, reduce)
    return None if variance == 0 else 1.0 - unexplained / variance
