"""Settings: one field each, with its default, its bounds and one sentence; grouped as the command line shows them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import Meta

from pgfast.learning.bounds import Bounded, Count, Fraction, NotNegative, Positive
from pgfast.nn import Memory, NetworkSpec
from pgfast.sampling.episode_recorder import EPISODE_COLUMNS

Schedule: TypeAlias = Literal["constant", "linear", "cosine"] | tuple[NotNegative, ...]
_SCHEDULE_POINTS = 1001  # values that are stored of a function

PLACEMENT = ("worker_threads", "ray_address", "worker_timeout")
"""The settings that say where and how a run's workers run. Unless a worker is lost, they change no result: a run may
continue with others."""

__all__ = [
    "PLACEMENT",
    "ActorCriticSettings",
    "BaselineSettings",
    "EnvironmentSettings",
    "FirstOrderActorCriticSettings",
    "MemorySettings",
    "NetworkSettings",
    "OptimizerSettings",
    "RolloutSettings",
    "RunSettings",
    "Schedule",
    "ScheduledSettings",
    "SecondOrderSettings",
    "Settings",
    "UpdateSettings",
    "require_no_memory",
    "setting_groups",
]


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings(Bounded):
    """The environments, and the normalization of their observations and rewards."""

    group: ClassVar[str] = "environment"

    num_envs: Annotated[int, Meta(ge=1, le=2**16)] = 16
    """Environments that are stepped together."""
    env_kwargs: dict[str, Any] | None = None
    """Arguments of an environment that is made from an id, beside those that it is registered with."""
    vectorization: Literal["auto", "sync", "async", "envpool"] = "auto"
    """How single environments become a vector environment: "sync" steps them in this process, "async" in a
    process each, "envpool" in EnvPool's threads (Gymnasium's classic-control and MuJoCo tasks), and "auto" takes a
    native vector environment if the id has one."""
    normalize_observations: bool = False
    """Shift and scale observations to mean 0 and standard deviation 1 by running statistics: the numbers among them, or
    the bytes if there are no numbers."""
    one_hot_observations: bool = False
    """Take bytes and other bounded integers as codes, one-hot, instead of as quantities."""
    image_channels: Literal["auto", "first", "last"] = "auto"
    """Axis of an image's channels: "auto" takes the shorter of the first and the last."""
    action_scaling: bool = True
    """Let the policy act in [-1, 1], which is mapped onto the bounds of a Box of actions where both are finite."""
    action_mask: Literal["none", "info", "observation", "method"] = "none"
    """Source of the masks of allowed actions: the key action_mask of the infos ("info") or of a Dict observation
    ("observation"), which is then no input of the network, or the environment's action_masks() ("method")."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    max_env_restarts: Annotated[int, Meta(ge=0)] = 0
    """Environments that a run may replace, each with its process, because they raised, died or hung; needs
    vectorization "async"."""
    env_timeout: Positive | None = None
    """Seconds that a step of an environment may take. A slower one counts as failed; if it has no process of its own,
    the training's prints the stacks of all threads and ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_env_restarts and self.vectorization != "async":
            raise ValueError('max_env_restarts needs the processes of vectorization "async"')


@dataclass(frozen=True, kw_only=True)
class RolloutSettings(Bounded):
    """The length of a rollout."""

    group: ClassVar[str] = "rollout"

    n_steps: Annotated[int, Meta(ge=1, le=2**24)] = 20
    """Steps of each environment per update."""

    @property
    def collects_whole_episodes(self) -> bool:
        """Whether every rollout resets the environments and runs until their episodes end."""
        return False


@dataclass(frozen=True, kw_only=True)
class WholeEpisodeSettings(RolloutSettings):
    """Rollouts of whole episodes."""

    group: ClassVar[str] = "rollout"

    whole_episodes: bool | None = None
    """Reset the environments before every rollout and run until their episodes end. None: yes with the baselines "zero"
    and "time", no with the others."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Bounded):
    """The network of the policy and its initial parameters."""

    group: ClassVar[str] = "network"

    network: Literal["auto", "mlp", "small_cnn", "origin_cnn", "nature_cnn"] | NetworkSpec = "auto"
    """Architecture: "auto" gives images of bytes a convolutional network that fits them, and the rest a multi-layer
    perceptron; "mlp" takes images as vectors; the others are convolutional networks. Or a pgfast.nn.NetworkSpec."""
    hidden_sizes: tuple[Count, ...] = (64, 64)
    """Units of each hidden layer of an mlp; none makes it linear."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the hidden layers of an mlp."""
    layer_norm: bool = False
    """Normalize the inputs of the activations of dense hidden layers."""
    log_std_init: Annotated[float, Meta(ge=-20, le=20)] = 0.0
    """Initial log standard deviation of continuous actions."""
    state_dependent_std: bool = False
    """Make the log standard deviations of continuous actions outputs of the network instead of separate parameters."""
    init_from: str | None = None
    """Model file, checkpoint or run directory to take the initial parameters and normalizers from."""


@dataclass(frozen=True, kw_only=True)
class UpdateSettings(Bounded):
    """The computation of an update."""

    group: ClassVar[str] = "update"

    discount: Fraction = 0.99
    """Discount factor."""
    gae_lambda: Fraction = 1.0
    """Decay of generalized advantage estimation; 1 estimates advantages by Monte Carlo within the rollout."""
    normalize_advantages: bool = False
    """Shift and scale the advantages of each batch to mean 0 and standard deviation 1."""
    on_nonfinite: Literal["raise", "skip"] = "raise"
    """If an observation, a reward, the loss or the gradient is not finite: end the training, or skip the update and
    restart the environments. Ten skipped updates in a row end the training too."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(Bounded):
    """The seed, the intervals of saves and rows, and the workers."""

    group: ClassVar[str] = "run"

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Seed of everything random in the run."""
    sync_every: Count = 100_000
    """Timesteps between synchronization points: the environments restart, and a checkpoint that resumes bit for bit is
    saved."""
    checkpoint_every: Count | None = None
    """Timesteps between further checkpoints, which change no bit of the run; a run resumed from one starts new
    episodes."""
    save_minutes: NotNegative = 5.0
    """Minutes of wall time between further checkpoints of the same kind; 0 for none."""
    keep_checkpoints: Count = 3
    """Checkpoints that are kept; the newest one of a synchronization point is kept besides."""
    eval_every: Count | None = None
    """Timesteps between evaluations, which have environments of their own and change no bit of the run. The best model
    is kept in best_model.safetensors."""
    eval_episodes: Count = 10
    """Episodes of an evaluation."""
    stop_at_return: float | None = None
    """Mean return at which the training ends: of an evaluation, or without evaluations of the last 100 episodes."""
    report_every: Count = 10_000
    """Timesteps between rows of progress.csv."""
    log_episodes: bool = False
    """Write a line of episodes.csv for each whole episode."""
    info_keys: tuple[str, ...] = ()
    """Keys of the environments' infos whose values at the end of an episode are columns of episodes.csv, too."""
    num_workers: Annotated[int, Meta(ge=1, le=2**12)] = 1
    """Workers that make every update together, each with num_envs / num_workers environments."""
    worker_threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Threads of each worker, for which Ray reserves as many processors."""
    ray_address: str | None = None
    """Ray cluster of several workers: its address, "auto" for the one that this machine belongs to, or "none" for
    threads of this process. None and "local" start Ray on this machine, unless this process has it."""
    worker_timeout: Positive = 300.0
    """Seconds that a worker may take for a rollout, and from one message to the next; a slower one is replaced."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.info_keys and not self.log_episodes:
            raise ValueError("info_keys needs log_episodes")
        for key in self.info_keys:
            if not (key.isidentifier() and key.isascii()):
                raise ValueError(f"info_keys must be letters, digits and underscores, got {key!r:.40}")
            if key in EPISODE_COLUMNS or self.info_keys.count(key) > 1:
                raise ValueError(
                    f"info_keys must differ from each other and from {', '.join(EPISODE_COLUMNS)}, got {key}"
                )


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings, UpdateSettings, NetworkSettings, RolloutSettings, EnvironmentSettings):
    """The settings that every algorithm has.

    Raises:
        TypeError: for a value of another type.
        ValueError: for a value out of bounds.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_envs % self.num_workers:
            raise ValueError(f"num_workers must divide num_envs = {self.num_envs}, got {self.num_workers}")

    def remarks(self, total_timesteps: int) -> list[str]:
        """Sentences that the user should read before a run of this length."""
        return []


@dataclass(frozen=True, kw_only=True)
class MemorySettings(NetworkSettings):
    """The memory of algorithms whose gradient goes back through time."""

    group: ClassVar[str] = "network"

    memory: Memory = "none"
    """Recurrent layer between the hidden layers and the outputs: a policy with memory sees all of its episode so far,
    not only the latest observation."""
    memory_size: Count = 128
    """Units of the memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory != "none" and isinstance(self.network, NetworkSpec):
            raise ValueError(
                f'memory "{self.memory}" cannot be added to a NetworkSpec; give the description itself a memory: '
                f'NetworkSpec(..., memory="{self.memory}")'
            )


@dataclass(frozen=True, kw_only=True)
class ScheduledSettings(Settings):
    """The settings of algorithms that step along the gradient of a loss, which change in the course of a run."""

    learning_rate: NotNegative = 1e-3
    """Step size of the optimizer."""
    learning_rate_schedule: Schedule = "constant"
    """"linear" and "cosine" lower the learning rate to 0 at schedule_timesteps. A function takes the fraction of these
    that is done and returns a factor of the learning rate; it is stored as values, with straight lines between them."""
    schedule_timesteps: Count | None = None
    """Timesteps at which schedules end; required unless they are constant, unchanged by resume."""
    entropy_coef: NotNegative = 0.0
    """Weight of the entropy bonus."""
    entropy_coef_schedule: Schedule = "constant"
    """"linear" and "cosine" lower the weight of the entropy bonus to 0 at schedule_timesteps; or a function, as for the
    learning rate."""

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self) if field.name.endswith("_schedule")]
        for name in names:
            object.__setattr__(self, name, _tabulated(name, getattr(self, name)))
        super().__post_init__()
        for name in names:
            schedule = getattr(self, name)
            if schedule == ():
                raise ValueError(f"{name} must have at least one value, got none")
            if schedule != "constant" and self.schedule_timesteps is None:
                shown = f'{name} "{schedule}"' if isinstance(schedule, str) else f"the function of {name}"
                raise ValueError(f"{shown} needs schedule_timesteps")

    def remarks(self, total_timesteps: int) -> list[str]:
        end, schedule = self.schedule_timesteps, self.learning_rate_schedule
        falls_to_zero = schedule in ("linear", "cosine") or schedule[-1] == 0.0
        if not falls_to_zero or end is None or total_timesteps <= end:
            return []
        return [f"the learning rate is 0 from {end:,} timesteps on: the policy no longer changes there"]


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(MemorySettings, ScheduledSettings):
    """The settings of algorithms with a first-order optimizer."""

    optimizer: Literal["sgd", "adam", "rmsprop"] = "adam"
    """Update rule: "adam" with epsilon 1e-5; "rmsprop" in PyTorch's form with decay 0.99 and epsilon 1e-5."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings(ScheduledSettings):
    """The settings of algorithms that learn a policy and its value by one loss."""

    value_coef: NotNegative = 0.5
    """Weight of the value loss."""
    value_gae_lambda: Fraction | None = None
    """gae_lambda of the returns that the values are fitted to; None for gae_lambda itself."""
    separate_value_network: bool = False
    """Give the value a network of its own, with the same layers, instead of a head on the policy's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.separate_value_network and isinstance(self.network, NetworkSpec):
            raise ValueError(
                "separate_value_network cannot be added to a NetworkSpec; give the description itself a second one: "
                "NetworkSpec(..., value=NetworkSpec(...))"
            )


@dataclass(frozen=True, kw_only=True)
class FirstOrderActorCriticSettings(ActorCriticSettings, OptimizerSettings):
    """The settings of algorithms that learn a policy and its value by one loss, with a first-order optimizer."""

    value_learning_rate: NotNegative | None = None
    """Step size for a separate value network, on the schedule of learning_rate; None for learning_rate itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        described = self.network if isinstance(self.network, NetworkSpec) else None
        has_separate = self.separate_value_network or (described and isinstance(described.value, NetworkSpec))
        if self.value_learning_rate is not None and not has_separate:
            raise ValueError(
                "value_learning_rate needs separate_value_network, or a NetworkSpec whose value is a second NetworkSpec"
            )


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(WholeEpisodeSettings, Settings):
    """The settings of algorithms whose baseline is separate from the policy."""

    n_steps: Annotated[int, Meta(ge=1, le=2**24)] = 128
    """Steps of each environment per update; with whole episodes, a batch has at least num_envs x n_steps rows."""
    gae_lambda: Fraction = 0.98
    """Decay of generalized advantage estimation; 1 estimates advantages by Monte Carlo within the rollout."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of each batch to mean 0 and standard deviation 1."""
    baseline: Literal["zero", "time", "linear", "mlp"] = "mlp"
    """Baseline of the advantages: zero, the mean return at each time step, or a function fitted to the returns."""
    value_learning_rate: NotNegative = 1e-3
    """Step size of Adam for the mlp baseline."""
    value_epochs: Annotated[int, Meta(ge=1, le=2**16)] = 10
    """Passes over each batch for the mlp baseline."""
    value_batch_size: Annotated[int, Meta(ge=1, le=2**24)] = 64
    """Rows of a minibatch for the mlp baseline."""

    @property
    def collects_whole_episodes(self) -> bool:
        """``whole_episodes`` with its default resolved."""
        return self.baseline in ("zero", "time") if self.whole_episodes is None else self.whole_episodes


@dataclass(frozen=True, kw_only=True)
class SecondOrderSettings(BaselineSettings):
    """The settings of algorithms that step along a natural gradient."""

    max_kl: Positive = 0.01
    """Radius of a step: the mean KL divergence of the old policy from the new, in nats."""
    damping: NotNegative = 0.1
    """Added to the diagonal of the Fisher matrix."""
    cg_iterations: Count = 10
    """Maximum number of iterations of conjugate gradient."""
    fisher_subsample: Count = 1
    """Estimate the Fisher matrix from one row in this many, drawn at random; 1 takes all rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_no_memory(self.network)


def require_no_memory(network: str | NetworkSpec) -> None:
    """Raises ``ValueError`` for a network with memory, of which no natural gradient can be computed."""
    if isinstance(network, NetworkSpec) and network.memory != "none":
        raise ValueError(
            f'network has the memory "{network.memory}", which steps along the natural gradient do not support; '
            "take VPG, A2C or PPO"
        )


def _tabulated(name: str, schedule: Any) -> Any:
    """The values of a function at equal distances from 0 to 1; anything else as it is."""
    if not callable(schedule):
        return schedule
    values = [schedule(point / (_SCHEDULE_POINTS - 1)) for point in range(_SCHEDULE_POINTS)]
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must return a number, got {values[0]!r:.40}") from None


def setting_groups(settings_type: type[Settings]) -> dict[str, list[str]]:
    """The names of a class's settings by group; an algorithm's settings belong to "update" unless a base says else."""
    groups: dict[str, list[str]] = {}
    for field in fields(settings_type):
        first = next(cls for cls in reversed(settings_type.__mro__) if field.name in inspect.get_annotations(cls))
        groups.setdefault(vars(first).get("group", UpdateSettings.group), []).append(field.name)
    return groups
