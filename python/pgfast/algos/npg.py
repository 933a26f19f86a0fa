"""Natural policy gradient (Kakade, 2001), with a step size from the KL radius (Rajeswaran et al., 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pgfast import losses
from pgfast._typing import FloatArray
from pgfast.algos import advantages, natural
from pgfast.envs.spaces import SpaceInfo
from pgfast.kernels import conjugate_gradient, fisher_matrix, natural_gradient, natural_gradient_from_scores
from pgfast.learning.construction import make_policy, make_value_function
from pgfast.learning.learner import Learner, require_finite_loss
from pgfast.learning.settings import SecondOrderSettings
from pgfast.metrics import Metrics
from pgfast.profiling import LINE_SEARCH, NATURAL_GRADIENT
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout

__all__ = ["NPGLearner", "NPGSettings"]


@dataclass(frozen=True, kw_only=True)
class NPGSettings(SecondOrderSettings):
    """Settings of NPG. The batch of one update is num_envs x n_steps, or whole episodes of at least that."""

    solver: Literal["cholesky", "woodbury", "cg"] = "cg"
    """Solver of the linear system: with the explicit Fisher matrix of the sampled actions ("cholesky"), with the same
    matrix without forming it ("woodbury", for fewer rows than parameters), or with exact Fisher products ("cg")."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_workers > 1 and self.solver == "woodbury":
            raise ValueError('solver "woodbury" would pair the rows of different workers; take "cholesky" or "cg"')


class NPGLearner(Learner):
    """Steps along the natural gradient to a KL divergence of ``max_kl``, to second order."""

    metrics: ClassVar[tuple[str, ...]] = natural.METRICS
    settings_type = NPGSettings
    settings: NPGSettings

    def __init__(self, settings: NPGSettings, space: SpaceInfo) -> None:
        super().__init__(settings, space)
        self.policy = make_policy(settings, space)
        self.value_function = make_value_function(settings, space)

    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        s, policy = self.settings, self.policy
        statistics = self.normalizers.after(rollout, reduce)
        batch = advantages.estimate(rollout, statistics, self.value_function, s, reduce)
        count = reduce.sum(len(batch))
        if count == 0:
            return {}

        # g = -mean(A grad log pi), the gradient of the surrogate loss -mean(ratio A) at the old parameters (ratio 1)
        old = policy.distribution(batch.observations, batch.mask)
        loss, rows = losses.trpo_surrogate_gradient(old, old, batch.actions, batch.advantages, batch.valid, count=count)
        require_finite_loss(loss, rollout)
        gradient = policy.gradient(batch.observations, batch.actions, rows, mask=batch.mask)
        loss, gradient = reduce.sum((loss, gradient))
        has_gradient = bool(gradient.any())

        # x = (F + damping I)^-1 (-g), and the step along it whose KL divergence is max_kl to second order
        with NATURAL_GRADIENT:
            fisher_rows = natural.fisher_rows(batch, s.fisher_subsample, s.seed, rollout.update, reduce)
            if s.solver == "cg":
                fisher = natural.fisher_operator(policy, fisher_rows, reduce)
                solved = conjugate_gradient(fisher, -gradient, max_iterations=s.cg_iterations, damping=s.damping)
                x = solved.solution
                size = 0.0 if solved.status == "breakdown" else natural.step_size(fisher, x, s.max_kl)
            else:
                scores = natural.scores(policy, fisher_rows)
                x = solve_explicitly(scores, -gradient, s, fisher_rows.count, reduce)
                curvature = natural.mean_square(scores, x, fisher_rows, reduce)  # x'Fx = mean((s'x)^2)
                size = math.sqrt(2.0 * s.max_kl / curvature) if 0.0 < curvature < math.inf else 0.0

        metrics = {**advantages.describe(loss, old.entropy(), batch, count, reduce), **natural.NO_STEP}
        if s.solver == "cg" and size > 0.0:
            metrics |= natural.describe_solve(solved, gradient)

        # The step is accepted if the new policy is finite; the metrics report its exact KL divergence
        with natural.restored_unless_accepted(policy.parameters, x) as step:
            with LINE_SEARCH:
                if size > 0.0 and step.to(size):
                    new = natural.evaluate(policy, old, batch, count, reduce)
                    step.accepted = new.is_finite
            if step.accepted:
                metrics |= natural.describe_step(size, x, gradient, loss - new.loss, new.kl)
            self.value_function.fit(batch, reduce)
        self.failed_updates += has_gradient and not step.accepted
        self.normalizers.statistics = statistics  # last: an update that raises leaves no trace
        return {**metrics, "failed_updates": self.failed_updates}


def solve_explicitly(
    scores: FloatArray, gradient: FloatArray, settings: NPGSettings, count: int, reduce: Reduce
) -> FloatArray:
    """Returns (F + damping I)^-1 g, F = mean(s s') over ``scores`` ``[B, P]``; zero if not positive definite."""
    try:
        if settings.solver == "cholesky":
            return natural_gradient(reduce.sum(fisher_matrix(scores, count=count)), gradient, settings.damping)
        return natural_gradient_from_scores(scores, gradient, settings.damping, method="woodbury")
    except np.linalg.LinAlgError:
        return np.zeros_like(gradient)
