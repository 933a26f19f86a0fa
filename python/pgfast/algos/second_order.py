"""What NPG and TRPO share: steps measured by the KL divergence, which are taken whole or not at all."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from pgfast._streams import FISHER_ROWS
from pgfast._typing import Array, FloatArray
from pgfast.algos.policy_agent import Batch, PolicyAgent, dot
from pgfast.distributions import Distribution
from pgfast.kernels import conjugate_gradient
from pgfast.losses import trpo_surrogate
from pgfast.profiling import BACKWARD, FORWARD, LINE_SEARCH, NATURAL_GRADIENT
from pgfast.random import Rng
from pgfast.training.settings import PolicySettings

__all__ = ["Candidate", "Direction", "SecondOrderAgent", "SecondOrderSettings"]


@dataclass(frozen=True, kw_only=True)
class SecondOrderSettings(PolicySettings):
    """What the algorithms have that step by a natural gradient."""

    max_kl: float = 0.01
    """Radius of a step: the mean KL divergence of the old policy from the new, in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    cg_iterations: int = 10
    """Most iterations of conjugate gradient."""
    fisher_subsample: int = 1
    """Take one row in so many, chosen at random, for the Fisher matrix; 1 takes all."""


class Direction(NamedTuple):
    """A natural gradient x, and how it was found."""

    x: FloatArray  # [P], solves (F + damping I) x = g
    curvature: float  # x'Fx
    iterations: int | None = None  # of conjugate gradient
    residual: float | None = None  # ||g - (F + damping I) x|| / ||g||


class Candidate(NamedTuple):
    """What new parameters do on the batch."""

    loss: float  # -mean(ratio A)
    kl: float  # mean KL(old, new)


class SecondOrderAgent(PolicyAgent):
    """An agent that steps along a natural gradient. A step that fails leaves every bit of the parameters as it was."""

    extra_fields: ClassVar[tuple[str, ...]] = (
        *("kl", "step_size", "cg_iterations", "cg_residual", "line_search_steps"),
        *("expected_improvement", "improvement", "failed_updates"),
    )
    settings: SecondOrderSettings
    failed_updates: int = 0

    def update(self) -> dict[str, float]:
        """One update from the rollout just collected; gives the figures to report."""
        batch = self.batch()
        if batch is None:
            return {}
        with FORWARD:
            old = self.policy.distribution(batch.observations)
        loss = trpo_surrogate(old, old, batch.actions, batch.advantages)
        self.require_finite_loss(loss)
        figures = self.learn_values(batch, old)
        return {"policy_loss": loss, **self.step(batch, old, loss), **figures}

    @abstractmethod
    def step(self, batch: Batch, old: Distribution[Any], loss: float) -> dict[str, float]:
        """Moves the policy from ``old``, whose surrogate loss is ``loss``; gives the figures of the step."""

    def surrogate_gradient(self, batch: Batch) -> FloatArray:
        """g = d mean(ratio A) / d theta at the old parameters, where the ratio is 1: mean(A grad log pi), ``[P]``."""
        share = np.float32(1.0 / len(batch))
        with BACKWARD:
            return self.policy.gradient(batch.observations, batch.actions, share * batch.advantages)

    def conjugate_direction(self, batch: Batch, gradient: FloatArray) -> Direction | None:
        """x by conjugate gradient on exact Fisher products; None where it breaks down."""
        s = self.settings
        with NATURAL_GRADIENT:
            operator = self.policy.fisher_operator(batch.observations[self.fisher_rows(batch)])
            solved = conjugate_gradient(operator, gradient, max_iterations=s.cg_iterations, damping=s.damping)
            if solved.status == "breakdown":
                return None
            x, residual = solved.solution, solved.residual_norm / math.sqrt(dot(gradient, gradient))
            return Direction(x, dot(x, operator(x)), solved.iterations, residual)

    def fisher_rows(self, batch: Batch) -> Array | slice:
        """The rows that the Fisher matrix is taken over: all, or a subset that this update draws, in order."""
        if self.settings.fisher_subsample == 1:
            return slice(None)
        rng = Rng.internal(self.settings.seed, FISHER_ROWS)
        rng.position = self.updates
        order = np.argsort(rng.uniform(len(batch)), kind="stable")
        rows: Array = np.sort(order[: -(-len(batch) // self.settings.fisher_subsample)])
        return rows

    def try_step(
        self,
        direction: Direction,
        step_size: float,
        batch: Batch,
        old: Distribution[Any],
        accepts: Callable[[Candidate], bool] = lambda candidate: True,
    ) -> Candidate | None:
        """Moves the policy by ``step_size`` times the direction if ``accepts`` what that does on the batch.

        None, and every bit as it was, where it does not, or a number is not finite. An exception leaves every bit as it
        was, too.
        """
        with LINE_SEARCH:
            return self._try_step(direction, step_size, batch, old, accepts)

    def _try_step(
        self,
        direction: Direction,
        step_size: float,
        batch: Batch,
        old: Distribution[Any],
        accepts: Callable[[Candidate], bool],
    ) -> Candidate | None:
        parameters, before = self.policy.parameters, self.policy.parameters.copy()
        kept = False
        try:
            with np.errstate(over="ignore"):
                parameters[:] = before + step_size * direction.x.astype(np.float64)
            if not np.isfinite(parameters).all():
                return None
            outputs = self.policy.network.forward(batch.observations)
            if not np.isfinite(outputs).all():
                return None
            new = self.policy.distribution_from(outputs)
            candidate = Candidate(
                trpo_surrogate(new, old, batch.actions, batch.advantages), float(old.kl(new).mean(dtype=np.float64))
            )
            kept = bool(np.isfinite(candidate).all()) and accepts(candidate)
            return candidate if kept else None
        finally:
            if not kept:
                parameters[:] = before

    def describe(self, direction: Direction) -> dict[str, float]:
        """What progress says of conjugate gradient, where it was used."""
        if direction.iterations is None or direction.residual is None:
            return {}
        return {"cg_iterations": direction.iterations, "cg_residual": direction.residual}

    def no_step(self, *, failed: bool) -> dict[str, float]:
        """The figures of an update that left the parameters as they were."""
        self.failed_updates += failed
        return {"kl": 0.0, "step_size": 0.0, "expected_improvement": 0.0, "improvement": 0.0}

    def figures(self) -> dict[str, float]:
        """How many updates have left the parameters as they were."""
        return {"failed_updates": self.failed_updates}

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays, JSON) of everything that the rest of the training depends on, environments apart."""
        arrays, state = super().state()
        return arrays, {**state, "failed_updates": self.failed_updates}

    def load_state(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state` gave. Raises ``ValueError`` or ``KeyError`` where it does not fit."""
        super().load_state(arrays, state)
        self.failed_updates = int(state["failed_updates"])
