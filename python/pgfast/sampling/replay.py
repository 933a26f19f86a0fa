"""Forward passes of a batch, after its rollout."""

from __future__ import annotations

from pgfast.policies import Policy, PolicyTape
from pgfast.sampling.batch import Batch

__all__ = ["Replay"]


class Replay:
    """Runs a policy over batches, with its parameters at the time, on one tape whose memory is reused."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tape: PolicyTape | None = None

    def record(self, batch: Batch) -> PolicyTape:
        """Records all rows of the batch, valid or not, and returns the tape, which the next call overwrites.

        A policy with memory goes through the sequences of the batch from their states.
        """
        rows = len(batch.time)
        if self._tape is None or self._tape.rows < rows:
            self._tape = PolicyTape(self._policy, rows)
        if batch.state is not None:
            self._tape.begin(batch.state)
            self._tape.starts[:rows] = batch.time == 0
        self._tape.record(batch.observations)
        return self._tape
