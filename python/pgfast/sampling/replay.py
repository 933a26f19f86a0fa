"""Forward passes of a batch, after its rollout."""

from __future__ import annotations

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

    def take(self, batch: Batch, minibatch: Minibatch) -> Batch:
        """Returns the rows of a minibatch: the batch itself if all are selected, else copies.

        The observations are copied to the tape, where the next call overwrites them and :meth:`record` finds them.
        """
        index = minibatch.index
        if index is None:
            return batch
        rows = len(index)
        self._reserve(rows, batch.observations)
        observations = self._observations[:rows]
        batch.observations.take(index, 0, observations, "clip")  # with "raise" it would copy them twice
        return batch.take(index, observations, minibatch.valid, minibatch.state)

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
