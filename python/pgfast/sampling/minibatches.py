"""Minibatches of a batch, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pgfast._native import core
from pgfast._streams import MINIBATCHES
from pgfast._typing import BoolArray, FloatArray, IntArray
from pgfast.random import Rng
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch

__all__ = ["Minibatch", "Minibatches"]


@dataclass(frozen=True)
class Minibatch:
    """This worker's rows of a minibatch, which has ``count`` valid rows on all workers together.

    ``index`` selects the rows of the batch, in the order of time; None selects all. ``valid`` marks those that count,
    None for all. ``state`` ``[n, S]`` is that of a memory before them.
    """

    index: IntArray | None
    valid: BoolArray | None
    state: FloatArray | None
    count: int

    @property
    def counted(self) -> IntArray | BoolArray | slice:
        """An index of the rows of the batch that count."""
        if self.index is None:
            return slice(None) if self.valid is None else self.valid
        return self.index if self.valid is None else self.index[self.valid]


class Minibatches:
    """Cuts a batch into ``number`` minibatches of at most ``size`` rows each, in a new random order for each epoch.

    Their sizes differ by one row at most. The valid rows of all workers are numbered as in one rollout, so a minibatch
    does not depend on which worker holds a row. A worker without any of its rows has one row there that does not count.

    The rows of a policy with memory stay together as whole sequences: a minibatch then has at least one sequence, and
    about ``size`` rows. A sequence without a valid row is in none.

    Args:
        batch: this worker's rows.
        count: the number of valid rows on all workers together, at least 1.
        size: None for one minibatch, the whole batch in the order of time.
        seed: determines the random orders.
        reduce: the sums over all workers.
    """

    def __init__(self, batch: Batch, count: int, size: int | None, seed: int, reduce: Reduce) -> None:
        self._batch, self._count, self._reduce = batch, count, reduce
        self._rng = Rng.internal(seed, MINIBATCHES)
        self.number = 1 if size is None else -(-count // size)
        if self.number == 1:
            return
        # The units that are shuffled are rows or sequences, numbered over all workers; a unit stays whole.
        if batch.state is None:
            self._rows = np.arange(len(batch.time)) if batch.valid is None else np.flatnonzero(batch.valid)
            self._units, self._unit_count = batch.numbering(reduce)
        else:
            sequences = len(batch.state)
            used: BoolArray = np.ones(sequences, np.bool_)
            if batch.valid is not None:
                used = batch.valid.reshape(-1, sequences).max(axis=0)
            of_workers = [int(number) for number in reduce.gather(int(used.sum()))]
            sequence = np.arange(len(batch.time)) % sequences
            self._rows = np.flatnonzero(used[sequence])
            self._units = sum(of_workers[: reduce.rank]) + (np.cumsum(used) - 1)[sequence[self._rows]]
            self._unit_count = sum(of_workers)
            self.number = min(self.number, self._unit_count)

    def shuffled(self, epoch: int) -> list[Minibatch]:
        """Returns the minibatches of an epoch; ``epoch``, its number in the run, and the seed determine their rows."""
        batch, number = self._batch, self.number
        if number == 1:
            return [Minibatch(None, batch.valid, batch.state, self._count)]
        self._rng.position = epoch
        order, ends = core.draw_groups(self._rng.uniform(self._unit_count), number, self._units)
        rows = self._rows[order]  # those of a minibatch stay in the order of time
        indices = [rows[begin:end] for begin, end in pairwise([0, *ends.tolist()])]
        if batch.state is None:
            firsts = [-(-k * self._unit_count // number) for k in range(number + 1)]  # first unit of each minibatch
            return [
                Minibatch(index, None, None, end - first) if index.size else _without_rows(batch, end - first)
                for index, (first, end) in zip(indices, pairwise(firsts), strict=True)
            ]
        valid = [index.size if batch.valid is None else np.count_nonzero(batch.valid[index]) for index in indices]
        counts = self._reduce.sum(np.array(valid))
        return [self._of_sequences(index, int(count)) for index, count in zip(indices, counts, strict=True)]

    def _of_sequences(self, index: IntArray, count: int) -> Minibatch:
        batch = self._batch
        assert batch.state is not None
        if not index.size:
            return _without_rows(batch, count)
        first_step = index[index < len(batch.state)]
        valid = None if batch.valid is None else batch.valid[index]
        return Minibatch(index, valid, batch.state[first_step], count)


def _without_rows(batch: Batch, count: int) -> Minibatch:
    """The first row, which does not count: kernels take no empty arrays."""
    state = None if batch.state is None else batch.state[:1]
    return Minibatch(np.zeros(1, np.int64), np.zeros(1, np.bool_), state, count)
