"""The settings as keyword arguments of the agents, for type checkers and the completion of editors.

Each class mirrors a dataclass of settings: the bases, the names and the types, without bounds and with all types that
the agent converts. A new setting is one more line here; ``tests/test_setting_arguments.py`` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from pgfast.learning.settings import Schedule
from pgfast.nn import NetworkSpec

__all__ = ["A2CArguments", "ACKTRArguments", "NPGArguments", "PPOArguments", "TRPOArguments", "VPGArguments"]


class EnvironmentArguments(TypedDict, total=False):
    num_envs: int
    env_kwargs: Mapping[str, Any] | None
    vectorization: Literal["auto", "sync", "async", "envpool"]
    normalize_observations: bool
    one_hot_observations: bool
    image_channels: Literal["auto", "first", "last"]
    action_scaling: bool
    action_mask: Literal["none", "info", "observation", "method"]
    normalize_rewards: bool
    max_env_restarts: int
    env_timeout: float | None


class RolloutArguments(TypedDict, total=False):
    n_steps: int


class WholeEpisodeArguments(RolloutArguments, total=False):
    whole_episodes: bool | None


class NetworkArguments(TypedDict, total=False):
    network: Literal["auto", "mlp", "small_cnn", "origin_cnn", "nature_cnn"] | NetworkSpec
    hidden_sizes: tuple[int, ...] | list[int]
    activation: Literal["tanh", "relu"]
    layer_norm: bool
    log_std_init: float
    state_dependent_std: bool
    init_from: str | Path | None


class UpdateArguments(TypedDict, total=False):
    discount: float
    gae_lambda: float
    normalize_advantages: bool
    on_nonfinite: Literal["raise", "skip"]


class RunArguments(TypedDict, total=False):
    seed: int
    sync_every: int
    checkpoint_every: int | None
    save_minutes: float
    keep_checkpoints: int
    eval_every: int | None
    eval_episodes: int
    stop_at_return: float | None
    log_episodes: bool
    info_keys: tuple[str, ...] | list[str]
    report_every: int
    num_workers: int
    worker_threads: int
    ray_address: str | None
    worker_timeout: float


class Arguments(
    RunArguments, UpdateArguments, NetworkArguments, RolloutArguments, EnvironmentArguments, total=False
): ...


class MemoryArguments(NetworkArguments, total=False):
    memory: Literal["none", "gru", "lstm"]
    memory_size: int


class ScheduledArguments(Arguments, total=False):
    learning_rate: float
    learning_rate_schedule: Schedule | Callable[[float], float]
    schedule_timesteps: int | None
    entropy_coef: float
    entropy_coef_schedule: Schedule | Callable[[float], float]


class OptimizerArguments(MemoryArguments, ScheduledArguments, total=False):
    optimizer: Literal["sgd", "adam", "rmsprop"]


class ActorCriticArguments(ScheduledArguments, total=False):
    value_coef: float
    value_gae_lambda: float | None
    separate_value_network: bool


class FirstOrderActorCriticArguments(ActorCriticArguments, OptimizerArguments, total=False):
    value_learning_rate: float | None


class BaselineArguments(WholeEpisodeArguments, Arguments, total=False):
    baseline: Literal["zero", "time", "linear", "mlp"]
    value_learning_rate: float
    value_epochs: int
    value_batch_size: int


class SecondOrderArguments(BaselineArguments, total=False):
    max_kl: float
    damping: float
    cg_iterations: int
    fisher_subsample: int


class VPGArguments(BaselineArguments, OptimizerArguments, total=False):
    max_grad_norm: float | None
    normalize_gradient: bool


class NPGArguments(SecondOrderArguments, total=False):
    solver: Literal["cholesky", "woodbury", "cg"]


class TRPOArguments(SecondOrderArguments, total=False):
    line_search_steps: int
    backtrack_ratio: float


class A2CArguments(FirstOrderActorCriticArguments, total=False):
    max_grad_norm: float


class PPOArguments(FirstOrderActorCriticArguments, total=False):
    max_grad_norm: float
    num_epochs: int
    minibatch_size: int | None
    clip_range: float
    clip_range_schedule: Schedule | Callable[[float], float]
    value_clip_range: float | None
    target_kl: float | None
    recompute_advantages: bool


class ACKTRArguments(ActorCriticArguments, total=False):
    max_kl: float
    damping: float
    momentum: float
    factor_decay: float
    inverse_every: int
    factor_steps: int | None
    position_stride: int
    target_kl: float | None
