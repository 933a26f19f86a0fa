"""What every agent can do: learn, predict, evaluate, save."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from gymnasium import spaces

from pgfast import nn, optim
from pgfast._streams import EVALUATION_ACTIONS, EVALUATION_SEEDS, PREDICTION
from pgfast._typing import Array, FloatArray, IntArray
from pgfast.distributions import Distribution
from pgfast.envs.make import AnyVectorEnv
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.envs.stepper import Stepper, box_observation_shape, discrete_action_count
from pgfast.policies import ActorCritic
from pgfast.random import Rng
from pgfast.rollout import Collector, Rollout
from pgfast.training.evaluation import EvaluationResult, evaluation_envs, play
from pgfast.training.models import write_model
from pgfast.training.scores import Scores
from pgfast.training.settings import Settings, resolve_settings

__all__ = ["Agent", "Callback", "SpaceInfo"]

Callback: TypeAlias = Callable[["Agent", dict[str, Any]], bool | None]

MODEL_FORMAT = 1
_LARGEST = 100_000  # of an axis of observations, or actions
_ACTION_DTYPES = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


@dataclass(frozen=True)
class SpaceInfo:
    """What an agent must know of its environment's spaces; a model file carries it."""

    observation_shape: tuple[int, ...]
    byte_observations: bool
    num_actions: int
    first_action: int
    action_dtype: str

    @classmethod
    def of(cls, observation: spaces.Space[Any], action: spaces.Space[Any]) -> SpaceInfo:
        """Raises ``ValueError`` unless observations are a Box and actions Discrete, of sizes within the limits."""
        info = cls(
            observation_shape=box_observation_shape(observation),
            byte_observations=observation.dtype == np.uint8,
            num_actions=discrete_action_count(action),
            first_action=int(getattr(action, "start", 0)),
            action_dtype=str(action.dtype),
        )
        info.check()
        return info

    def check(self) -> None:
        """Raises ``ValueError`` for what no agent can have; files say the same things as environments."""
        shape = self.observation_shape
        if not all(type(size) is int and 1 <= size <= _LARGEST for size in shape) or not 1 <= len(shape) <= 4:
            raise ValueError(f"observations of shape {shape} are not supported: 1 to 4 axes of 1 to {_LARGEST}")
        if type(self.num_actions) is not int or not 1 <= self.num_actions <= _LARGEST:
            raise ValueError(f"{self.num_actions} actions are not supported: 1 to {_LARGEST}")
        if type(self.first_action) is not int or type(self.byte_observations) is not bool:
            raise ValueError("first_action must be an integer and byte_observations a bool")
        if self.action_dtype not in _ACTION_DTYPES:
            raise ValueError(f"actions of dtype {self.action_dtype!r} are not supported")


class Agent(ABC):
    """A policy, the environments it learns in, and the rule it learns by. See the algorithms for the arguments."""

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    settings: Any
    preset: str | None  # the name that the settings came from, where it is known

    def __init__(self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Any) -> None:
        source = EnvironmentSource(env)
        if source.num_envs is not None and settings.setdefault("num_envs", source.num_envs) != source.num_envs:
            raise ValueError(f"num_envs is {settings['num_envs']}, the vector environment has {source.num_envs}")
        resolved = resolve_settings(self.settings_type, self.name, source.env_id, preset, settings)
        self._build(source, resolved, SpaceInfo.of(*source.spaces()))
        self.preset = preset if source.env_id is not None else None

    @classmethod
    def restore(
        cls, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo, parameters: FloatArray
    ) -> Self:
        """An agent from what a model file holds. Raises ``ValueError`` where the parts do not fit each other."""
        agent = cls.__new__(cls)
        agent._build(source, settings, space)
        if parameters.shape != agent.policy.parameters.shape or parameters.dtype != agent.policy.parameters.dtype:
            raise ValueError(
                f"the network has {agent.policy.parameters.size} float32 parameters, "
                f"the file {parameters.size} {parameters.dtype}"
            )
        agent.policy.parameters[:] = parameters
        return agent

    def _build(self, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo) -> None:
        self.source = source
        self.preset = None
        self.settings = settings
        self.space = space
        self.policy = ActorCritic(self._network(), spaces.Discrete(space.num_actions))
        self.optimizer = self._optimizer()
        self.gradient: FloatArray = np.zeros_like(self.policy.parameters)
        self.scores = Scores(self.settings.num_envs)
        self.timesteps = 0
        self.updates = 0
        self.last_values: FloatArray | None = None
        self.last_returns: FloatArray | None = None
        self._env: AnyVectorEnv | None = None
        self._collector: Collector | None = None
        self._prediction_rng = Rng.internal(self.settings.seed, PREDICTION)

    @property
    def env_id(self) -> str | None:
        """The environment's id, where the agent was made from one."""
        return None if self.source is None else self.source.env_id

    @property
    def collector(self) -> Collector:
        """The rollout being collected; there is one from the first call of ``learn`` on."""
        assert self._collector is not None
        return self._collector

    @abstractmethod
    def update(self) -> dict[str, float]:
        """One update from the rollout just collected; gives the figures to report."""

    def learn(
        self,
        total_timesteps: int,
        *,
        callback: Callback | None = None,
        progress_bar: bool = False,
        run_dir: str | Path | None = None,
    ) -> Self:
        """Trains for ``total_timesteps`` more steps, to the end of the update that reaches them.

        Args:
            total_timesteps: at least 1; a step of one environment counts as one.
            callback: called with (agent, row) for every row of progress; returning False ends the training.
            progress_bar: shows progress on the terminal, or as plain lines where there is none.
            run_dir: a new directory for config, progress, checkpoints and model; None writes nothing.

        Returns: the agent.

        Raises: ``ValueError`` (total_timesteps, an agent without environments), ``FileExistsError`` (run_dir exists),
        ``FloatingPointError`` (a number that is not finite, named at its source; the parameters stay as they were).
        On SIGINT or SIGTERM the update is finished and saved before KeyboardInterrupt or SystemExit is raised.
        """
        from pgfast.training.loop import learn

        if total_timesteps < 1:
            raise ValueError(f"learn: total_timesteps must be at least 1, got {total_timesteps}")
        learn(self, self.timesteps + total_timesteps, callback=callback, progress_bar=progress_bar, run_dir=run_dir)
        return self

    def predict(self, obs: Array, deterministic: bool = False) -> Any:
        """Actions for one observation or a batch of them, of the action space's dtype and shape.

        Sampled from the policy, or the most probable ones if ``deterministic``. Raises ``ValueError`` for a shape that
        is neither, or observations that are not finite; ``TypeError`` for other than bytes where the agent learned from
        bytes.
        """
        obs = np.asarray(obs)
        single = obs.shape == self.space.observation_shape
        if not single and obs.shape[1:] != self.space.observation_shape:
            raise ValueError(
                f"predict: obs must have shape {self.space.observation_shape} or a batch of it, got {obs.shape}"
            )
        actions = self._choose(obs[None] if single else obs, self._prediction_rng, deterministic)
        actions = (actions + self.space.first_action).astype(self.space.action_dtype)
        return actions[0] if single else actions

    def evaluate(
        self, episodes: int, *, deterministic: bool = False, seed: int = 0, env: EnvironmentLike | None = None
    ) -> EvaluationResult:
        """Plays ``episodes`` whole games and gives their raw returns.

        Up to 16 environments play side by side, each a fixed number of games. ``env`` plays elsewhere than in the
        agent's own environments; a vector environment that was given to the agent is used, and starts anew.

        Raises ``ValueError`` if episodes < 1 or there is no environment.
        """
        if episodes < 1:
            raise ValueError(f"evaluate: episodes must be at least 1, got {episodes}")
        source = EnvironmentSource(env) if env is not None else self.source
        if source is None:
            raise ValueError("evaluate: this agent was loaded without an environment; give one as env=")
        vector = source.make(evaluation_envs(episodes), seed=seed)
        if vector is self._env:
            self._env = None  # the next learn() starts new games
        try:
            self._require_own_spaces("evaluate", vector)
            seeds = environment_seeds(seed, vector.num_envs, stream=EVALUATION_SEEDS)
            stepper = Stepper(vector)
            rng = Rng.internal(seed, EVALUATION_ACTIONS)
            return play(
                stepper,
                stepper.reset(seeds),
                lambda obs, step: self._choose(obs, rng, deterministic),
                episodes,
                deterministic=deterministic,
            )
        finally:
            source.close(vector)

    def save(self, path: str | Path) -> None:
        """Writes the model file: parameters, settings and spaces, all that :func:`pgfast.load` needs. Atomic."""
        write_model(Path(path), {"parameters": self.policy.parameters}, self.metadata())

    def metadata(self) -> dict[str, Any]:
        """What a model file says of its parameters."""
        from pgfast import __version__

        return {
            "format": MODEL_FORMAT,
            "pgfast": __version__,
            "algo": self.name,
            "env_id": self.env_id,
            "settings": asdict(self.settings),
            "space": asdict(self.space),
            "timesteps": self.timesteps,
            "updates": self.updates,
        }

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays, JSON) of everything that the rest of the training depends on, environments apart."""
        optimizer = self.optimizer.state_dict()
        arrays: dict[str, Array] = {"parameters": self.policy.parameters}
        arrays |= {f"optimizer.{key}": value for key, value in optimizer.items() if isinstance(value, np.ndarray)}
        scalars = {key: value for key, value in optimizer.items() if not isinstance(value, np.ndarray)}
        return arrays, {**self.metadata(), "optimizer": scalars, "scores": self.scores.state()}

    def load_state(self, arrays: dict[str, Array], state: dict[str, Any]) -> None:
        """Takes over what :meth:`state` gave. Raises ``ValueError`` or ``KeyError`` where it does not fit."""
        prefix = "optimizer."
        slots = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        self.optimizer.load_state_dict({**state["optimizer"], **slots})
        self.policy.parameters[:] = arrays["parameters"]
        self.scores.load_state(state["scores"])
        self.timesteps = int(state["timesteps"])
        self.updates = int(state["updates"])

    def start_environments(self) -> None:
        """Makes the environments anew, with seeds from (seed, update); open games are cut off."""
        if self.source is None:
            raise ValueError("learn: this agent was loaded without an environment; give one to pgfast.load as env=")
        s = self.settings
        self.close()
        self.scores.cut()
        self._env = self.source.make(s.num_envs, seed=s.seed, generation=self.updates, vectorization=s.vectorization)
        self._require_own_spaces("learn", self._env)
        if self._env.num_envs != s.num_envs:
            raise ValueError(f"learn: num_envs is {s.num_envs}, the vector environment has {self._env.num_envs}")
        stepper = Stepper(self._env)
        if self._collector is None:
            dtype = np.dtype(np.uint8 if self.space.byte_observations else np.float32)
            rollout = Rollout(s.n_steps, s.num_envs, self.policy.network.input_shape, dtype)
            self._collector = Collector(self.policy, stepper, rollout, seed=s.seed, on_transition=self.scores.add)
        seeds = environment_seeds(s.seed, s.num_envs, generation=self.updates)
        self._collector.restart(stepper, seeds)

    def ensure_environments(self) -> None:
        """Makes the environments if there are none; a training goes on with those it has."""
        if self._env is None:
            self.start_environments()

    def close(self) -> None:
        """Closes the environments that the agent made."""
        if self._env is not None and self.source is not None:
            self.source.close(self._env)
        self._env = None

    def _require_own_spaces(self, caller: str, env: AnyVectorEnv) -> None:
        found = SpaceInfo.of(env.single_observation_space, env.single_action_space)
        if found != self.space:
            raise ValueError(f"{caller}: the environment has {found}, the agent {self.space}")

    def _choose(self, obs: Array, rng: Rng, deterministic: bool) -> IntArray:
        distribution = self._distribution(obs)
        actions: IntArray = distribution.mode() if deterministic else distribution.sample(rng)
        return actions

    def _distribution(self, obs: Array) -> Distribution[Any]:
        if self.space.byte_observations and obs.dtype != np.uint8:
            raise TypeError(f"predict: obs must be uint8 as the environment's, got {obs.dtype}")
        dtype = np.uint8 if self.space.byte_observations else np.float32
        rows = np.ascontiguousarray(obs, dtype).reshape(len(obs), *self.policy.network.input_shape)
        if not self.space.byte_observations and not np.isfinite(rows).all():
            raise ValueError("predict: obs must be finite")
        return self.policy.distribution(rows)

    def _network(self) -> nn.Network:
        s, shape, outputs = self.settings, self.space.observation_shape, self.space.num_actions + 1
        if s.network == "mlp":
            return nn.mlp(math.prod(shape), outputs, s.hidden_sizes, s.activation, seed=s.seed)
        if len(shape) != 3:
            raise ValueError(f"network {s.network} needs observations (channels, height, width), got shape {shape}")
        build = nn.origin_cnn if s.network == "origin_cnn" else nn.nature_cnn
        return build(shape, outputs, seed=s.seed)

    def _optimizer(self) -> optim.Optimizer:
        s = self.settings
        if s.optimizer == "adam":
            return optim.Adam(s.learning_rate, epsilon=1e-5)
        if s.optimizer == "rmsprop":
            return optim.RMSprop(s.learning_rate)
        return optim.SGD(s.learning_rate)
