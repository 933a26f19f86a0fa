"""One class of agents for each algorithm."""

from __future__ import annotations

from typing import Unpack

from pgfast.agent import Agent
from pgfast.algos import (
    A2CLearner,
    A2CSettings,
    ACKTRLearner,
    ACKTRSettings,
    NPGLearner,
    NPGSettings,
    PPOLearner,
    PPOSettings,
    TRPOLearner,
    TRPOSettings,
    VPGLearner,
    VPGSettings,
)
from pgfast.arguments import (
    A2CArguments,
    ACKTRArguments,
    NPGArguments,
    PPOArguments,
    TRPOArguments,
    VPGArguments,
)
from pgfast.envs.source import EnvironmentLike

__all__ = ["A2C", "ACKTR", "ALGORITHMS", "NPG", "PPO", "TRPO", "VPG"]


class VPG(Agent):
    """Vanilla policy gradient.

    Every update follows a rollout of the current policy:

    1. advantages and returns, by generalized advantage estimation with the baseline's values;
    2. loss = -mean(log pi(a|s) A + entropy_coef H) over the valid rows;
    3. one step of the optimizer along its gradient, clipped or scaled to norm 1 as the settings say;
    4. a fit of the baseline to the returns.

    See :class:`~pgfast.agent.Agent` for the arguments.
    """

    name = "vpg"
    learner_type = VPGLearner
    settings: VPGSettings

    def __init__(
        self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Unpack[VPGArguments]
    ) -> None:
        super().__init__(env, preset=preset, **settings)


class NPG(Agent):
    """Natural policy gradient.

    Every update follows a rollout of the current policy:

    1. g = mean(A grad log pi), by generalized advantage estimation;
    2. x with (F + damping I) x = g: F = mean(s s') of the scores s = grad log pi of the sampled actions, or, with the
       solver "cg", of all actions in expectation;
    3. theta <- theta + sqrt(2 max_kl / x'Fx) x, the step whose KL divergence is ``max_kl`` to second order; the exact
       divergence is reported;
    4. a fit of the baseline to the returns.

    The parameters are restored if F + damping I is not positive definite, x'Fx is not positive, or the new policy has a
    number that is not finite. See :class:`~pgfast.agent.Agent` for the arguments.
    """

    name = "npg"
    learner_type = NPGLearner
    settings: NPGSettings

    def __init__(
        self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Unpack[NPGArguments]
    ) -> None:
        super().__init__(env, preset=preset, **settings)


class TRPO(Agent):
    """Trust region policy optimization.

    Every update follows a rollout of the current policy:

    1. g = gradient of the surrogate mean(ratio A), by generalized advantage estimation;
    2. x with (F + damping I) x = g, by conjugate gradients on exact products with the Fisher matrix;
    3. the longest step along x that the quadratic model of the KL divergence allows, sqrt(2 max_kl / x'Fx) x;
    4. a line search, which shortens the step by ``backtrack_ratio`` until the surrogate improves and the exact KL
       divergence is at most ``max_kl``; the parameters are restored if no candidate does both;
    5. a fit of the baseline to the returns.

    See :class:`~pgfast.agent.Agent` for the arguments.
    """

    name = "trpo"
    learner_type = TRPOLearner
    settings: TRPOSettings

    def __init__(
        self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Unpack[TRPOArguments]
    ) -> None:
        super().__init__(env, preset=preset, **settings)


class A2C(Agent):
    """Synchronous advantage actor-critic.

    One network has a head for the policy and one for the value. Every update follows a rollout of ``n_steps`` steps:

    1. advantages and returns, by generalized advantage estimation with the values of the rollout;
    2. loss = -mean(log pi(a|s) A + entropy_coef H) + value_coef mean((R - V)^2) over the valid rows;
    3. its gradient, through the forward passes kept from the rollout;
    4. one clipped step of the optimizer.

    See :class:`~pgfast.agent.Agent` for the arguments.
    """

    name = "a2c"
    learner_type = A2CLearner
    settings: A2CSettings

    def __init__(
        self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Unpack[A2CArguments]
    ) -> None:
        super().__init__(env, preset=preset, **settings)


class PPO(Agent):
    """Proximal policy optimization.

    One network has a head for the policy and one for the value, or each has its own. Every update follows a rollout of
    ``n_steps`` steps:

    1. advantages and returns, by generalized advantage estimation with the values of the rollout;
    2. ``num_epochs`` passes over the rows, each in new minibatches of ``minibatch_size`` rows at most;
    3. for each minibatch, one clipped step of the optimizer along the gradient of
       -mean(min(r A, clip(r, 1 - e, 1 + e) A) + entropy_coef H) + value_coef mean((R - V)^2), where r is the ratio of
       the new to the old probability of the action and e is ``clip_range``; with ``target_kl``, until the policy has
       moved this far.

    See :class:`~pgfast.agent.Agent` for the arguments.
    """

    name = "ppo"
    learner_type = PPOLearner
    settings: PPOSettings

    def __init__(
        self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Unpack[PPOArguments]
    ) -> None:
        super().__init__(env, preset=preset, **settings)


class ACKTR(Agent):
    """Actor-critic with Kronecker-factored trust region: A2C with a natural gradient.

    One network has a head for the policy and one for the value, or each has its own. Every update follows a rollout of
    ``n_steps`` steps:

    1. advantages and returns, by generalized advantage estimation with the values of the rollout;
    2. the gradient of A2C's loss, -mean(log pi(a|s) A + entropy_coef H) + value_coef mean((R - V)^2);
    3. the Kronecker factors of each layer's Fisher matrix, for the actions taken and for values drawn from N(V, 1);
    4. x = (F + damping)^-1 g, scaled down where its KL divergence would be above ``max_kl``, and a step along it.

    Policies with memory are refused: the Fisher matrix of a recurrence does not factor. See
    :class:`~pgfast.agent.Agent` for the arguments.
    """

    name = "acktr"
    learner_type = ACKTRLearner
    settings: ACKTRSettings

    def __init__(
        self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Unpack[ACKTRArguments]
    ) -> None:
        super().__init__(env, preset=preset, **settings)


ALGORITHMS: dict[str, type[Agent]] = {algorithm.name: algorithm for algorithm in (VPG, NPG, TRPO, A2C, PPO, ACKTR)}
