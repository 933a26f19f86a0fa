"""Advantages and returns of a rollout, and how well the values predicted them."""

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
    """The rows of a rollout with their generalized advantages and returns.

    Rewards are scaled by ``statistics``; advantages are normalized if the settings say so. Returns the valid rows, or,
    with ``all_rows``, every row and the mask of the valid ones.

    Raises ``FloatingPointError`` if advantages to be normalized are not finite.
    """
    s = settings
    values = value_function.of_rollout(rollout)
    next_values = rollout.next_values(values, value_function.values)
    rewards = statistics.scale_rewards(rollout.rewards)
    advantages, returns = gae(
        rewards, values[:-1], next_values, rollout.terminated, rollout.truncated, s.discount, s.gae_lambda
    )
    if s.normalize_advantages:
        advantages = normalize(advantages, rollout.valid, reduce)
    return (Batch.of_all_rows if all_rows else Batch.of_valid_rows)(rollout, advantages, returns, values)


def normalize(advantages: FloatArray, valid: BoolArray, reduce: Reduce) -> FloatArray:
    """(A - mean) / std over the valid rows of all workers, ddof 0; a constant batch becomes zero.

    Raises ``FloatingPointError`` unless they are finite.
    """
    used = advantages[valid]
    count = reduce.sum(used.size)
    least = np.min(reduce.gather(float(used.min(initial=np.inf))))
    most = np.max(reduce.gather(float(used.max(initial=-np.inf))))
    if count and not (np.isfinite(least) and np.isfinite(most)):
        raise FloatingPointError("the advantages are not finite: rewards or values are too large for float32")
    if least >= most:  # rounding would leave the mean slightly off, and a tiny std
        return np.zeros_like(advantages)
    mean, variance = mean_and_variance(used, count, reduce)
    normalized: FloatArray = ((advantages - mean) / np.sqrt(variance)).astype(advantages.dtype)
    return normalized


def mean_and_variance(used: FloatArray, count: int, reduce: Reduce) -> tuple[np.float64, float]:
    """Of the ``count`` valid rows of all workers, of which ``used`` are this one's; ddof 0, in two passes."""
    mean = np.float64(reduce.sum(float(used.sum(dtype=np.float64))) / count)
    return mean, reduce.sum(float(np.square(used - mean).sum())) / count


def mean(numbers: FloatArray, batch: Batch, count: int, reduce: Reduce) -> float:
    """The mean of ``numbers`` ``[B]`` over the ``count`` valid rows of all workers."""
    return reduce.sum(batch.sum(numbers)) / count


def describe(loss: float, entropy: FloatArray, batch: Batch, count: int, reduce: Reduce) -> Metrics:
    """The metrics of a policy with a value function of its own; the value loss is mean((R - V)^2) before the fit."""
    errors = np.square(batch.returns - batch.values, dtype=np.float64)
    return {
        "policy_loss": loss,
        "value_loss": mean(errors, batch, count, reduce),
        "entropy": mean(entropy, batch, count, reduce),
        "explained_variance": explained_variance(batch, count, reduce),
    }


def explained_variance(batch: Batch, count: int, reduce: Reduce) -> float | None:
    """1 - Var(R - V) / Var(R) of the values that the rollout was played with.

    It is 1 for a perfect value function, 0 for a constant one, and None if R is constant.
    """

    returns, values = batch.used(batch.returns), batch.used(batch.values)
    _, variance = mean_and_variance(returns, count, reduce)
    _, unexplained = mean_and_variance(returns - values, count, reduce)
    return None if variance == 0 else 1.0 - unexplained / variance
