"""What every agent can do: learn, predict, evaluate, save."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from pgfast._streams import EVALUATION_ACTIONS, EVALUATION_SEEDS, PREDICTION
from pgfast._typing import Array, FloatArray
from pgfast.distributions import Distribution
from pgfast.envs.make import AnyVectorEnv
from pgfast.envs.normalization import ObservationNormalizer, RewardNormalizer
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.envs.stepper import Stepper
from pgfast.optim import Optimizer, require_slots_of
from pgfast.policies import Policy, PolicyTape
from pgfast.random import Rng
from pgfast.rollout import Collector
from pgfast.training.advance import Skips
from pgfast.training.construction import count_parameters, make_collector
from pgfast.training.evaluation import EvaluationResult, evaluation_envs, play
from pgfast.training.models import select, write_model
from pgfast.training.scores import Scores
from pgfast.training.settings import Settings, as_field_types, resolve_settings

__all__ = ["MODEL_FORMAT", "Agent", "Callback"]

Callback: TypeAlias = Callable[["Agent", dict[str, Any]], bool | None]

MODEL_FORMAT = 2


class Agent(ABC):
    """A policy, the environments it learns in, and the rule it learns by. See the algorithms for the arguments."""

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    extra_fields: ClassVar[tuple[str, ...]] = ()  # columns of progress.csv besides those of every algorithm
    settings: Any
    preset: str | None  # the name that the settings came from, where it is known
    policy: Policy
    optimizer: Optimizer | None = None

    def __init__(self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Any) -> None:
        source = EnvironmentSource(env)
        if source.num_envs is not None and settings.setdefault("num_envs", source.num_envs) != source.num_envs:
            raise ValueError(f"num_envs is {settings['num_envs']}, the vector environment has {source.num_envs}")
        if source.env_id is None and preset not in ("default", None):
            raise ValueError(f'there is no preset "{preset}" where env is not an environment id')
        resolved = resolve_settings(self.settings_type, self.name, source.env_id, preset, settings)
        source.require(resolved.vectorization, resolved.max_env_restarts)
        self._build(source, resolved, SpaceInfo.of(*source.spaces()))
        self.preset = preset if source.env_id is not None else None
        if resolved.init_from is not None:
            from pgfast.training.loading import read_model_of

            try:
                arrays, model = read_model_of(Path(resolved.init_from))
                self._require_same_policy(model)
                self.start_from(arrays)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"init_from {resolved.init_from} does not fit this agent: {error}") from None

    @classmethod
    def restore(
        cls, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo, arrays: Mapping[str, Array]
    ) -> Self:
        """An agent from what a model file holds.

        Raises ``ValueError`` or ``KeyError`` where the parts do not fit each other.
        """
        needed = count_parameters(settings, space.observation_shape, space.action.columns)
        if arrays["parameters"].size < needed:  # before memory is taken for what the file does not hold
            raise ValueError(
                f"settings and spaces need {needed:,} parameters or more, the file has {arrays['parameters'].size:,}"
            )
        agent = cls.__new__(cls)
        agent._build(source, settings, space)
        agent.load_arrays(arrays)
        return agent

    def _build(self, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo) -> None:
        self.source = source
        self.preset = None
        self.settings = settings
        self.space = space
        if settings.normalize_observations and space.byte_observations:
            raise ValueError("normalize_observations is for numbers; observations of bytes are scaled already")
        self.policy = self._make_policy()
        self.observation_normalizer = (
            ObservationNormalizer(self.policy.network.input_shape) if settings.normalize_observations else None
        )
        self.reward_normalizer = (
            RewardNormalizer(settings.num_envs, settings.discount) if settings.normalize_rewards else None
        )
        self.scores = Scores(settings.num_envs)
        self.skips = Skips()
        self.timesteps = 0
        self.updates = 0
        self.last_values: FloatArray | None = None
        self.last_returns: FloatArray | None = None
        self._env: AnyVectorEnv | None = None
        self._collector: Collector | None = None
        self._prediction_rng = Rng.internal(settings.seed, PREDICTION)

    @abstractmethod
    def _make_policy(self) -> Policy:
        """The policy, and whatever else the algorithm keeps."""

    @property
    def env_id(self) -> str | None:
        """The environment's id, where the agent was made from one."""
        return None if self.source is None else self.source.env_id

    @property
    def collector(self) -> Collector:
        """The rollout being collected; there is one from the first call of ``learn`` on."""
        assert self._collector is not None
        return self._collector

    def collect(self) -> None:
        """Fills the rollout of the next update."""
        self.collector.collect(self.timesteps // self.settings.num_envs)

    @abstractmethod
    def update(self) -> dict[str, float]:
        """One update from the rollout just collected; gives the figures to report."""

    def require_finite_loss(self, loss: float) -> None:
        """Raises ``FloatingPointError`` where the loss of this update is NaN or infinite."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of update {self.updates} is not finite: {loss}")

    def figures(self) -> dict[str, float]:
        """What a row of progress says besides the means over its updates."""
        return {} if self.optimizer is None else {"learning_rate": self.optimizer.learning_rate}

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
        ``FloatingPointError`` (a number that is not finite, named at its source; none is ever written to the
        parameters), ``RuntimeError`` (an environment that fails, or whose episodes do not end where whole ones are
        asked for). With ``run_dir`` the state after the last whole update is saved first.
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
        played = self.space.action.to_environment(actions)
        return played[0] if single else played

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
        """Writes the model file: parameters, normalizers, settings and spaces, all that :func:`pgfast.load` needs.

        Atomic. Raises ``OSError``.
        """
        write_model(Path(path), self.arrays(), self.metadata())

    def arrays(self) -> dict[str, Array]:
        """What a model file holds: ``parameters``, and the statistics of the normalizers there are."""
        found: dict[str, Array] = {"parameters": self.policy.parameters}
        for kind, normalizer in self._normalizers().items():
            found |= {f"{kind}.{name}": array for name, array in normalizer.moments.state().items()}
        return found

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what :meth:`arrays` gave. Raises ``KeyError`` or ``ValueError`` where it does not fit."""
        self.start_from(arrays)

    def start_from(self, arrays: Mapping[str, Array]) -> None:
        """Takes over a model's parameters and normalizers. Raises as :meth:`load_arrays` does."""
        own, given = self.policy.parameters, arrays["parameters"]
        if given.shape != own.shape or given.dtype != own.dtype:
            raise ValueError(f"the policy has {own.size} {own.dtype} parameters, the file {given.size} {given.dtype}")
        normalizers = self._normalizers()
        for kind in ("observations", "rewards"):
            known = any(name.startswith(f"{kind}.") for name in arrays)
            if kind in normalizers and not known:
                raise ValueError(f"the file has no statistics of {kind}, but normalize_{kind} is on")
            if kind not in normalizers and known:
                raise ValueError(f"the file has statistics of {kind}, but normalize_{kind} is off")
        for kind, normalizer in normalizers.items():
            normalizer.moments.load_state(select(arrays, f"{kind}."))
        own[:] = given

    def _require_same_policy(self, model: Mapping[str, Any]) -> None:
        """Raises ``ValueError`` unless a model's parameters mean here what they mean there."""
        space = SpaceInfo.from_json(model["space"])
        if (space.observation_shape, space.action.sizes, space.action.components) != (
            self.space.observation_shape,
            self.space.action.sizes,
            self.space.action.components,
        ):
            raise ValueError(f"the model is of {space}, the environment has {self.space}")
        for name in ("network", "hidden_sizes", "activation", "state_dependent_std"):
            theirs, own = as_field_types(model["settings"]).get(name), getattr(self.settings, name)
            if theirs != own and (self.settings.network == "mlp" or name == "network"):
                raise ValueError(f"the model has {name} {theirs}, this agent {own}")

    def _normalizers(self) -> dict[str, ObservationNormalizer | RewardNormalizer]:
        both = {"observations": self.observation_normalizer, "rewards": self.reward_normalizer}
        return {kind: normalizer for kind, normalizer in both.items() if normalizer is not None}

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
        arrays = self.arrays()
        state = {**self.metadata(), "scores": self.scores.state(), "skips": self.skips.state()}
        if self.optimizer is not None:
            optimizer = self.optimizer.state_dict()
            slots = {key: value for key, value in optimizer.items() if isinstance(value, np.ndarray)}
            arrays |= {f"optimizer.{key}": value for key, value in slots.items()}
            state["optimizer"] = {key: value for key, value in optimizer.items() if key not in slots}
        return arrays, state

    def load_state(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state` gave. Raises ``ValueError`` or ``KeyError`` where it does not fit."""
        if self.optimizer is not None:
            slots = select(arrays, "optimizer.")
            require_slots_of(self.policy.parameters, slots)
            self.optimizer.load_state_dict({**state["optimizer"], **slots})
        self.load_arrays(arrays)
        self.scores.load_state(state["scores"])
        self.skips.load_state(state["skips"])
        self.timesteps = int(state["timesteps"])
        self.updates = int(state["updates"])

    def start_environments(self) -> None:
        """Makes the environments anew, with seeds from (seed, update); open games are cut off."""
        if self.source is None:
            raise ValueError("learn: this agent was loaded without an environment; give one to pgfast.load as env=")
        s = self.settings
        self.close()
        self.scores.cut()
        self._env = self.source.make(
            s.num_envs,
            seed=s.seed,
            generation=self.updates,
            vectorization=s.vectorization,
            env_timeout=s.env_timeout,
            max_env_restarts=max(0, s.max_env_restarts - self.scores.env_restarts),
        )
        self._require_own_spaces("learn", self._env)
        if self._env.num_envs != s.num_envs:
            raise ValueError(f"learn: num_envs is {s.num_envs}, the vector environment has {self._env.num_envs}")
        stepper = Stepper(self._env)
        if self._collector is None:
            self._collector = make_collector(
                s, self.space, self._make_tape(), stepper, self.scores.add, self.observation_normalizer
            )
        if self.reward_normalizer is not None:
            self.reward_normalizer.restart()
        self._collector.restart(stepper, self._environment_seeds())

    def _environment_seeds(self) -> list[int]:
        """Seeds of the environments that this update begins with."""
        return environment_seeds(self.settings.seed, self.settings.num_envs, generation=self.updates)

    def _make_tape(self) -> PolicyTape:
        """Memory for the forward passes of one step."""
        return PolicyTape(self.policy, self.settings.num_envs)

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

    def _scaled_rewards(self) -> FloatArray:
        """The rollout's rewards to learn from, ``[T, N]``; the reward normalizer takes them in first."""
        rollout = self.collector.rollout
        if self.reward_normalizer is None:
            return rollout.rewards
        self.reward_normalizer.update(rollout.rewards, rollout.terminated | rollout.truncated, rollout.valid)
        return self.reward_normalizer.apply(rollout.rewards)

    def _learn_scale_of_observations(self) -> None:
        """The observation normalizer takes in the rollout's valid rows, once nothing is computed from it any more."""
        if self.observation_normalizer is not None:
            rollout = self.collector.rollout
            self.observation_normalizer.moments.update(rollout.raw_observations[:-1][rollout.valid])

    def _choose(self, obs: Array, rng: Rng, deterministic: bool) -> Array:
        distribution = self._distribution(obs)
        actions: Array = distribution.mode() if deterministic else distribution.sample(rng)
        return actions

    def _distribution(self, obs: Array) -> Distribution[Any]:
        if self.space.byte_observations and obs.dtype != np.uint8:
            raise TypeError(f"predict: obs must be uint8 as the environment's, got {obs.dtype}")
        dtype = np.uint8 if self.space.byte_observations else np.float32
        rows: Array = np.ascontiguousarray(obs, dtype).reshape(len(obs), *self.policy.network.input_shape)
        if not self.space.byte_observations and not np.isfinite(rows).all():
            raise ValueError("predict: obs must be finite")
        if self.observation_normalizer is not None:
            rows = self.observation_normalizer.apply(rows)
        return self.policy.distribution(rows)
