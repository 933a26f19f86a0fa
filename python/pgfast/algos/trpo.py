"""Trust region policy optimization (Schulman et al., 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from pgfast.algos.policy_agent import Batch, dot
from pgfast.algos.second_order import Candidate, SecondOrderAgent, SecondOrderSettings
from pgfast.distributions import Distribution
from pgfast.training.settings import Settings

__all__ = ["TRPO", "TRPOSettings"]


@dataclass(frozen=True, kw_only=True)
class TRPOSettings(SecondOrderSettings):
    """Settings of TRPO. The batch of one update is num_envs x n_steps, or whole episodes of at least that."""

    line_search_steps: int = 10
    """Most candidates of the backtracking line search."""
    backtrack_ratio: float = 0.8
    """Each candidate's step relative to the one before."""


class TRPO(SecondOrderAgent):
    """Trust region policy optimization.

    Every update follows a rollout of the current policy:

    1. g = gradient of the surrogate mean(ratio A), by generalized advantage estimation;
    2. x with (F + damping I) x = g, by conjugate gradient on exact products with the Fisher matrix;
    3. the longest step along x that the quadratic model of the KL divergence allows, sqrt(2 max_kl / x'Fx) x;
    4. shortened by ``backtrack_ratio`` until the surrogate improves and the exact KL divergence is at most ``max_kl``;
       the parameters stay as they were where no candidate does both;
    5. the baseline is fitted to the returns.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions are
            Discrete, MultiDiscrete, MultiBinary or a Box.
        preset: name of the tuned settings to start from where ``env`` is an id; None for :class:`TRPOSettings` alone.
        settings: any field of :class:`TRPOSettings`.

    Raises ``ValueError`` (environment, preset, value of a setting), ``TypeError`` (unknown setting).
    """

    name: ClassVar[str] = "trpo"
    settings_type: ClassVar[type[Settings]] = TRPOSettings
    settings: TRPOSettings

    def step(self, batch: Batch, old: Distribution[Any], loss: float) -> dict[str, float]:
        """Steps 1 to 4."""
        s = self.settings
        gradient = self.surrogate_gradient(batch)
        if not gradient.any():
            return self.no_step(failed=False)
        direction = self.conjugate_direction(batch, gradient)
        if direction is None or not 0.0 < direction.curvature < math.inf:
            return self.no_step(failed=True)

        def accepts(candidate: Candidate) -> bool:
            return candidate.loss < loss and candidate.kl <= s.max_kl

        longest = math.sqrt(2.0 * s.max_kl / direction.curvature)
        for tried in range(s.line_search_steps):
            step_size = longest * s.backtrack_ratio**tried
            candidate = self.try_step(direction, step_size, batch, old, accepts)
            if candidate is not None:
                return {
                    **self.describe(direction),
                    "kl": candidate.kl,
                    "step_size": step_size,
                    "line_search_steps": tried + 1,
                    "expected_improvement": step_size * dot(gradient, direction.x),
                    "improvement": loss - candidate.loss,
                }
        return {**self.describe(direction), **self.no_step(failed=True), "line_search_steps": s.line_search_steps}
