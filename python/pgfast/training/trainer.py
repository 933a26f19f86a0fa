"""A learner, the environments that it learns in, and the counts of its run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.learner import Learner
from pgfast.learning.settings import Settings
from pgfast.metrics import Metrics
from pgfast.optim import Optimizer
from pgfast.policies import Policy
from pgfast.profiling import START
from pgfast.reduce import ALONE, Reduce
from pgfast.runs.model_metadata import ModelMetadata
from pgfast.sampling.evaluation import EvaluationResult
from pgfast.sampling.sampler import Sampler
from pgfast.state import Tree, require_count
from pgfast.value_functions import ValueFunction

__all__ = ["Trainer"]

_MOST_SKIPS_IN_A_ROW = 10


class Trainer(ABC):
    """The part of an agent that the loop trains and a checkpoint holds.

    ``timesteps`` and ``updates`` count those of the run, skipped updates included; ``updates_skipped`` counts the
    skipped ones.
    """

    name: ClassVar[str]
    learner_type: ClassVar[type[Learner]]
    settings: Any

    def _build(self, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo) -> None:
        s = settings
        self.source, self.settings, self.space = source, settings, space
        self.learner = self.learner_type(settings, space)
        self.sampler = Sampler(
            source,
            self.learner.policy,
            self.learner.normalizers,
            space,
            self.learner.rows,
            EnvironmentOptions(
                vectorization=s.vectorization, env_timeout=s.env_timeout, max_env_restarts=s.max_env_restarts
            ),
            num_envs=s.num_envs,
            n_steps=s.n_steps,
            whole_episodes=s.collects_whole_episodes,
            keep_forward=self.learner.keeps_forward,
            action_mask=s.action_mask,
            seed=s.seed,
            action_scaling=s.action_scaling,
        )
        self.timesteps = self.updates = 0
        self.updates_skipped = self._skipped_in_a_row = 0

    @property
    def policy(self) -> Policy:
        """The policy that is learned; it sees normalized observations."""
        return self.learner.policy

    @property
    def value_function(self) -> ValueFunction:
        """The values that advantages are relative to."""
        return self.learner.value_function

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer of the policy; None if the algorithm has none."""
        return self.learner.optimizer

    @property
    def env_id(self) -> str | None:
        """The environment's id; None if the agent was made from something else."""
        return None if self.source is None else self.source.env_id

    def start_environments(self) -> None:
        """Closes the environments and makes new ones with seeds from (seed, update), which cuts open episodes."""
        with START:
            self.sampler.start(self.updates)

    def advance(self, message: Callable[[str], None]) -> Metrics:
        """Collects a rollout and learns from it; returns the metrics of the update.

        With ``on_nonfinite="skip"``, an update whose observations, rewards, loss or gradient are not finite is skipped:
        the environments restart, and ``message`` reports why. The tenth skipped update in a row ends the training.

        Exceptions of the rollout and of the update propagate; a failed update changes nothing.
        """
        reduce = ALONE
        try:
            rollout = self.sampler.collect(self.timesteps, self.updates)
            metrics = self.learner.update(rollout, reduce)
        except FloatingPointError as error:
            if self.settings.on_nonfinite == "raise":
                raise
            self.updates_skipped += 1
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row == _MOST_SKIPS_IN_A_ROW:
                raise FloatingPointError(
                    f"{self._skipped_in_a_row} updates in a row were skipped, the last of them because of this: {error}"
                ) from error
            message(f"skipped update {self.updates} at {self.timesteps:,} timesteps: {error}")
            self._count(reduce)
            self.start_environments()
            return {}
        self._skipped_in_a_row = 0
        self._count(reduce)
        return metrics

    def _count(self, reduce: Reduce) -> None:
        self.timesteps += reduce.sum(self.sampler.rollout.rows)
        self.updates += 1

    @abstractmethod
    def evaluate(self, episodes: int, *, seed: int) -> EvaluationResult:
        """Runs whole episodes with the current policy."""

    def close(self) -> None:
        """Closes the environments that the agent made."""
        self.sampler.close()

    def state(self) -> Tree:
        """Everything that the rest of the training depends on, environments apart."""
        return {
            **self.learner.state(),
            "episodes": self.sampler.state(),
            "timesteps": self.timesteps,
            "updates": self.updates,
            "skipped": {"total": self.updates_skipped, "in_a_row": self._skipped_in_a_row},
        }

    def metadata(self) -> ModelMetadata:
        """The description of the arrays in a model file."""
        return ModelMetadata(
            algo=self.name,
            env_id=self.env_id,
            settings=asdict(self.settings),
            space=self.space,
            timesteps=self.timesteps,
            updates=self.updates,
        )

    def load_state(self, tree: Tree) -> None:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` if the tree does not fit."""
        self.learner.load_state(tree)
        self.sampler.load_state(tree["episodes"])
        self.timesteps, self.updates = (require_count(name, tree[name]) for name in ("timesteps", "updates"))
        skipped = tree["skipped"]
        self.updates_skipped, self._skipped_in_a_row = (
            require_count(f"skipped updates {name}", skipped[name]) for name in ("total", "in_a_row")
        )
