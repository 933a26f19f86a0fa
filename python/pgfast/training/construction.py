"""What settings ask for: networks, optimizers with their schedules, and memory for rollouts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pgfast import nn, optim
from pgfast.envs.normalization import ObservationNormalizer
from pgfast.envs.spaces import SpaceInfo
from pgfast.envs.stepper import Stepper, Transition
from pgfast.nn import Network
from pgfast.policies import PolicyTape
from pgfast.rollout import Collector, Rollout
from pgfast.training.settings import OptimizerSettings, Settings

__all__ = ["count_parameters", "make_collector", "make_network", "make_optimizer", "scheduled_learning_rate"]

_BASELINE_SEEDS = 2**63  # added to the run's seed, so that two networks of one shape do not start alike


def make_network(
    settings: Settings, observation_shape: tuple[int, ...], outputs: int, *, second: bool = False
) -> Network:
    """The network that the settings ask for; the ``second`` of a run has other initial weights.

    Raises ``ValueError`` for observations that it cannot take.
    """
    seed = settings.seed + _BASELINE_SEEDS if second else settings.seed
    return Network(*_architecture(settings, observation_shape, outputs), seed=seed)


def count_parameters(settings: Settings, observation_shape: tuple[int, ...], outputs: int) -> int:
    """P of such a network, which is not made. Raises as :func:`make_network` does."""
    return nn.count_parameters(*_architecture(settings, observation_shape, outputs))


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


def make_collector(
    settings: Settings,
    space: SpaceInfo,
    tape: PolicyTape,
    stepper: Stepper,
    on_transition: Callable[[Transition], None],
    normalizer: ObservationNormalizer | None,
) -> Collector:
    """What fills the rollouts of a run."""
    s = settings
    rollout = Rollout(
        s.n_steps,
        s.num_envs,
        tape.policy.network.input_shape,
        np.dtype(np.uint8 if space.byte_observations else np.float32),
        space.action,
        keep_raw=normalizer is not None,
    )
    return Collector(
        tape,
        stepper,
        rollout,
        seed=s.seed,
        on_transition=on_transition,
        normalizer=normalizer,
        env_timeout=None if s.vectorization == "async" else s.env_timeout,
    )
