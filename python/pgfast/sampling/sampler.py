"""Makes, steps and closes the environments of a training."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgfast.envs.action_masks import MaskSource, without_mask
from pgfast.envs.make import AnyVectorEnv
from pgfast.envs.normalization import Normalizers
from pgfast.envs.observations import ObservationRows
from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.envs.stepper import Stepper, Transition
from pgfast.envs.workers import WorkerVectorEnv
from pgfast.policies import Policy
from pgfast.sampling.collector import Collector
from pgfast.sampling.episode_recorder import EpisodeRecorder
from pgfast.sampling.episode_statistics import EpisodeStatistics
from pgfast.sampling.rollout import Rollout
from pgfast.sampling.share import Share
from pgfast.state import Tree

__all__ = ["Sampler"]


class Sampler:
    """Runs a policy in the environments of a share and returns rollouts.

    Args:
        source: makes the environments; None for an agent that was loaded without any.
        share: the environments.
        n_steps: T of a rollout; with ``whole_episodes``, a rollout has at least ``n_steps`` valid rows per environment.
        keep_forward: whether the tape keeps the forward passes of the whole rollout.
        action_mask: where the masks of actions come from.
        seed: of the environments and of the sampled actions.
        action_scaling: whether the policy's [-1, 1] stands for the bounds of a Box.
    """

    def __init__(
        self,
        source: EnvironmentSource | None,
        policy: Policy,
        normalizers: Normalizers,
        space: SpaceInfo,
        packing: ObservationRows,
        options: EnvironmentOptions,
        *,
        share: Share,
        n_steps: int,
        whole_episodes: bool,
        keep_forward: bool,
        action_mask: MaskSource,
        seed: int,
        action_scaling: bool,
    ) -> None:
        self.source = source
        self.statistics = EpisodeStatistics(share.num_envs)
        self._restarts_elsewhere = 0
        self.env: AnyVectorEnv | None = None
        self._policy, self._normalizers, self._space, self._options = policy, normalizers, space, options
        self._packing = packing
        self._share, self._n_steps, self._seed = share, n_steps, seed
        self._whole_episodes, self._keep_forward = whole_episodes, keep_forward
        self._action_mask, self._action_scaling = action_mask, action_scaling
        self._collector: Collector | None = None
        self._timesteps = 0
        self.recorder: EpisodeRecorder | None = None
        self.infos: list[dict[str, Any]] = []
        self._keeps_infos = False

    def hand_over(self, *, infos: bool, recorder: EpisodeRecorder | None) -> None:
        """Sets what the next rollouts leave behind for the user.

        Args:
            infos: whether ``infos`` holds the infos of each step of the latest rollout.
            recorder: is given every whole episode.
        """
        self._keeps_infos, self.recorder, self.infos = infos, recorder, []
        self._ask_for_infos()

    def _ask_for_infos(self) -> None:
        if isinstance(self.env, WorkerVectorEnv):
            self.env.returns_infos = self._keeps_infos or (self.recorder is not None and self.recorder.info_keys != ())

    @property
    def rollout(self) -> Rollout:
        """The latest rollout; exists once the environments have been started."""
        assert self._collector is not None
        return self._collector.rollout

    def start(self, update: int) -> None:
        """Makes new environments, with seeds from (seed, update); open episodes are cut off.

        Raises ``ValueError`` (no source, other spaces or another number of environments than the agent has).
        """
        if self.source is None:
            raise ValueError("learn: this agent was loaded without an environment; give one to pgfast.load as env=")
        self.close()
        self.statistics.cut()
        options = self._remaining_options()
        num_envs = self._share.num_envs
        self.env = env = self.source.make(num_envs, options)
        try:
            require_spaces("learn", env, self._space, self._action_mask)
            if env.num_envs != num_envs:
                raise ValueError(f"learn: num_envs is {num_envs}, the vector environment has {env.num_envs}")
            self._ask_for_infos()
            self._stepper = Stepper(
                env,
                self._action_mask,
                action_scaling=self._action_scaling,
                first_environment=self._share.first,
            )
            if self._collector is None:
                self._collector = self._make_collector()
            self._normalizers.restart(num_envs)
            if not self._whole_episodes:  # a rollout of whole episodes resets the environments itself
                self._collector.start(self._stepper, self._seeds(update))
        except BaseException:
            self.close()
            raise

    def note_restarts(self, elsewhere: int) -> None:
        """Counts the environments that other workers have restarted: ``max_env_restarts`` is the limit of all together.

        Within an update, each worker may use all restarts that were left before it.
        """
        self._restarts_elsewhere = elsewhere
        if isinstance(self.env, WorkerVectorEnv):
            self.env.restarts_left = min(self.env.restarts_left, self._remaining_options().max_env_restarts)

    def collect(self, timesteps: int, update: int, *, steps: int | None = None) -> Rollout:
        """Collects the rollout of an update. Raises as the environments do.

        Args:
            timesteps: of the run, before the rollout.
            update: its number.
            steps: those of each environment before, which key the random numbers; None if all made equally many.
        """
        steps = timesteps // self._share.total if steps is None else steps
        assert self._collector is not None
        self._timesteps, self.infos = timesteps, []
        if self._whole_episodes:
            self._normalizers.restart(self._share.num_envs)
            min_rows = self._share.num_envs * self._n_steps
            self._collector.collect_episodes(timesteps, steps, update, min_rows, self._stepper, self._seeds(update))
        else:
            self._collector.collect(timesteps, steps, update)
        return self.rollout

    def close(self) -> None:
        """Closes the environments that the source made; call :meth:`start` before the next rollout."""
        if self.env is not None and self.source is not None:
            self.source.close(self.env)
        self.env = None

    def state(self) -> Tree:
        """The statistics of episodes; environments cannot be saved."""
        return self.statistics.state()

    def load_state(self, tree: Tree) -> None:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for any other tree."""
        self.statistics.load_state(tree)

    def _on_transition(self, transition: Transition) -> None:
        self._timesteps += self._share.total
        ended = self.statistics.add(transition)
        if self.recorder is not None:
            self.recorder.add(ended, transition.infos, self._timesteps)
        if self._keeps_infos:  # copies: an environment may reuse its arrays
            infos = transition.infos.items()
            self.infos.append({key: value.copy() if isinstance(value, np.ndarray) else value for key, value in infos})

    def _remaining_options(self) -> EnvironmentOptions:
        return self._options.with_restarts_left(self.statistics.env_restarts + self._restarts_elsewhere)

    def _seeds(self, update: int) -> list[int]:
        share = self._share
        return environment_seeds(self._seed, share.total, generation=update)[share.first : share.first + share.num_envs]

    def _make_collector(self) -> Collector:
        rollout = Rollout(
            self._policy,
            self._packing,
            self._n_steps,
            self._share.num_envs,
            keep_forward=self._keep_forward,
            keep_raw=self._normalizers.observes,
            keep_masks=self._action_mask != "none",
        )
        return Collector(
            rollout,
            self._normalizers,
            seed=self._seed,
            first_environment=self._share.first,
            on_transition=self._on_transition,
            env_timeout=None if self._options.vectorization == "async" else self._options.env_timeout,
        )


def require_spaces(caller: str, env: AnyVectorEnv, space: SpaceInfo, action_mask: MaskSource) -> None:
    """Raises ``ValueError`` unless an environment has the agent's spaces."""
    found = SpaceInfo.of(without_mask(env.single_observation_space, action_mask), env.single_action_space)
    if not space.fits(found):
        raise ValueError(f"{caller}: the environment has {found}, the agent {space}")
