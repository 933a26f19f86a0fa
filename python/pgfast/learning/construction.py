"""Makes networks, policies, value functions and optimizers from settings, and evaluates their schedules."""

from __future__ import annotations

from pgfast import nn, optim
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.networks import network_leaves, network_spec, policy_spec
from pgfast.learning.settings import (
    BaselineSettings,
    FirstOrderActorCriticSettings,
    OptimizerSettings,
    Schedule,
    ScheduledSettings,
    Settings,
)
from pgfast.nn import architectures
from pgfast.policies import Policy, family_of
from pgfast.value_functions import LinearValues, MLPValues, TimeValues, ValueFunction, ZeroValues

__all__ = [
    *("count_parameters", "make_optimizer", "make_policy", "make_value_function"),
    *("entropy_coef_at", "learning_rate_at", "scheduled", "value_part_at"),
]

_VALUE_NETWORK_SEEDS = 2**63  # added to the run's seed: two networks of one shape start with different weights


def make_policy(
    settings: Settings, space: SpaceInfo, *, value_head: bool = False, separate_value: bool = False
) -> Policy:
    """Makes the policy of these settings. Raises ``ValueError`` if the network does not fit the observations."""
    s = settings
    family = family_of(space.action, state_dependent_std=s.state_dependent_std)
    leaves = network_leaves(space.observation, s)
    spec = policy_spec(s, leaves, separate_value=value_head and separate_value)
    network = nn.Network(spec, leaves, (family.num_outputs, int(value_head)), seed=s.seed)
    return Policy(network, family, value_head=value_head, log_std_init=s.log_std_init)


def make_value_function(settings: BaselineSettings, space: SpaceInfo) -> ValueFunction:
    """Makes the value function that ``baseline`` names."""
    s = settings
    if s.baseline == "zero":
        return ZeroValues()
    if s.baseline == "time":
        return TimeValues()
    leaves = network_leaves(space.observation, s)
    if s.baseline == "linear":
        return LinearValues(leaves)
    return MLPValues(
        nn.Network(network_spec(s, leaves), leaves, 1, seed=s.seed + _VALUE_NETWORK_SEEDS),
        learning_rate=s.value_learning_rate,
        epochs=s.value_epochs,
        batch_size=s.value_batch_size,
        seed=s.seed,
    )


def count_parameters(settings: Settings, space: SpaceInfo) -> int:
    """Returns a lower bound on the policy's parameters without allocating any. Raises as :func:`make_policy` does."""
    family = family_of(space.action, state_dependent_std=settings.state_dependent_std)
    leaves = network_leaves(space.observation, settings)
    return architectures.count_parameters(policy_spec(settings, leaves), leaves, family.num_outputs)


def make_optimizer(settings: OptimizerSettings) -> optim.Optimizer:
    """Makes the optimizer of the policy."""
    name, learning_rate = settings.optimizer, settings.learning_rate
    if name == "adam":
        return optim.Adam(learning_rate, epsilon=1e-5)
    if name == "rmsprop":
        return optim.RMSprop(learning_rate)
    return optim.SGD(learning_rate)


def learning_rate_at(settings: ScheduledSettings, timesteps: int) -> float:
    """Returns the learning rate of an update whose rollout began at ``timesteps`` of the run."""
    return scheduled(settings.learning_rate, settings.learning_rate_schedule, timesteps, settings)


def entropy_coef_at(settings: ScheduledSettings, timesteps: int) -> float:
    """Returns the weight of the entropy bonus of an update whose rollout began at ``timesteps`` of the run."""
    return scheduled(settings.entropy_coef, settings.entropy_coef_schedule, timesteps, settings)


def value_part_at(
    settings: FirstOrderActorCriticSettings, policy: Policy, timesteps: int
) -> tuple[slice, float] | None:
    """Returns the part of the parameters that has ``value_learning_rate``, and its rate; None if there is none."""
    if settings.value_learning_rate in (None, settings.learning_rate):  # equal rates: a step in one part has its bits
        return None
    part = policy.network.value_part
    assert part is not None
    rate = scheduled(settings.value_learning_rate, settings.learning_rate_schedule, timesteps, settings)
    return part, rate


def scheduled(initial: float, schedule: Schedule, timesteps: int, settings: ScheduledSettings) -> float:
    """Returns the value of a schedule for an update whose rollout began at ``timesteps`` of the run."""
    if schedule == "constant":
        return initial
    assert settings.schedule_timesteps is not None
    if isinstance(schedule, tuple):
        return optim.tabulated_schedule(initial, schedule, timesteps, settings.schedule_timesteps)
    fall = optim.linear_schedule if schedule == "linear" else optim.cosine_schedule
    return fall(initial, timesteps, settings.schedule_timesteps)
