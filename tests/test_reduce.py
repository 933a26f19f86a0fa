"""The reduce of one worker, and the threads that act as workers in the tests."""

from __future__ import annotations

import numpy as np
import pytest

from pgfast.reduce import ALONE, Reduce
from two_workers import run_workers


def test_the_reduce_of_one_worker_is_the_identity() -> None:
    numbers = np.arange(3.0)
    assert ALONE.sum(numbers) is numbers
    assert ALONE.gather(2) == [2]
    assert (ALONE.workers, ALONE.rank) == (1, 0)


def test_sum_and_gather_go_in_worker_order() -> None:
    def work(reduce: Reduce, number: float) -> tuple:
        memory = np.full(2, number)
        total = reduce.sum(memory)
        memory[:] = 0.0  # does not reach the other workers
        return total.tolist(), reduce.sum((number, 1)), reduce.gather(number), reduce.rank, reduce.workers

    numbers = (1e16, 1.0, -1e16)  # in this order the sum is 0
    results = run_workers([lambda reduce, n=n: work(reduce, n) for n in numbers])
    for rank, result in enumerate(results):
        assert result == ([0.0, 0.0], (0.0, 3), list(numbers), rank, 3)


def test_an_error_in_one_worker_ends_all() -> None:
    def fail(reduce: Reduce) -> float:
        raise FloatingPointError("not finite")

    for functions in ([fail, lambda reduce: reduce.sum(1.0)], [lambda reduce: reduce.sum(1.0), fail]):
        with pytest.raises(FloatingPointError, match="not finite"):
            run_workers(functions)


def test_workers_that_call_different_methods_are_caught() -> None:
    with pytest.raises(AssertionError, match="the workers called"):
        run_workers([lambda reduce: reduce.sum(1), lambda reduce: reduce.gather(1)[0]])
