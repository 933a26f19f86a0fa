"""Agents, which learn, predict, evaluate and save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from pgfast._streams import EVALUATION_ACTIONS, EVALUATION_SEEDS, PREDICTION
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.distributions import Distribution
from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.envs.stepper import Stepper
from pgfast.learning.bounds import Count, check
from pgfast.learning.construction import count_parameters
from pgfast.learning.help import ListsSettings
from pgfast.learning.networks import describe_leaves
from pgfast.learning.presets import find_preset, require_known, resolve_settings
from pgfast.learning.settings import Settings
from pgfast.random import Rng
from pgfast.runs.files import CheckpointError, checked_content
from pgfast.runs.model_metadata import ModelMetadata
from pgfast.runs.models import write_model
from pgfast.runs.saved import read_saved
from pgfast.runs.session import Session
from pgfast.sampling.actor import Actor
from pgfast.sampling.evaluation import EvaluationResult, evaluation_envs, run_episodes
from pgfast.sampling.prediction import PolicyInputs, inputs_of, mask_of
from pgfast.sampling.sampler import require_spaces
from pgfast.sampling.share import Share
from pgfast.state import flatten, unflatten
from pgfast.training.callbacks import CallbackLike, Callbacks
from pgfast.training.continuing import continue_session
from pgfast.training.loop import create_session, train
from pgfast.training.trainer import Trainer

__all__ = ["Agent"]


class Agent(Trainer, metaclass=ListsSettings):
    """A policy, the environments in which it acts, and the algorithm that trains it.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions are
            Discrete, MultiDiscrete, MultiBinary, a Box of floats, or a Dict or Tuple of these.
        preset: name of the tuned settings to start from, for the id of the environment or of those that a function or
            a vector environment makes; "general", those for all tasks of its kind, which is also the default if the id
            has none; or the id of another task, to start from its settings. None for the algorithm's defaults alone.
        settings: any field of the algorithm's settings, which ``help()`` of its class lists.

    Raises:
        ValueError: for an unknown environment or preset, a setting out of bounds, or a vector environment whose
            ``metadata`` has no ``"autoreset_mode"``.
        TypeError: for an unknown setting, or one of another type.
        RuntimeError: if an environment cannot be made.
    """

    preset: str | None  # the preset of the settings; None for the algorithm's defaults, or if it is not known

    def __init__(self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Any) -> None:
        source = EnvironmentSource(env)
        if isinstance(settings.get("init_from"), Path):
            settings["init_from"] = str(settings["init_from"])
        if source.num_envs is not None and settings.setdefault("num_envs", source.num_envs) != source.num_envs:
            raise ValueError(f"num_envs is {settings['num_envs']}, the vector environment has {source.num_envs}")
        require_known(self.learner_type.settings_type, self.name, settings)
        source.env_kwargs = check("env_kwargs", settings.get("env_kwargs"), dict[str, Any] | None) or {}
        found = find_preset(self.name, source, preset, settings)
        resolved = resolve_settings(self.learner_type.settings_type, found, settings)
        source.require(resolved.vectorization, resolved.max_env_restarts)
        if resolved.num_workers > 1 and source.num_envs is not None:
            raise ValueError(
                "num_workers needs environments that each worker can make, but a vector environment was given"
            )
        if resolved.eval_every is not None and source.num_envs is not None:
            raise ValueError("eval_every needs further environments, but a vector environment was given")
        self._build(source, resolved, source.space_info(resolved.action_mask))
        self.preset = found.name if found else None
        if resolved.init_from is not None:
            arrays, content = read_saved(Path(resolved.init_from))
            try:
                with checked_content(Path(resolved.init_from)):
                    ModelMetadata.parse(content).require_same_policy(resolved, self.space)
                    self.learner.start_from(arrays)
            except CheckpointError as error:
                raise ValueError(f"init_from {resolved.init_from} does not fit this agent: {error.reason}") from None

    def __repr__(self) -> str:
        env = "no environment" if self.source is None else self.source.known_id or "an environment"
        return f"{type(self).__name__}({env}, preset={self.preset!r}, timesteps={self.timesteps:,})"

    def describe(self) -> str:
        """The algorithm, the environment and the preset, in one line."""
        env = (self.source and self.source.known_id) or "an environment of your own"
        return f"{self.name} on {env}, " + (f"preset {self.preset}" if self.preset else "the algorithm's defaults")

    def describe_network(self) -> str:
        """How the observations are read, and the number of parameters, in one line."""
        observations = describe_leaves(self.space.observation, self.learner.rows.leaves, self.settings)
        return f"observations: {observations}; {self.policy.parameters.size:,} parameters"

    @classmethod
    def restore(
        cls, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo, arrays: Mapping[str, Array]
    ) -> Self:
        """An agent with the arrays of a model file or a checkpoint.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` if they do not fit the settings and the spaces.
        """
        needed, given = count_parameters(settings, space), arrays["policy.parameters"].size
        if given < needed:  # before memory is allocated for parameters that the file does not hold
            raise ValueError(f"settings and spaces need {needed:,} parameters or more, the file has {given:,}")
        agent = cls.__new__(cls)
        agent._build(source, settings, space)
        agent.learner.load_model(arrays)
        return agent

    def __reduce__(self) -> tuple[Any, ...]:
        """For copy and pickle: everything but the environments, whose open episodes the copy counts as cut off."""
        arrays, values = flatten(self.state())
        position = self._prediction_rng.position
        parts = (type(self), self.source, self.settings, self.space, self.share)
        return _rebuild, (*parts, arrays, values, self.preset, position)

    def for_worker(self, slot: int) -> Self:
        """A new agent for a worker of this one's run."""
        s = self.settings
        agent = type(self).__new__(type(self))
        agent._build(self.source, s, self.space, Share.of_worker(slot, s.num_workers, s.num_envs))
        return agent

    def _build(
        self, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo, share: Share | None = None
    ) -> None:
        super()._build(source, settings, space, share)
        self.preset = None
        self._resumed: tuple[Path, bool] | None = None  # the run that learn() continues, and whether exactly
        self._prediction_rng = Rng.internal(settings.seed, PREDICTION)

    def learn(
        self,
        total_timesteps: float,
        *,
        callback: CallbackLike[Self] | Sequence[CallbackLike[Self]] | None = None,
        progress_bar: bool = False,
        run_dir: str | Path | None = None,
        resume: Literal["auto"] | None = None,
    ) -> Self:
        """Trains for ``total_timesteps`` more steps, to the end of the update that reaches them.

        On SIGINT, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2 the update is finished and saved; then KeyboardInterrupt (SIGINT)
        or SystemExit is raised. If the training or a callback fails, the state after the last whole update is saved
        first.

        Args:
            total_timesteps: a whole number of at least 1, such as 1e6; a step of one environment counts as one.
            callback: a function that is called with (agent, row) for every row of progress, a
                :class:`pgfast.Callback`, or a sequence of these. A false answer other than None ends the training.
            progress_bar: shows progress on the terminal, or as plain lines if there is none.
            run_dir: a new directory for config, progress, checkpoints and model. None writes nothing, or goes on
                writing the directory that :func:`pgfast.resume` has read.
            resume: "auto" continues the run in ``run_dir`` if there is one, to ``total_timesteps`` in all: the same
                script can be started again until the run is complete. The agent must be new.

        Returns:
            The agent.

        Raises:
            ValueError: if total_timesteps is less than 1, the agent has no environment, the run to continue has other
                settings, or a callback declares a metric that exists.
            TypeError: if total_timesteps is not a whole number, or callback is something else.
            FileExistsError: if run_dir exists and is not to be resumed.
            CheckpointError: if the run to continue has no whole checkpoint.
            FloatingPointError: for a number that is not finite, named at its source; the parameters stay finite.
            RuntimeError: if an environment fails, or its episodes do not end although whole episodes are required.
        """
        target = self.timesteps + int(check("learn: total_timesteps", total_timesteps, Count))
        callbacks = Callbacks(callback)
        if self.settings.num_workers > 1 and callbacks.wants_infos:
            raise ValueError("learn: callbacks that read infos need num_workers = 1; infos stay with the workers")
        with self._session(None if run_dir is None else Path(run_dir), resume, target) or nullcontext() as session:
            if self.timesteps < target:
                messages = [self.describe(), self.describe_network()]
                train(self, target, session=session, callbacks=callbacks, progress_bar=progress_bar, messages=messages)
        return self

    def continue_in(self, run_dir: Path, *, exact: bool = False) -> None:
        """Lets :meth:`learn` go on writing a run directory whose newest checkpoint, or exact one, is this agent."""
        self._resumed = run_dir, exact

    def _session(self, run_dir: Path | None, resume: Literal["auto"] | None, target: int) -> Session | None:
        """The session of a training to ``target`` timesteps; None if it writes nothing."""
        if resume not in (None, "auto"):
            raise ValueError(f'learn: resume must be "auto" or None, got {resume!r:.40}')
        if resume is not None and run_dir is None:
            raise ValueError('learn: resume="auto" needs the run_dir to continue')
        if run_dir is None and self._resumed is not None:
            path, exact = self._resumed
            session = continue_session(self, path, exact=exact, at=self.timesteps)
            self.continue_in(path)
            return session
        if run_dir is None:
            return None
        if resume is None or not (run_dir / "config.json").exists():
            return create_session(self, run_dir, target, self.preset)
        if self.timesteps:
            raise ValueError(f"learn: resume needs a new agent, this one has learned for {self.timesteps:,} timesteps")
        return continue_session(self, run_dir)

    def predict(
        self,
        obs: ArrayLike,
        deterministic: bool = False,
        *,
        action_mask: Any = None,
        state: ArrayLike | None = None,
        episode_start: ArrayLike | None = None,
    ) -> Any:
        """Actions for one observation or a batch of them, as the environment takes them: scaled, clipped, of its dtype.

        A batch of a Dict or a Tuple has an array ``[B, ...]`` for each component. An agent with memory returns
        ``(actions, state)``, the state to pass with the next observations.

        Args:
            obs: one raw observation or ``[B, ...]``; normalized here if the agent normalizes.
            deterministic: take the most probable actions instead of sampling.
            action_mask: the actions that may be taken, ``[M]`` or ``[B, M]`` with an entry for each choice, or a tuple
                of arrays for several groups of choices, or the masks of the parts of a Dict or a Tuple. None takes the
                mask from the observation if the setting ``action_mask`` is "observation", and else allows all actions.
            state: of the agent's memory after the observations before: ``[B, state_size]``, or ``[state_size]`` for one
                observation. None if episodes start here.
            episode_start: a bool or ``[B]``, where an episode starts and ``state`` is ignored. None for nowhere.

        Raises:
            ValueError: for another shape, for an observation or a state that is not finite, or a mask that allows no
                action.
            TypeError: for a dtype other than uint8 if the agent was trained on bytes, for an ``episode_start`` that is
                not bool, or for a state if the agent has no memory.
        """
        inputs = self._inputs("predict", obs, state, episode_start)
        distribution, after = inputs.distribution(self.policy, self._mask("predict", obs, action_mask, inputs))
        actions = distribution.mode() if deterministic else distribution.sample(self._prediction_rng)
        converted = self.space.action.to_environment(
            actions, action_scaling=self.settings.action_scaling, single=inputs.is_single
        )
        return converted if after is None else (converted, after[0] if inputs.is_single else after)

    def distribution(
        self,
        obs: ArrayLike,
        *,
        action_mask: Any = None,
        state: ArrayLike | None = None,
        episode_start: ArrayLike | None = None,
    ) -> Distribution[Any]:
        """The distribution that :meth:`predict` samples from, a row for each raw observation.

        Its actions are the policy's, before they are scaled and clipped. Arguments and exceptions are those of
        :meth:`predict`.
        """
        inputs = self._inputs("distribution", obs, state, episode_start)
        return inputs.distribution(self.policy, self._mask("distribution", obs, action_mask, inputs))[0]

    def values(
        self,
        obs: ArrayLike,
        time: IntArray | None = None,
        *,
        state: ArrayLike | None = None,
        episode_start: ArrayLike | None = None,
    ) -> FloatArray:
        """V ``[B]`` of raw observations: the return that the agent expects, of rewards as it learns from them.

        Args:
            obs: one raw observation or ``[B, ...]``.
            time: ``[B]``, steps since the reset, for the baselines "time" and "linear"; None for 0.
            state: as for :meth:`predict`. The values of baselines do not depend on it.
            episode_start: as for :meth:`predict`.

        Raises as :meth:`predict` does.
        """
        inputs = self._inputs("values", obs, state, episode_start)
        time = np.zeros(len(inputs.rows), np.int64) if time is None else time
        return self.value_function.values_at(inputs.rows, time, inputs.state)

    def evaluate(
        self,
        episodes: int,
        *,
        deterministic: bool = False,
        seed: int = 0,
        env: EnvironmentLike | None = None,
        max_episode_steps: int = 200_000,
    ) -> EvaluationResult:
        """Runs whole episodes and returns their raw returns and lengths.

        Up to 16 environments run side by side, each a fixed number of episodes, vectorized as in training; with
        EnvPool, environments that a function makes are stepped in this process. The normalizers stay as they are.

        Args:
            episodes: at least 1.
            deterministic: take the most probable actions instead of sampling.
            seed: of the episodes and of the sampled actions.
            env: an environment other than the agent's. A vector environment that was given to the agent is reset.
            max_episode_steps: cuts longer episodes; the result's ``cut`` counts them.

        Raises:
            ValueError: if episodes or max_episode_steps is less than 1, there is no environment, or its spaces are not
                the agent's.
            TypeError: if episodes or max_episode_steps is not a whole number.
        """
        episodes = check("evaluate: episodes", episodes, Count)
        max_episode_steps = check("evaluate: max_episode_steps", max_episode_steps, Count)
        source = EnvironmentSource(env) if env is not None else self.source
        if source is None:
            raise ValueError("evaluate: this agent was loaded without an environment; give one as env=")
        s = self.settings
        options = EnvironmentOptions(vectorization=s.vectorization, env_timeout=s.env_timeout)
        # Another id may run in no other way than its own, but a function makes environments like those of training.
        is_other_id = env is not None and source.env_id is not None
        vector = source.make(evaluation_envs(episodes), EnvironmentOptions() if is_other_id else options)
        if vector is self.sampler.env:
            self.sampler.env = None  # the next learn() starts new episodes
        try:
            require_spaces("evaluate", vector, self.space, s.action_mask)
            stepper = Stepper(vector, s.action_mask, action_scaling=s.action_scaling)
            rng = Rng.internal(seed, EVALUATION_ACTIONS)
            actor = self.actor(rng, num_envs=vector.num_envs, deterministic=deterministic)

            def reset(number: int) -> Array:
                seeds = environment_seeds(seed, vector.num_envs, generation=number, stream=EVALUATION_SEEDS)
                return stepper.reset(seeds)

            return run_episodes(
                stepper,
                reset,
                lambda obs, starts: actor.act(obs, starts, stepper.masks),
                episodes,
                deterministic=deterministic,
                max_episode_steps=max_episode_steps,
            )
        finally:
            source.close(vector)

    def save(self, path: str | Path) -> None:
        """Writes a model file atomically, with parameters, normalizers, settings and spaces; see :func:`pgfast.load`.

        Raises:
            OSError: if the file cannot be written.
        """
        write_model(Path(path), self.learner.model(), self.metadata().as_json())

    def actor(self, rng: Rng, *, num_envs: int, deterministic: bool) -> Actor:
        """The policy as it acts in ``num_envs`` environments."""
        learner = self.learner
        return Actor(
            self.policy, learner.rows, learner.normalizers, rng, num_envs=num_envs, deterministic=deterministic
        )

    def _inputs(self, caller: str, obs: Any, state: Any, episode_start: Any) -> PolicyInputs:
        rows, normalizers = self.learner.rows, self.learner.normalizers
        return inputs_of(caller, obs, self.policy, rows, normalizers, state=state, episode_start=episode_start)

    def _mask(self, caller: str, obs: Any, given: Any, inputs: PolicyInputs) -> BoolArray | None:
        return mask_of(caller, obs, given, inputs, self.space.action, self.settings.action_mask)


def _rebuild(
    agent_type: type[Agent],
    source: EnvironmentSource | None,
    settings: Settings,
    space: SpaceInfo,
    share: Share,
    arrays: dict[str, Array],
    values: dict[str, Any],
    preset: str | None,
    position: int,
) -> Agent:
    agent = agent_type.__new__(agent_type)
    agent._build(source, settings, space, share)
    agent.load_state(unflatten(arrays, values))
    agent.preset = preset
    agent._prediction_rng.position = position
    return agent
