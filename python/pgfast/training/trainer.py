"""A learner, the environments that it learns in, and the counts of its run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, NoReturn, TypeVar

from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.learner import Learner
from pgfast.learning.settings import Settings
from pgfast.metrics import Metrics
from pgfast.optim import KFAC, Optimizer
from pgfast.policies import Policy
from pgfast.profiling import START
from pgfast.reduce import ALONE, Reduce, WorkersChanged
from pgfast.runs.model_metadata import ModelMetadata
from pgfast.sampling.evaluation import EvaluationResult
from pgfast.sampling.sampler import Sampler
from pgfast.sampling.share import Share
from pgfast.state import Tree, require_count
from pgfast.value_functions import ValueFunction

__all__ = ["Crew", "Trainer"]

T = TypeVar("T")

_MOST_SKIPS_IN_A_ROW = 10


class Crew(ABC):
    """The workers of a training, as its driver sees them."""

    @abstractmethod
    def start_environments(self) -> None:
        """Lets all workers make new environments, which cuts open episodes."""

    @abstractmethod
    def advance(self, message: Callable[[str], None]) -> Metrics:
        """Lets all workers make an update; returns its metrics. Raises what they raise."""

    @abstractmethod
    def push(self) -> None:
        """Gives all workers the state of the driver."""

    @abstractmethod
    def refresh(self) -> None:
        """Loads the workers' learner after their latest update into that of the driver."""

    @abstractmethod
    def close(self) -> None:
        """Ends the workers, after a last :meth:`refresh`."""


class Trainer(ABC):
    """The part of an agent that the loop trains and a checkpoint holds.

    ``timesteps`` and ``updates`` count those of the run, skipped updates included; ``updates_skipped`` counts the
    skipped ones. ``steps`` are those of each environment. ``share`` are the environments of this worker, and ``reduce``
    adds over the workers. In a run with several workers, each has a trainer of its own, and that of the driver has a
    ``crew`` instead of environments.
    """

    name: ClassVar[str]
    learner_type: ClassVar[type[Learner]]
    settings: Any

    def _build(
        self, source: EnvironmentSource | None, settings: Settings, space: SpaceInfo, share: Share | None = None
    ) -> None:
        s = settings
        self.source, self.settings, self.space = source, settings, space
        self.share = Share.all(s.num_envs) if share is None else share
        self.reduce: Reduce = ALONE
        self.crew: Crew | None = None
        self.local_learner = learner = self.learner_type(settings, space)
        self.sampler = Sampler(
            source,
            learner.policy,
            learner.normalizers,
            space,
            learner.rows,
            EnvironmentOptions(
                vectorization=s.vectorization, env_timeout=s.env_timeout, max_env_restarts=s.max_env_restarts
            ),
            share=self.share,
            n_steps=s.n_steps,
            whole_episodes=s.collects_whole_episodes,
            keep_forward=learner.keeps_forward,
            action_mask=s.action_mask,
            seed=s.seed,
            action_scaling=s.action_scaling,
        )
        self.timesteps = self.updates = self.steps = 0
        self.updates_skipped = self._skipped_in_a_row = 0

    @property
    def learner(self) -> Learner:
        """The learner; with several workers, in the state after their latest update."""
        if self.crew is not None:
            self.crew.refresh()
        return self.local_learner

    @property
    def policy(self) -> Policy:
        """The policy that is learned; it sees normalized observations."""
        return self.learner.policy

    @property
    def value_function(self) -> ValueFunction:
        """The values that advantages are relative to."""
        return self.learner.value_function

    @property
    def optimizer(self) -> Optimizer | KFAC | None:
        """The optimizer of the policy; None if the algorithm has none."""
        return self.learner.optimizer

    @property
    def env_id(self) -> str | None:
        """The environment's id; None if the agent was made from something else."""
        return None if self.source is None else self.source.env_id

    def start_environments(self) -> None:
        """Closes the environments and makes new ones with seeds from (seed, update), which cuts open episodes."""
        with START:
            if self.crew is None:
                self.sampler.start(self.updates)
            else:
                self.crew.start_environments()

    def advance(self, message: Callable[[str], None]) -> Metrics:
        """Collects a rollout and learns from it, together with the other workers; returns the metrics of the update.

        With ``on_nonfinite="skip"``, an update whose observations, rewards, loss or gradient are not finite is skipped:
        the environments restart, and ``message`` reports why. The tenth skipped update in a row ends the training.

        Exceptions of the rollout and of the update propagate, on all workers; a failed update changes nothing.
        """
        if self.crew is not None:
            return self.crew.advance(message)
        try:
            metrics = self._collect_and_update()
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
            self._with_workers(lambda: None)
            self.start_environments()
            return {}
        self._skipped_in_a_row = 0
        return metrics

    def _collect_and_update(self) -> Metrics:
        try:
            rollout = self.sampler.collect(self.timesteps, self.updates, steps=self.steps)
        except Exception as error:
            self._raise_on_all(error)
        return self._with_workers(lambda: self.learner.update(rollout, self.reduce))

    def _with_workers(self, update: Callable[[], T]) -> T:
        """Runs ``update`` on all workers, again if one is lost, and counts it. An error of one is raised on all."""
        while True:
            try:
                rollout = self.sampler.rollout
                counts = self.reduce.begin(rollout.rows, rollout.steps)
                result = update()
            except WorkersChanged:
                continue
            except Exception as error:
                self._raise_on_all(error)
            self.timesteps += sum(rows for rows, _ in counts)
            self.steps += max(steps for _, steps in counts)
            self.updates += 1
            return result

    def _raise_on_all(self, error: Exception) -> NoReturn:
        agreed = self.reduce.raised(error)
        if agreed is error:
            raise error
        raise agreed from error

    @abstractmethod
    def for_worker(self, slot: int) -> Trainer:
        """A new trainer for a worker of this one's run, with the worker's share of the environments."""

    @abstractmethod
    def evaluate(self, episodes: int, *, seed: int) -> EvaluationResult:
        """Runs whole episodes with the current policy."""

    def close(self) -> None:
        """Closes the environments that the agent made, and ends its workers."""
        crew, self.crew = self.crew, None
        if crew is not None:
            crew.close()
        self.sampler.close()

    def state(self) -> Tree:
        """Everything that the rest of the training depends on, environments apart."""
        return {
            **self.learner.state(),
            "episodes": self.sampler.state(),
            **self.counts(),
        }

    def counts(self) -> Tree:
        """The counts of the run, a part of :meth:`state`."""
        counts: dict[str, Any] = {
            "timesteps": self.timesteps,
            "updates": self.updates,
            "skipped": {"total": self.updates_skipped, "in_a_row": self._skipped_in_a_row},
        }
        # Whole episodes take unequally many steps on each worker.
        return counts if self.timesteps == self.steps * self.settings.num_envs else counts | {"steps": self.steps}

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
        self.load_counts(tree)

    def load_counts(self, tree: Tree) -> None:
        """Raises as :meth:`load_state` does."""
        self.timesteps, self.updates = (require_count(name, tree[name]) for name in ("timesteps", "updates"))
        self.steps = require_count("steps", tree.get("steps", self.timesteps // self.settings.num_envs))
        skipped = tree["skipped"]
        self.updates_skipped, self._skipped_in_a_row = (
            require_count(f"skipped updates {name}", skipped[name]) for name in ("total", "in_a_row")
        )
