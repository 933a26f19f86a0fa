"""Actor-critic with Kronecker-factored trust region (Wu et al., 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from pgfast import optim
from pgfast._streams import CRITIC_SAMPLES
from pgfast._typing import FloatArray
from pgfast.algos import actor_critic, advantages, natural
from pgfast.distributions import DiagGaussian
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.bounds import Count, NotNegative, Positive
from pgfast.learning.construction import learning_rate_at, make_policy
from pgfast.learning.learner import Learner
from pgfast.learning.settings import ActorCriticSettings, require_no_memory
from pgfast.losses import RowGradients
from pgfast.metrics import Metrics
from pgfast.nn import Network
from pgfast.random import Rng
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.rollout import Rollout
from pgfast.state import Tree, require_positive, restored_if_raised
from pgfast.value_functions import SharedValues

__all__ = ["ACKTRLearner", "ACKTRSettings"]


@dataclass(frozen=True, kw_only=True)
class ACKTRSettings(ActorCriticSettings):
    """Settings of ACKTR. The batch of one update is num_envs x n_steps."""

    learning_rate: NotNegative = 0.25
    """Length of a step, in multiples of the natural gradient; max_kl may shorten it."""
    entropy_coef: NotNegative = 0.01
    """Weight of the entropy bonus."""
    max_kl: Positive = 1e-3
    """Largest KL divergence of a step, in nats, by the Kronecker factors: a longer step is scaled down."""
    damping: Positive = 0.01
    """Added to the Fisher matrix of each layer: its root to both factors."""
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    """Weight of the earlier steps in a step."""
    factor_decay: Annotated[float, Meta(ge=0, lt=1)] = 0.99
    """Weight of the earlier updates in the averages of the Kronecker factors."""
    inverse_every: Count = 10
    """Updates between two factorizations of these averages."""
    factor_steps: Count | None = None
    """Steps of each rollout, from its first on, that the Kronecker factors are measured on; None for all."""
    position_stride: Count = 1
    """Convolutions use every so many positions of an image for their Kronecker factors."""
    target_kl: Positive | None = None
    """Mean KL divergence of the old policy from the new, in nats, that the learning rate adapts to: it is divided by
    1.5 after an update of more than twice this, and multiplied by 1.5 after one of less than half, by 1,000 in all at
    most. None for no adaptation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_no_memory(self.network)


class ACKTRLearner(Learner):
    """A2C with a natural gradient: the Fisher matrix of policy and value is approximated by Kronecker factors."""

    metrics: ClassVar[tuple[str, ...]] = ("grad_norm", "learning_rate", "step_scale", "kl", "raised_dampings")
    keeps_forward = True
    settings_type = ACKTRSettings
    settings: ACKTRSettings
    optimizer: optim.KFAC

    def __init__(self, settings: ACKTRSettings, space: SpaceInfo) -> None:
        super().__init__(settings, space)
        self.policy = make_policy(settings, space, value_head=True, separate_value=settings.separate_value_network)
        self.value_function = SharedValues(self.policy)
        self.optimizer = make_optimizer(settings, self.policy.network)
        self.rate_factor = 1.0  # what target_kl has made of the learning rate
        self._gradient: FloatArray = np.zeros_like(self.policy.parameters)  # reused by every update

    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        s, policy, tape = self.settings, self.policy, rollout.tape
        statistics = self.normalizers.after(rollout, reduce)
        batch = advantages.estimate(
            rollout,
            statistics,
            self.value_function,
            s,
            reduce,
            value_gae_lambda=s.value_gae_lambda,
            all_rows=True,
        )
        count = reduce.sum(len(batch))
        if count == 0:
            return {}

        # Section 3.2: minimize A2C's loss, -mean(A log pi + entropy_coef H) + value_coef mean((R - V)^2)
        metrics, gradient = actor_critic.differentiate(policy, batch, rollout, s, count, reduce, out=self._gradient)

        # Section 3.1: the Fisher matrix of p(a, v | s) = pi(a | s) N(v; V(s), 1). The actions taken are samples of pi.
        measured, number = batch, count
        if s.factor_steps is not None:
            first = batch.first_steps(s.factor_steps)
            if (first_number := reduce.sum(len(first))) > 0:
                measured, number = first, first_number
        sampled = RowGradients(np.ones_like(measured.values), None, critic_samples(measured, s, rollout.update, reduce))
        gradients = policy.output_gradients(tape, measured.actions, sampled, mask=measured.mask)
        factors = self.optimizer.measure(tape, gradients, valid=measured.valid, count=number, reduce=reduce)

        rate_factor = self.rate_factor
        learning_rate = learning_rate_at(s, rollout.timesteps) * rate_factor
        metrics |= {"grad_norm": math.sqrt(natural.dot(gradient, gradient)), "learning_rate": learning_rate}
        # Section 3.2: a step along the natural gradient, scaled down to the trust region
        old = tape.distribution(rollout.rows, batch.mask)
        changed = () if s.target_kl is None else (policy, self.optimizer)  # the step alone changes all or nothing
        with restored_if_raised(*changed):
            metrics["step_scale"] = self.optimizer.step(
                policy.parameters, gradient, learning_rate=learning_rate, statistics=factors
            )
            if s.target_kl is not None:
                metrics["kl"] = kl = natural.evaluate(policy, old, batch, count, reduce).kl
                rate_factor = adapted(rate_factor, kl, s.target_kl)
        self.rate_factor = rate_factor
        self.normalizers.statistics = statistics  # last: an update that raises leaves no trace
        return {**metrics, "raised_dampings": self.optimizer.raised_dampings}

    def state(self) -> Tree:
        return {**super().state(), "rate_factor": self.rate_factor}

    def load_state(self, tree: Tree) -> None:
        factor = require_positive("rate_factor", tree["rate_factor"])
        super().load_state(tree)
        self.rate_factor = factor


def make_optimizer(settings: ACKTRSettings, network: Network) -> optim.KFAC:
    """Makes the optimizer of the policy and the value."""
    s = settings
    return optim.KFAC(
        network,
        s.learning_rate,
        momentum=s.momentum,
        decay=s.factor_decay,
        damping=s.damping,
        max_kl=s.max_kl,
        inverse_every=s.inverse_every,
        position_stride=s.position_stride,
    )


def critic_samples(batch: Batch, settings: ACKTRSettings, update: int, reduce: Reduce) -> FloatArray:
    """Returns v - V(s) ``[B]``, a number of a standard normal distribution for each valid row by (seed, update)."""
    numbers, count = batch.numbering(reduce)
    rng = Rng.internal(settings.seed, CRITIC_SAMPLES)
    rng.position = update
    zeros = np.zeros((count, 1), batch.values.dtype)
    drawn = DiagGaussian(zeros, zeros[0]).sample(rng)[:, 0]
    if batch.valid is None:
        return drawn[numbers]
    samples = np.zeros_like(batch.values)
    samples[batch.valid] = drawn[numbers]
    return samples


def adapted(factor: float, kl: float, target: float) -> float:
    """Returns the factor of the learning rate after an update with this KL divergence, from 1/1,000 to 1,000."""
    if kl < target / 2.0:
        return min(1.5 * factor, 1e3)
    return factor if kl <= 2.0 * target else max(factor / 1.5, 1e-3)
