"""The rows of a rollout that an update learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """B rows of a rollout, ``[B, ...]`` each; ``len`` is the number of valid ones."""

    observations: Array
    step: IntArray  # t of the row in its rollout
    time: IntArray
    actions: Array
    log_prob: FloatArray  # of the policy that acted
    advantages: FloatArray  # weights of the policy gradient, normalized if the settings say so
    returns: FloatArray  # the targets of the value function
    values: FloatArray  # V at the time of the rollout
    valid: BoolArray | None = None  # the rows that count; None for all
    mask: BoolArray | None = None  # [B, M] the actions that could be taken; None if all could
    state: FloatArray | None = None  # [n, S] of a memory before the rows, which are T steps of n sequences

    @classmethod
    def of_valid_rows(cls, rollout: Rollout, advantages: FloatArray, returns: FloatArray, values: FloatArray) -> Batch:
        """Copies the valid rows.

        Kernels take no empty arrays: if no row is valid, which can happen on one worker of many, the batch is the first
        row, marked as not valid.
        """
        rows, valid = rollout.valid, None
        if not rows.any():
            rows, valid = np.zeros_like(rows), np.zeros(1, np.bool_)
            rows[0, 0] = True
        return cls(
            rollout.observations[:-1][rows],
            np.nonzero(rows)[0],
            rollout.time[:-1][rows],
            rollout.actions[rows],
            rollout.log_prob[rows],
            advantages[rows],
            returns[rows],
            values[:-1][rows],
            valid,
            None if rollout.masks is None else rollout.masks[:-1][rows],
        )

    @classmethod
    def of_all_rows(cls, rollout: Rollout, advantages: FloatArray, returns: FloatArray, values: FloatArray) -> Batch:
        """Makes views of all T N rows, in the order of the rollout's tape."""
        rows, observations, actions = rollout.rows, rollout.observations, rollout.actions
        return cls(
            observations[:-1].reshape(rows, *observations.shape[2:]),
            np.repeat(np.arange(rollout.steps), rollout.num_envs),
            rollout.time[:-1].reshape(rows),
            actions.reshape(rows, *actions.shape[2:]),
            rollout.log_prob.reshape(rows),
            advantages.reshape(rows),
            returns.reshape(rows),
            values[:-1].reshape(rows),
            rollout.valid.reshape(rows),
            None if rollout.masks is None else rollout.masks[:-1].reshape(rows, -1),
            rollout.initial_state if rollout.has_memory else None,
        )

    def first_steps(self, steps: int) -> Batch:
        """Makes views of the rows of the first ``steps`` steps of the rollout."""
        rows = slice(int(np.searchsorted(self.step, steps)))
        return self.take(rows, self.observations[rows], None if self.valid is None else self.valid[rows], self.state)

    def take(
        self, rows: IntArray | slice, observations: Array, valid: BoolArray | None, state: FloatArray | None
    ) -> Batch:
        """Copies the rows with these indices, or makes views of a slice; ``observations`` and the rest are given."""
        return Batch(
            observations,
            self.step[rows],
            self.time[rows],
            self.actions[rows],
            self.log_prob[rows],
            self.advantages[rows],
            self.returns[rows],
            self.values[rows],
            valid,
            None if self.mask is None else self.mask[rows],
            state,
        )

    def __len__(self) -> int:
        return len(self.advantages) if self.valid is None else int(np.count_nonzero(self.valid))

    def numbering(self, reduce: Reduce) -> tuple[IntArray, int]:
        """(numbers of the valid rows among those of all workers, count of the latter)

        Rows are numbered step by step, and within a step worker by worker, as in one rollout with all environments.
        """
        step = self.step if self.valid is None else self.step[self.valid]
        steps = int(max(reduce.gather(int(step.max(initial=-1)) + 1)))
        counts = np.zeros((steps, reduce.workers), np.int64)
        counts[:, reduce.rank] = local = np.bincount(step, minlength=steps)
        counts = reduce.sum(counts)
        first = np.cumsum(counts).reshape(counts.shape) - counts  # number of the first row, [steps, workers]
        within = np.arange(len(step)) - (np.cumsum(local) - local)[step]
        return first[step, reduce.rank] + within, int(counts.sum())

    def used(self, numbers: FloatArray) -> FloatArray:
        """Returns the entries of ``numbers`` ``[B]`` that belong to valid rows."""
        return numbers if self.valid is None else numbers[self.valid]

    def sum(self, numbers: FloatArray) -> float:
        """Sums ``numbers`` ``[B]`` over the valid rows, in float64."""
        return float(core.column_sums(numbers.reshape(-1, 1), self.valid)[0])
