"""What settings ask for: networks, and optimizers with their schedules."""

from __future__ import annotations

import math

from pgfast import nn, optim
from pgfast.nn import Network
from pgfast.training.settings import OptimizerSettings, Settings

__all__ = ["make_network", "make_optimizer", "scheduled_learning_rate"]

_BASELINE_SEEDS = 2**63  # added to the run's seed, so that two networks of one shape do not start alike


def make_network(
    settings: Settings, observation_shape: tuple[int, ...], outputs: int, *, second: bool = False
) -> Network:
    """The network that the settings ask for; the ``second`` of a run has other initial weights.

    Raises ``ValueError`` for observations that it cannot take.
    """
    s = settings
    seed = s.seed + _BASELINE_SEEDS if second else s.seed
    if s.network == "mlp":
        return nn.mlp(math.prod(observation_shape), outputs, s.hidden_sizes, s.activation, seed=seed)
    if len(observation_shape) != 3:
        raise ValueError(
            f"network {s.network} needs observations (channels, height, width), got shape {observation_shape}"
        )
    build = nn.origin_cnn if s.network == "origin_cnn" else nn.nature_cnn
    return build(observation_shape, outputs, seed=seed)


def make_optimizer(settings: OptimizerSettings) -> optim.Optimizer:
    """The optimizer that the settings ask for."""
    name, learning_rate = settings.optimizer, settings.learning_rate
    if name == "adam":
        return optim.Adam(learning_rate, epsilon=1e-5)
    if name == "rmsprop":
        return optim.RMSprop(learning_rate)
    return optim.SGD(learning_rate)


def scheduled_learning_rate(settings: OptimizerSettings, timesteps: int) -> float:
    """The learning rate of an update after ``timesteps``."""
    s = settings
    if s.learning_rate_schedule == "constant":
        return s.learning_rate
    assert s.schedule_timesteps is not None
    return optim.linear_schedule(s.learning_rate, timesteps, s.schedule_timesteps)
