"""What VPG, NPG and TRPO share: a policy, a baseline of its own, and the batch that an update learns from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgfast._typing import Array, FloatArray, IntArray
from pgfast.algos.advantages import normalize
from pgfast.baselines import Baseline, LinearBaseline, MLPBaseline, TimeBaseline, ZeroBaseline
from pgfast.distributions import Distribution
from pgfast.kernels import gae
from pgfast.policies import CategoricalPolicy, GaussianPolicy, Policy
from pgfast.profiling import FORWARD, VALUE_FIT
from pgfast.training.agent import Agent
from pgfast.training.construction import make_network
from pgfast.training.models import select
from pgfast.training.settings import PolicySettings

__all__ = ["Batch", "PolicyAgent", "dot"]


@dataclass(frozen=True)
class Batch:
    """The valid rows of a rollout, ``[B, ...]`` each."""

    observations: Array
    time: IntArray
    actions: Array
    advantages: FloatArray  # to weigh the policy's gradient with, normalized if the settings say so
    returns: FloatArray  # A + V, to fit the baseline to

    def __len__(self) -> int:
        return len(self.advantages)


class PolicyAgent(Agent):
    """An agent whose policy and baseline are separate, so that each is learned by the rule that suits it."""

    settings: PolicySettings
    baseline: Baseline

    def _make_policy(self) -> Policy:
        s, space = self.settings, self.space
        self.baseline = self._make_baseline()
        if space.action.kind == "box":
            outputs = space.action.components * (2 if s.state_dependent_std else 1)
            network = make_network(s, space.observation_shape, outputs)
            return GaussianPolicy(network, s.log_std_init, state_dependent_std=s.state_dependent_std)
        network = make_network(s, space.observation_shape, space.action.columns)
        return CategoricalPolicy(network, None if space.action.kind == "discrete" else space.action.sizes)

    def _make_baseline(self) -> Baseline:
        s, shape = self.settings, self.space.observation_shape
        if s.baseline == "zero":
            return ZeroBaseline()
        if s.baseline == "time":
            return TimeBaseline()
        if s.baseline == "linear":
            return LinearBaseline(int(np.prod(shape)))
        return MLPBaseline(
            make_network(s, shape, 1, second=True),
            learning_rate=s.value_learning_rate,
            epochs=s.value_epochs,
            batch_size=s.value_batch_size,
            seed=s.seed,
        )

    def collect(self) -> None:
        """Fills the rollout: n_steps of every environment, or whole episodes."""
        s = self.settings
        if not s.plays_whole_episodes:
            super().collect()
            return
        if self.reward_normalizer is not None:
            self.reward_normalizer.restart()
        first_step = self.timesteps // s.num_envs
        self.collector.collect_episodes(first_step, s.num_envs * s.n_steps, self._environment_seeds())

    def batch(self) -> Batch | None:
        """Advantages and returns of the rollout just collected; None where no row is valid."""
        s, rollout = self.settings, self.collector.rollout
        if not rollout.valid.any():
            return None
        with FORWARD:
            values = self.baseline.values(
                rollout.observations.reshape(-1, *rollout.observations.shape[2:]), rollout.time.reshape(-1)
            ).reshape(rollout.time.shape)
            rollout.bootstrap(values, self.baseline.values)
        ends = rollout.terminated
        if s.plays_whole_episodes:  # the time limit is the end of the task
            ends = ends | rollout.truncated
        advantages, returns = gae(
            self._scaled_rewards(),
            np.ascontiguousarray(values[:-1]),
            rollout.next_values,
            ends,
            rollout.truncated,
            s.discount,
            s.gae_lambda,
        )
        valid = rollout.valid
        self.last_values, self.last_returns = values[:-1][valid], returns[valid]
        if s.normalize_advantages:
            advantages = normalize(advantages, valid)
        return Batch(
            rollout.observations[:-1][valid],
            rollout.time[:-1][valid],
            rollout.actions[valid],
            advantages[valid],
            returns[valid],
        )

    def learn_values(self, batch: Batch, distribution: Distribution[Any]) -> dict[str, float]:
        """Fits the baseline and the observation normalizer; gives the figures that every algorithm reports.

        Before the policy's step, which needs nothing of it: where this raises, the policy is as it was.
        """
        values = self.last_values
        assert values is not None
        with VALUE_FIT:
            self.baseline.fit(batch.observations, batch.time, batch.returns)
        self._learn_scale_of_observations()
        return {
            "value_loss": float(np.square(batch.returns - values, dtype=np.float64).mean()),
            "entropy": float(distribution.entropy().mean(dtype=np.float64)),
        }

    def arrays(self) -> dict[str, Array]:
        """What a model file holds, the baseline included."""
        return {**super().arrays(), **{f"baseline.{name}": array for name, array in self.baseline.state().items()}}

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what :meth:`arrays` gave. Raises ``KeyError`` or ``ValueError`` where it does not fit."""
        super().load_arrays(arrays)
        self.baseline.load_state(select(arrays, "baseline."))

    def start_from(self, arrays: Mapping[str, Array]) -> None:
        """Takes over a model's policy and normalizers, and its baseline where that is of the same kind and sizes."""
        super().start_from(arrays)
        given = select(arrays, "baseline.")
        if given.keys() == self.baseline.state().keys():
            with suppress(ValueError):  # of other sizes
                self.baseline.load_state(given)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays, JSON) of everything that the rest of the training depends on, environments apart."""
        arrays, state = super().state()
        more, scalars = self.baseline.training_state()
        arrays |= {f"baseline_fit.{name}": array for name, array in more.items()}
        return arrays, {**state, "baseline_fit": scalars}

    def load_state(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state` gave. Raises ``ValueError`` or ``KeyError`` where it does not fit."""
        super().load_state(arrays, state)
        self.baseline.load_training_state(select(arrays, "baseline_fit."), state["baseline_fit"])


def dot(a: FloatArray, b: FloatArray) -> float:
    """a . b in float64; not by BLAS, which may add in another order on another number of threads."""
    return float(np.multiply(a, b, dtype=np.float64).sum())
