"""Trust region policy optimization (Schulman et al., 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pgfast import losses
from pgfast.algos import advantages, natural
from pgfast.envs.spaces import SpaceInfo
from pgfast.kernels import conjugate_gradient
from pgfast.learning.bounds import Count, ProperFraction
from pgfast.learning.construction import make_policy, make_value_function
from pgfast.learning.learner import Learner, require_finite_loss
from pgfast.learning.settings import SecondOrderSettings
from pgfast.metrics import Metrics
from pgfast.profiling import LINE_SEARCH, NATURAL_GRADIENT
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout

__all__ = ["TRPOLearner", "TRPOSettings"]


@dataclass(frozen=True, kw_only=True)
class TRPOSettings(SecondOrderSettings):
    """Settings of TRPO. The batch of one update is num_envs x n_steps, or whole episodes of at least that."""

    line_search_steps: Count = 10
    """Maximum number of steps that the line search tries."""
    backtrack_ratio: ProperFraction = 0.8
    """Ratio of each candidate's step to the previous one."""


class TRPOLearner(Learner):
    """Steps toward the edge of a trust region in KL divergence, shortened until the surrogate improves."""

    metrics: ClassVar[tuple[str, ...]] = natural.METRICS
    settings_type = TRPOSettings
    settings: TRPOSettings

    def __init__(self, settings: TRPOSettings, space: SpaceInfo) -> None:
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

        # Equation 14: minimize L(theta) = -mean(ratio A) subject to mean KL(old, theta) <= max_kl
        old = policy.distribution(batch.observations, batch.mask)
        loss, rows = losses.trpo_surrogate_gradient(old, old, batch.actions, batch.advantages, batch.valid, count=count)
        require_finite_loss(loss, rollout)
        gradient = policy.gradient(batch.observations, batch.actions, rows, mask=batch.mask)
        loss, gradient = reduce.sum((loss, gradient))
        has_gradient = bool(gradient.any())

        # Appendix C: x = (F + damping I)^-1 (-g) by conjugate gradients, and the step along x whose KL divergence is
        # max_kl to second order, the longest candidate
        with NATURAL_GRADIENT:
            fisher_rows = natural.fisher_rows(batch, s.fisher_subsample, s.seed, rollout.update, reduce)
            fisher = natural.fisher_operator(policy, fisher_rows, reduce)
            solved = conjugate_gradient(fisher, -gradient, max_iterations=s.cg_iterations, damping=s.damping)
            x = solved.solution
            longest = 0.0 if solved.status == "breakdown" else natural.step_size(fisher, x, s.max_kl)

        metrics = {**advantages.describe(loss, old.entropy(), batch, count, reduce), **natural.NO_STEP}
        if longest > 0.0:
            metrics |= {**natural.describe_solve(solved, gradient), "line_search_steps": s.line_search_steps}

        # Appendix C: the line search shortens the step until the surrogate improves within the trust region
        with natural.restored_unless_accepted(policy.parameters, x) as step:
            with LINE_SEARCH:
                for tried in range(s.line_search_steps if longest > 0.0 else 0):
                    size = longest * s.backtrack_ratio**tried
                    new = natural.evaluate(policy, old, batch, count, reduce) if step.to(size) else natural.NOT_FINITE
                    if new.is_finite and new.loss < loss and new.kl <= s.max_kl:
                        step.accepted = True
                        metrics |= natural.describe_step(size, x, gradient, loss - new.loss, new.kl)
                        metrics["line_search_steps"] = tried + 1
                        break
            self.value_function.fit(batch, reduce)
        self.failed_updates += has_gradient and not step.accepted
        self.normalizers.statistics = statistics  # last: an update that raises leaves no trace
        return {**metrics, "failed_updates": self.failed_updates}
