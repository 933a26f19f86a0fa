"""Workers of one update as threads, for tests that compare two halves of a batch with the whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pgfast.reduce import Reduce, add

T = TypeVar("T")
TIMEOUT = 60.0  # seconds that a worker waits for the others


class ThreadReduce(Reduce):
    """The reduce of one worker; all of them share ``barrier`` and ``calls``.

    Raises ``AssertionError`` if the workers call different methods, ``threading.BrokenBarrierError`` if another worker
    has failed.
    """

    def __init__(self, rank: int, barrier: threading.Barrier, calls: list[tuple[str, Any]]) -> None:
        self.workers, self.rank = len(calls), rank
        self._barrier, self._calls = barrier, calls

    def sum(self, value: T) -> T:
        return self._meet("sum", value, add)  # type: ignore[no-any-return]

    def gather(self, value: float) -> list[float]:
        return self._meet("gather", value, list)  # type: ignore[no-any-return]

    def _meet(self, name: str, value: Any, combine: Callable[[list[Any]], Any]) -> Any:
        self._calls[self.rank] = (name, value)
        self._barrier.wait(TIMEOUT)
        names, values = zip(*self._calls, strict=True)
        assert set(names) == {name}, f"the workers called {names}"
        combined = combine(list(values))
        self._barrier.wait(TIMEOUT)  # no worker may continue and modify its value before all have combined them
        return combined


def run_workers(functions: Sequence[Callable[[Reduce], T]]) -> list[T]:
    """Runs each function in a thread with the reduce of its worker, and returns the results in order.

    An exception in one worker stops the others and is raised.
    """
    barrier, calls = threading.Barrier(len(functions)), [("", None)] * len(functions)
    results: list[Any] = [None] * len(functions)
    errors: list[BaseException] = []

    def work(rank: int, function: Callable[[Reduce], T]) -> None:
        try:
            results[rank] = function(ThreadReduce(rank, barrier, calls))
        except threading.BrokenBarrierError as error:
            errors.append(error)
        except BaseException as error:
            errors.insert(0, error)  # before the broken barriers that it causes
            barrier.abort()

    threads = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
