"""Natural policy gradient (Kakade, 2001), with the step from the KL radius (Rajeswaran et al., 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from pgfast._typing import FloatArray
from pgfast.algos.policy_agent import Batch, dot
from pgfast.algos.second_order import Direction, SecondOrderAgent, SecondOrderSettings
from pgfast.distributions import Distribution
from pgfast.kernels import fisher_matrix, natural_gradient, natural_gradient_from_scores
from pgfast.profiling import NATURAL_GRADIENT
from pgfast.training.settings import Settings

__all__ = ["NPG", "NPGSettings"]


@dataclass(frozen=True, kw_only=True)
class NPGSettings(SecondOrderSettings):
    """Settings of NPG. The batch of one update is num_envs x n_steps, or whole episodes of at least that."""

    solver: Literal["cholesky", "woodbury", "cg"] = "cg"
    """Explicit Fisher matrix of the sampled actions ("cholesky"), the same without forming it where rows are fewer than
    parameters ("woodbury"), or exact products without any matrix ("cg")."""


class NPG(SecondOrderAgent):
    """Natural policy gradient.

    Every update follows a rollout of the current policy:

    1. g = mean(A grad log pi), by generalized advantage estimation;
    2. x with (F + damping I) x = g: F = mean(s s') of the scores s = grad log pi of the actions played, or, with "cg",
       of all actions in expectation;
    3. theta <- theta + sqrt(2 max_kl / x'Fx) x, the step whose KL divergence is ``max_kl`` to second order; the exact
       one is reported;
    4. the baseline is fitted to the returns.

    The parameters stay as they were where F + damping I is not positive definite, x'Fx is not positive, or the new
    policy has a number that is not finite.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions are
            Discrete, MultiDiscrete, MultiBinary or a Box.
        preset: name of the tuned settings to start from where ``env`` is an id; None for :class:`NPGSettings` alone.
        settings: any field of :class:`NPGSettings`.

    Raises ``ValueError`` (environment, preset, value of a setting), ``TypeError`` (unknown setting).
    """

    name: ClassVar[str] = "npg"
    settings_type: ClassVar[type[Settings]] = NPGSettings
    settings: NPGSettings

    def step(self, batch: Batch, old: Distribution[Any], loss: float) -> dict[str, float]:
        """Steps 1 to 3."""
        gradient = self.surrogate_gradient(batch)
        if not gradient.any():
            return self.no_step(failed=False)
        direction = self._direction(batch, gradient)
        if direction is None or not 0.0 < direction.curvature < math.inf:
            return self.no_step(failed=True)

        step_size = math.sqrt(2.0 * self.settings.max_kl / direction.curvature)
        new = self.try_step(direction, step_size, batch, old)
        if new is None:
            return self.no_step(failed=True)
        return {
            **self.describe(direction),
            "kl": new.kl,
            "step_size": step_size,
            "expected_improvement": step_size * dot(gradient, direction.x),
            "improvement": loss - new.loss,
        }

    def _direction(self, batch: Batch, gradient: FloatArray) -> Direction | None:
        if self.settings.solver == "cg":
            return self.conjugate_direction(batch, gradient)
        with NATURAL_GRADIENT:
            return self._explicit_direction(batch, gradient)

    def _explicit_direction(self, batch: Batch, gradient: FloatArray) -> Direction | None:
        s, rows = self.settings, self.fisher_rows(batch)
        scores = self.policy.scores(batch.observations[rows], batch.actions[rows])
        try:
            if s.solver == "cholesky":
                x = natural_gradient(fisher_matrix(scores), gradient, s.damping)
            else:
                x = natural_gradient_from_scores(scores, gradient, s.damping, method="woodbury")
        except np.linalg.LinAlgError:
            return None
        along = np.einsum("bp,p->b", scores, x).astype(np.float64)  # x'Fx = mean (s'x)^2, and no BLAS
        curvature = float(np.square(along).mean())
        return Direction(x, curvature)
