"""Forward passes of a batch, after its rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pgfast._typing import Array
from pgfast.policies import Policy, PolicyTape
from pgfast.sampling.batch import Batch
from pgfast.sampling.minibatches import Minibatch

__all__ = ["Replay"]


class Replay:
    """Runs a policy over batches, with its parameters at the time, on one tape whose memory is reused."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tape: PolicyTape | None = None
        self._observations: Array  # on the tape

    def take(self, batch: Batch, minibatches: Sequence[Minibatch]) -> Iterator[Batch]:
        """Yields the rows of each minibatch: the batch itself if it is one of all rows, else copies.

        The observations are copied to the tape, where the next minibatch overwrites them and :meth:`record` finds them.
        """
        indices = [minibatch.index for minibatch in minibatches if minibatch.index is not None]
        if not indices:
            yield batch
            return
        # All but the observations at once: the rows of a minibatch are then a slice.
        drawn, begin = batch.take(np.concatenate(indices), batch.observations, None, None), 0
        for minibatch, index in zip(minibatches, indices, strict=True):
            rows, end = len(index), begin + len(index)
            self._reserve(rows, batch.observations)
            observations = self._observations[:rows]
            batch.observations.take(index, 0, observations, "clip")  # with "raise" it would copy them twice
            yield drawn.take(slice(begin, end), observations, minibatch.valid, minibatch.state)
            begin = end

    def record(self, batch: Batch) -> PolicyTape:
        """Records all rows of the batch, valid or not, and returns the tape, which the next call overwrites.

        A policy with memory goes through the sequences of the batch from their states.
        """
        rows = len(batch.time)
        tape = self._reserve(rows, batch.observations)
        if batch.state is not None:
            tape.begin(batch.state)
            tape.starts[:rows] = batch.time == 0
        tape.record(batch.observations)
        return tape

    def _reserve(self, rows: int, observations: Array) -> PolicyTape:
        """Returns the tape, a new one if it holds too few rows of these observations."""
        if self._tape is None or self._tape.rows < rows:
            self._tape = PolicyTape(self._policy, rows)
            self._observations = self._tape.inputs(observations.dtype).reshape(rows, *observations.shape[1:])
        return self._tape
