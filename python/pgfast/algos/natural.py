"""Fisher matrices of a batch, and steps along the natural gradient that are undone unless accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from pgfast._streams import FISHER_ROWS
from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.distributions import Distribution
from pgfast.kernels import ConjugateGradientResult, LinearMap, natural_step_size
from pgfast.losses import trpo_surrogate
from pgfast.metrics import Metrics
from pgfast.policies import Policy
from pgfast.random import Rng
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch

__all__ = [
    "METRICS",
    "NOT_FINITE",
    "NO_STEP",
    "Candidate",
    "FisherRows",
    "describe_solve",
    "describe_step",
    "dot",
    "evaluate",
    "fisher_operator",
    "fisher_rows",
    "mean_square",
    "restored_unless_accepted",
    "scores",
    "step_size",
]

METRICS = (
    *("kl", "step_size", "cg_iterations", "cg_residual", "line_search_steps"),
    *("expected_improvement", "improvement", "failed_updates"),
)
NO_STEP: Metrics = {"kl": 0.0, "step_size": 0.0, "expected_improvement": 0.0, "improvement": 0.0}


@dataclass(frozen=True)
class FisherRows:
    """This worker's rows of a Fisher matrix, which is the mean over ``count`` rows of all workers.

    A worker without such rows (``is_empty``) holds one row that does not count, because kernels refuse empty arrays.
    """

    observations: Array
    actions: Array
    mask: BoolArray | None
    is_empty: bool
    count: int


def fisher_rows(batch: Batch, subsample: int, seed: int, update: int, reduce: Reduce) -> FisherRows:
    """Selects all rows of a batch, or one in ``subsample`` at random by (seed, update), in their order."""
    if subsample == 1:
        return FisherRows(batch.observations, batch.actions, batch.mask, not len(batch), reduce.sum(len(batch)))
    numbers, count = batch.numbering(reduce)
    rng = Rng.internal(seed, FISHER_ROWS)
    rng.position = update
    drawn = np.argsort(rng.uniform(count), kind="stable")[: -(-count // subsample)]
    indices = np.flatnonzero(np.isin(numbers, drawn))
    rows = indices if indices.size else [0]
    mask = None if batch.mask is None else batch.mask[rows]
    return FisherRows(batch.observations[rows], batch.actions[rows], mask, not indices.size, len(drawn))


def fisher_operator(policy: Policy, rows: FisherRows, reduce: Reduce) -> LinearMap:
    """Returns the map v -> F v of the exact Fisher information of the policy, a mean over the rows of all workers."""
    if rows.is_empty:
        return lambda v: reduce.sum(np.zeros_like(v))
    operator = policy.fisher_operator(rows.observations, count=rows.count, mask=rows.mask)
    if reduce.workers == 1:
        return operator  # applied without the interpreter
    return lambda v: reduce.sum(operator(v))


def step_size(fisher: LinearMap, x: FloatArray, max_kl: float) -> float:
    """Returns :func:`pgfast.kernels.natural_step_size`, or 0, hence no step, if x'Fx is not positive and finite."""
    try:
        return natural_step_size(fisher, x, max_kl)
    except ValueError:
        return 0.0


def scores(policy: Policy, rows: FisherRows) -> FloatArray:
    """Returns the rows s = grad log pi of the sampled actions; zero if this worker has no row."""
    result = policy.scores(rows.observations, rows.actions, rows.mask)
    return np.zeros_like(result) if rows.is_empty else result


def mean_square(scores: FloatArray, x: FloatArray, rows: FisherRows, reduce: Reduce) -> float:
    """Returns x'Fx = mean((s'x)^2) over the scores of all workers; without BLAS, as in :func:`dot`."""
    projections = np.einsum("bp,p->b", scores, x).astype(np.float64)
    return reduce.sum(float(np.square(projections).sum())) / rows.count


def dot(a: FloatArray, b: FloatArray) -> float:
    """Returns a . b in float64; without BLAS, whose order of additions may depend on the number of threads."""
    return float(np.multiply(a, b, dtype=np.float64).sum())


def describe_solve(solved: ConjugateGradientResult, gradient: FloatArray) -> Metrics:
    """Returns the metrics of a solve with right-hand side -g."""
    residual = solved.residual_norm / math.sqrt(dot(gradient, gradient))
    return {"cg_iterations": solved.iterations, "cg_residual": residual}


class Candidate(NamedTuple):
    """The loss and KL divergence of candidate parameters on the batch."""

    loss: float  # -mean(ratio A)
    kl: float  # mean KL(old, new)

    @property
    def is_finite(self) -> bool:
        """Whether loss and KL divergence are finite."""
        return bool(np.isfinite(self).all())


NOT_FINITE = Candidate(math.nan, math.nan)
"""The candidate of parameters or outputs that are not finite."""


def evaluate(policy: Policy, old: Distribution[Any], batch: Batch, count: int, reduce: Reduce) -> Candidate:
    """Evaluates the surrogate loss of the current parameters and their mean KL divergence from ``old``."""
    outputs = policy.network.forward(batch.observations)
    if not all(reduce.gather(bool(np.isfinite(outputs).all()))):
        return NOT_FINITE
    new = policy.distribution_from(outputs, batch.mask)
    loss = trpo_surrogate(new, old, batch.actions, batch.advantages, batch.valid, count=count)
    loss, kl = reduce.sum((loss, batch.sum(old.kl(new))))
    return Candidate(loss, kl / count)


def describe_step(size: float, x: FloatArray, gradient: FloatArray, improvement: float, kl: float) -> Metrics:
    """Returns the metrics of an accepted step of ``size`` along x."""
    expected = -size * dot(gradient, x)
    return {"kl": kl, "step_size": size, "improvement": improvement, "expected_improvement": expected}


class restored_unless_accepted:  # noqa: N801 - read as a statement: with restored_unless_accepted(theta, x) as step:
    """A block that moves parameters along a direction and restores them bit for bit unless the step is accepted.

    An exception restores them, too.
    """

    def __init__(self, parameters: FloatArray, direction: FloatArray) -> None:
        self.accepted = False
        self._parameters, self._start, self._direction = parameters, parameters.copy(), direction

    def __enter__(self) -> Self:
        return self

    def to(self, size: float) -> bool:
        """Moves the parameters to start + size direction; returns False if they are not finite there."""
        with np.errstate(over="ignore"):
            self._parameters[:] = self._start + size * self._direction.astype(np.float64)
        return bool(np.isfinite(self._parameters).all())

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None or not self.accepted:
            self._parameters[:] = self._start
