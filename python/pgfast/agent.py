"""What users hold: agents that learn, predict, evaluate and save, one class for each algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from pgfast._streams import EVALUATION_ACTIONS, EVALUATION_SEEDS, PREDICTION
from pgfast._typing import Array
from pgfast.algos import (
    A2CLearner,
    A2CSettings,
    NPGLearner,
    NPGSettings,
    TRPOLearner,
    TRPOSettings,
    VPGLearner,
    VPGSettings,
)
from pgfast.distributions import Distribution
from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.envs.stepper import Stepper
from pgfast.learning.construction import count_parameters
from pgfast.learning.settings import Settings, as_field_types, resolve_settings
from pgfast.random import Rng
from pgfast.reporting.progress import make_reporter
from pgfast.runs.models import write_model
from pgfast.runs.saved import read_saved
from pgfast.sampling.evaluation import EvaluationResult, evaluation_envs, play
from pgfast.sampling.sampler import require_spaces
from pgfast.training.loop import Callback, create_run, train
from pgfast.training.trainer import Trainer

__all__ = ["A2C", "ALGORITHMS", "NPG", "TRPO", "VPG", "Agent"]


class Agent(Trainer):
    """A policy, the environments that it learns in, and the algorithm that it learns by.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions are
            Discrete, MultiDiscrete, MultiBinary or a Box.
        preset: name of the tuned settings to start from if ``env`` is an id; None for the algorithm's defaults alone.
        settings: any field of the algorithm's settings.

    Raises ``ValueError`` (environment, preset, value of a setting), ``TypeError`` (unknown setting).
    """

    preset: str | None  # the name that the settings came from, if it is known

    def __init__(self, env: EnvironmentLike, *, preset: str | None = "default", **settings: Any) -> None:
        source = EnvironmentSource(env)
        if source.num_envs is not None and settings.setdefault("num_envs", source.num_envs) != source.num_envs:
            raise ValueError(f"num_envs is {settings['num_envs']}, the vector environment has {source.num_envs}")
        if source.env_id is None and preset not in ("default", None):
            raise ValueError(f'there is no preset "{preset}" where env is not an environment id')
        resolved = resolve_settings(self.learner_type.settings_type, self.name, source.env_id, preset, settings)
        source.require(resolved.vectorization, resolved.max_env_restarts)
        self._build(source, resolved, SpaceInfo.of(*source.spaces()))
        self.preset = preset if source.env_id is not None else None
        if resolved.init_from is not None:
            arrays, model = read_saved(Path(resolved.init_from))
            try:
                self._require_same_policy(model)
                self.learner.start_from(arrays)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"init_from {resolved.init_from} does not fit this agent: {error}") from None

    @classmethod
    def restore(
        cls, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo, arrays: Mapping[str, Array]
    ) -> Self:
        """An agent from the arrays of a model file or a checkpoint.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` if the parts do not fit each other.
        """
        needed, given = count_parameters(settings, space), arrays["policy.parameters"].size
        if given < needed:  # before memory is taken for what the file does not hold
            raise ValueError(f"settings and spaces need {needed:,} parameters or more, the file has {given:,}")
        agent = cls.__new__(cls)
        agent._build(source, settings, space)
        agent.learner.load_model(arrays)
        return agent

    def _build(self, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo) -> None:
        super()._build(source, settings, space)
        self.preset = None
        self._prediction_rng = Rng.internal(settings.seed, PREDICTION)

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
            progress_bar: shows progress on the terminal, or as plain lines if there is none.
            run_dir: a new directory for config, progress, checkpoints and model; None writes nothing.

        Returns: the agent.

        Raises: ``ValueError`` (total_timesteps, an agent without environments), ``FileExistsError`` (run_dir exists),
        ``FloatingPointError`` (a number that is not finite, named at its source; none is ever written to the
        parameters), ``RuntimeError`` (an environment that fails, or whose episodes do not end where whole ones are
        asked for). With ``run_dir`` the state after the last whole update is saved first.
        On SIGINT or SIGTERM the update is finished and saved before KeyboardInterrupt or SystemExit is raised.
        """
        if total_timesteps < 1:
            raise ValueError(f"learn: total_timesteps must be at least 1, got {total_timesteps}")
        target = self.timesteps + total_timesteps
        run = None if run_dir is None else create_run(self, Path(run_dir), target, self.preset)
        reporter = make_reporter(target, self.timesteps, enabled=progress_bar)
        try:
            train(self, target, run=run, reporter=reporter, callback=callback)
        finally:
            reporter.close()
            if run is not None:
                run.close()
        return self

    def predict(self, obs: Array, deterministic: bool = False) -> Any:
        """Actions for one observation or a batch of them, of the action space's dtype and shape.

        Sampled from the policy, or the most probable ones if ``deterministic``. Raises ``ValueError`` for a shape that
        is neither, or observations that are not finite; ``TypeError`` for other than bytes if the agent learned from
        bytes.
        """
        obs = np.asarray(obs)
        single = obs.shape == self.space.observation_shape
        if not single and obs.shape[1:] != self.space.observation_shape:
            raise ValueError(
                f"predict: obs must have shape {self.space.observation_shape} or a batch of it, got {obs.shape}"
            )
        actions = self.choose(obs[None] if single else obs, self._prediction_rng, deterministic)
        played = self.space.action.to_environment(actions)
        return played[0] if single else played

    def evaluate(
        self, episodes: int, *, deterministic: bool = False, seed: int = 0, env: EnvironmentLike | None = None
    ) -> EvaluationResult:
        """Plays ``episodes`` whole episodes and returns their raw returns.

        Up to 16 environments play side by side, each a fixed number of episodes. ``env`` plays elsewhere than in the
        agent's own environments; a vector environment that was given to the agent is used, and starts anew.

        Raises ``ValueError`` if episodes < 1 or there is no environment.
        """
        if episodes < 1:
            raise ValueError(f"evaluate: episodes must be at least 1, got {episodes}")
        source = EnvironmentSource(env) if env is not None else self.source
        if source is None:
            raise ValueError("evaluate: this agent was loaded without an environment; give one as env=")
        vector = source.make(evaluation_envs(episodes), EnvironmentOptions())
        if vector is self.sampler.env:
            self.sampler.env = None  # the next learn() starts new episodes
        try:
            require_spaces("evaluate", vector, self.space)
            seeds = environment_seeds(seed, vector.num_envs, stream=EVALUATION_SEEDS)
            stepper = Stepper(vector)
            rng = Rng.internal(seed, EVALUATION_ACTIONS)
            return play(
                stepper,
                stepper.reset(seeds),
                lambda obs: self.choose(obs, rng, deterministic),
                episodes,
                deterministic=deterministic,
            )
        finally:
            source.close(vector)

    def save(self, path: str | Path) -> None:
        """Writes the model file: parameters, normalizers, settings and spaces, all that :func:`pgfast.load` needs.

        Atomic. Raises ``OSError``.
        """
        write_model(Path(path), self.learner.model(), self.metadata())

    def choose(self, obs: Array, rng: Rng, deterministic: bool) -> Array:
        """Actions for raw observations ``[B, ...]`` as the policy has them: sampled, or the most probable ones."""
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
        return self.policy.distribution(self.learner.normalizers.normalize_observations(rows))

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


class VPG(Agent):
    """Vanilla policy gradient.

    Every update follows a rollout of the current policy:

    1. advantages and returns, by generalized advantage estimation with the baseline's values;
    2. loss = -mean(log pi(a|s) A + entropy_coef H), over the valid rows;
    3. one step of the optimizer along its gradient, clipped or scaled to norm 1 as the settings say;
    4. the baseline is fitted to the returns.

    See :class:`Agent` for the arguments.
    """

    name = "vpg"
    learner_type = VPGLearner
    settings: VPGSettings


class NPG(Agent):
    """Natural policy gradient.

    Every update follows a rollout of the current policy:

    1. g = mean(A grad log pi), by generalized advantage estimation;
    2. x with (F + damping I) x = g: F = mean(s s') of the scores s = grad log pi of the actions played, or, with "cg",
       of all actions in expectation;
    3. theta <- theta + sqrt(2 max_kl / x'Fx) x, the step whose KL divergence is ``max_kl`` to second order; the exact
       one is reported;
    4. the baseline is fitted to the returns.

    The parameters stay as they were if F + damping I is not positive definite, x'Fx is not positive, or the new policy
    has a number that is not finite. See :class:`Agent` for the arguments.
    """

    name = "npg"
    learner_type = NPGLearner
    settings: NPGSettings


class TRPO(Agent):
    """Trust region policy optimization.

    Every update follows a rollout of the current policy:

    1. g = gradient of the surrogate mean(ratio A), by generalized advantage estimation;
    2. x with (F + damping I) x = g, by conjugate gradients on exact products with the Fisher matrix;
    3. the longest step along x that the quadratic model of the KL divergence allows, sqrt(2 max_kl / x'Fx) x;
    4. shortened by ``backtrack_ratio`` until the surrogate improves and the exact KL divergence is at most ``max_kl``;
       the parameters stay as they were if no candidate does both;
    5. the baseline is fitted to the returns.

    See :class:`Agent` for the arguments.
    """

    name = "trpo"
    learner_type = TRPOLearner
    settings: TRPOSettings


class A2C(Agent):
    """Synchronous advantage actor-critic.

    Every update follows ``n_steps`` steps of ``num_envs`` environments, with one network for policy and value:

    1. advantages and returns, by generalized advantage estimation from the rollout's own values;
    2. loss = -mean(log pi(a|s) A + entropy_coef H) + value_coef mean((R - V)^2), over the valid rows;
    3. its gradient, through the forward passes kept from the rollout;
    4. one clipped step of the optimizer.

    See :class:`Agent` for the arguments.
    """

    name = "a2c"
    learner_type = A2CLearner
    settings: A2CSettings


ALGORITHMS: dict[str, type[Agent]] = {algorithm.name: algorithm for algorithm in (VPG, NPG, TRPO, A2C)}
