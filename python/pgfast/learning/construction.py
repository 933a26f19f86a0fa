"""Networks, policies, value functions, and optimizers with their schedules, made from settings."""

from __future__ import annotations

import math

from pgfast import nn, optim
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.settings import OptimizerSettings, PolicySettings, Settings
from pgfast.policies import Policy, family_of
from pgfast.value_functions import LinearValues, MLPValues, TimeValues, ValueFunction, ZeroValues

__all__ = ["count_parameters", "learning_rate_at", "make_optimizer", "make_policy", "make_value_function"]

_VALUE_NETWORK_SEEDS = 2**63  # added to the run's seed, so that two networks of one shape do not start alike


def make_policy(settings: Settings, space: SpaceInfo, *, value_head: bool = False) -> Policy:
    """A new policy on the network that the settings ask for. Raises ``ValueError`` if it cannot take observations."""
    s = settings
    family = family_of(space.action, state_dependent_std=s.state_dependent_std)
    network = _make_network(s, space.observation_shape, family.columns + value_head, s.seed)
    return Policy(network, family, value_head=value_head, log_std_init=s.log_std_init)


def make_value_function(settings: PolicySettings, space: SpaceInfo) -> ValueFunction:
    """The value function that ``baseline`` names."""
    s = settings
    if s.baseline == "zero":
        return ZeroValues()
    if s.baseline == "time":
        return TimeValues()
    if s.baseline == "linear":
        return LinearValues(math.prod(space.observation_shape))
    return MLPValues(
        _make_network(s, space.observation_shape, 1, s.seed + _VALUE_NETWORK_SEEDS),
        learning_rate=s.value_learning_rate,
        epochs=s.value_epochs,
        batch_size=s.value_batch_size,
        seed=s.seed,
    )


def count_parameters(settings: Settings, space: SpaceInfo) -> int:
    """The fewest parameters that a policy of these settings has; makes none. Raises as :func:`make_policy` does."""
    family = family_of(space.action, state_dependent_std=settings.state_dependent_std)
    return nn.count_parameters(*_architecture(settings, space.observation_shape, family.columns))


def make_optimizer(settings: OptimizerSettings) -> optim.Optimizer:
    """A new optimizer of the policy."""
    name, learning_rate = settings.optimizer, settings.learning_rate
    if name == "adam":
        return optim.Adam(learning_rate, epsilon=1e-5)
    if name == "rmsprop":
        return optim.RMSprop(learning_rate)
    return optim.SGD(learning_rate)


def learning_rate_at(settings: OptimizerSettings, timesteps: int) -> float:
    """The learning rate of an update whose rollout began at ``timesteps`` of the run."""
    s = settings
    if s.learning_rate_schedule == "constant":
        return s.learning_rate
    assert s.schedule_timesteps is not None
    return optim.linear_schedule(s.learning_rate, timesteps, s.schedule_timesteps)


def _make_network(settings: Settings, observation_shape: tuple[int, ...], outputs: int, seed: int) -> nn.Network:
    return nn.Network(*_architecture(settings, observation_shape, outputs), seed=seed)


def _architecture(
    settings: Settings, observation_shape: tuple[int, ...], outputs: int
) -> tuple[tuple[int, ...], list[nn.Layer]]:
    s = settings
    if s.network == "mlp":
        return (math.prod(observation_shape),), nn.mlp_layers(outputs, s.hidden_sizes, s.activation)
    if len(observation_shape) != 3:
        raise ValueError(
            f"network {s.network} needs observations (channels, height, width), got shape {observation_shape}"
        )
    return observation_shape, nn.cnn_layers(s.network, outputs)
