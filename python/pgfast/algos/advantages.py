"""Advantages and returns of a rollout, and the explained variance of its values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray, IntArray
from pgfast.envs.normalization import Statistics
from pgfast.kernels import gae
from pgfast.learning.settings import Settings
from pgfast.metrics import Metrics
from pgfast.policies import PolicyTape
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.rollout import Rollout
from pgfast.value_functions import ValueFunction

__all__ = ["describe", "estimate", "explained_variance", "normalize", "normalize_parts", "variances"]


def estimate(
    rollout: Rollout,
    statistics: Statistics,
    value_function: ValueFunction,
    settings: Settings,
    reduce: Reduce,
    *,
    value_gae_lambda: float | None = None,
    all_rows: bool = False,
    normalize_all: bool = True,
    tape: PolicyTape | None = None,
) -> Batch:
    """Computes the generalized advantages and returns of a rollout.

    Args:
        rollout: this worker's rollout.
        statistics: scale the rewards.
        value_function: V of the observations.
        settings: discount and lambda, and whether advantages are normalized.
        reduce: the sums over all workers.
        value_gae_lambda: lambda of the returns; None for that of the advantages.
        all_rows: whether the batch holds all rows and the mask of the valid ones, or only the valid rows.
        normalize_all: normalize the advantages of all rows together, if the settings ask for normalization.
        tape: a forward pass of rows 0 to T N - 1 with the current parameters, for its values; None for the values at
            the time of the rollout.

    Returns:
        The batch, with advantages and returns. Its values are those at the time of the rollout, with any ``tape``.

    Raises:
        FloatingPointError: if advantages to be normalized are not finite.
    """
    s = settings
    old_values = value_function.of_rollout(rollout)
    values = old_values if tape is None else rollout.values_with(tape, value_function.values_at)
    next_values = rollout.next_values(values, value_function.values_at, tape)
    rewards = statistics.scale_rewards(rollout.rewards)
    with_lambda = partial(gae, rewards, values[:-1], next_values, rollout.terminated, rollout.truncated, s.discount)
    advantages, returns = with_lambda(s.gae_lambda)
    if value_gae_lambda is not None:
        _, returns = with_lambda(value_gae_lambda)
    if s.normalize_advantages and normalize_all:
        advantages = normalize(advantages, rollout.valid, reduce)
    return (Batch.of_all_rows if all_rows else Batch.of_valid_rows)(rollout, advantages, returns, old_values)


def normalize(advantages: FloatArray, valid: BoolArray, reduce: Reduce) -> FloatArray:
    """Returns (A - mean) / std over the valid rows of all workers, ddof 0; a constant batch becomes zero.

    Raises:
        FloatingPointError: if a valid advantage is not finite.
    """
    return normalize_parts(advantages, [valid], reduce)


def normalize_parts(advantages: FloatArray, parts: Sequence[Any], reduce: Reduce) -> FloatArray:
    """Returns (A - mean) / std of each part over the rows of all workers, ddof 0; a constant part becomes zero.

    Args:
        advantages: A, of this worker.
        parts: indices of the rows of each part. Rows of no part become zero.
        reduce: the sums over all workers.

    Raises:
        FloatingPointError: if an advantage of a part is not finite.
    """
    flat = advantages.reshape(-1)
    rows = [_indices(part, flat.size) for part in parts]
    index, sizes = np.concatenate(rows), np.array([len(part) for part in rows])
    sums, *of_worker = core.part_moments(flat, index, sizes)
    extremes = np.zeros((2, reduce.workers, len(parts)))  # smallest and largest of each worker and part
    extremes[:, reduce.rank] = of_worker
    extremes, (sums, counts) = reduce.sum((extremes, np.array([sums, sizes])))
    minima, maxima = extremes[0].min(axis=0), extremes[1].max(axis=0)
    if not (np.isfinite(minima) & np.isfinite(maxima))[counts > 0].all():
        raise FloatingPointError("the advantages are not finite: rewards or values are too large for float32")
    counts = np.maximum(counts, 1.0)
    means = sums / counts
    stds = np.sqrt(reduce.sum(core.part_squares(flat, index, sizes, means)) / counts)
    # The rounding of a constant part's mean would leave a tiny std to divide by.
    stds[minima >= maxima] = np.inf
    normalized: FloatArray = np.zeros_like(advantages)
    core.standardize_parts(flat, index, sizes, means, stds, normalized.reshape(-1))
    return normalized


def _indices(part: Any, size: int) -> IntArray:
    """Returns the numbers of the rows that an index selects."""
    if isinstance(part, slice):
        part = np.arange(size)[part]
    return np.flatnonzero(part) if part.dtype == np.bool_ else np.asarray(part)


def variances(used: Sequence[FloatArray], count: int, reduce: Reduce) -> list[float]:
    """Returns the variance of each array over the ``count`` valid rows of all workers; ddof 0.

    ``used`` are the entries of this worker's valid rows.
    """
    sums = reduce.sum(tuple(float(a.sum(dtype=np.float64)) for a in used))
    means = [np.float64(total / count) for total in sums]
    squares = tuple(float(np.square(a - mean).sum()) for a, mean in zip(used, means, strict=True))
    return [total / count for total in reduce.sum(squares)]


def describe(loss: float, entropy: FloatArray, batch: Batch, count: int, reduce: Reduce) -> Metrics:
    """Returns the metrics of an update with a separate value function; value_loss is mean((R - V)^2) before the fit."""
    errors = np.square(batch.returns - batch.values, dtype=np.float64)
    value_loss, mean_entropy = reduce.sum((batch.sum(errors) / count, batch.sum(entropy) / count))
    return {
        "policy_loss": loss,
        "value_loss": value_loss,
        "entropy": mean_entropy,
        "explained_variance": explained_variance(batch, count, reduce),
    }


def explained_variance(batch: Batch, count: int, reduce: Reduce) -> float | None:
    """Returns 1 - Var(R - V) / Var(R), with the values from before the update.

    It is 1 for a perfect value function, 0 for a constant one, and None if R is constant.
    """
    returns, values = batch.used(batch.returns), batch.used(batch.values)
    variance, unexplained = variances([returns, returns - values], count, reduce)
    return None if variance == 0 else 1.0 - unexplained / variance
