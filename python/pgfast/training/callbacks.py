"""Callbacks: a user's code at the moments of a training, and its own metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

import numpy as np

from pgfast.metrics import METRICS, Metric, Row

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    AgentT = TypeVar("AgentT", contravariant=True, default=Any)
else:
    from typing import TypeVar

    AgentT = TypeVar("AgentT", contravariant=True)

__all__ = ["Callback", "CallbackLike", "Callbacks"]

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Callback(Generic[AgentT]):
    """Base class of callbacks, whose methods do nothing; ``agent.learn(..., callback=MyCallback())`` calls them.

    A false answer other than None of :meth:`on_rollout` or :meth:`on_row` ends the training. An exception ends it too,
    with the state after the last whole update saved. A callback that leaves the agent alone changes no bit of the run.

    ``Callback[pgfast.A2C]`` is the type of a callback for that algorithm alone.
    """

    metrics: Sequence[str | Metric] = ()
    """Numbers of one's own, by name or as :class:`~pgfast.Metric`. :meth:`on_row` writes them into the row, from which
    they go to ``progress.csv``, TensorBoard and plots."""

    def on_start(self, agent: AgentT) -> None:
        """Called once, when the environments have been made."""

    def on_rollout(self, agent: AgentT, infos: list[dict[str, Any]]) -> object:
        """Called after every rollout and the update that learns from it.

        ``infos`` has an entry for each step: the infos of the vector environment, in which Gymnasium stores what the
        environments report under a key as an array ``[num_envs]``, with the mask of those that do under ``_key``. They
        are collected only for callbacks that have this method.
        """

    def on_row(self, agent: AgentT, row: Row) -> object:
        """Called with every row of ``progress.csv``, before it is written.

        ``row`` has all metrics of the run. A value that is not known is NaN, with which every comparison is false, so
        end the training by ``return not row["return_mean"] > 475``. Values of ``metrics`` are kept; other changes of
        the row are not.
        """

    def on_checkpoint(self, agent: AgentT, path: Path) -> None:
        """Called after every save with the directory of the checkpoint, which later saves may remove."""

    def on_end(self, agent: AgentT) -> None:
        """Called once, after the last save: at the end of the training, a signal or an error alike.

        The callbacks are called in the reverse of their order, those alone whose :meth:`on_start` has returned.
        """


CallbackLike: TypeAlias = Callable[[AgentT, Row], object] | Callback[AgentT]
"""A function of (agent, row), which is called like :meth:`Callback.on_row`, or a :class:`Callback`."""


class _Function(Callback[Any]):
    def __init__(self, function: Callable[[Any, Row], object]) -> None:
        self._function = function

    def on_row(self, agent: Any, row: Row) -> object:
        return self._function(agent, row)


class Callbacks:
    """All callbacks of a training, called in the order in which they were given.

    ``metrics`` are their own metrics by name; ``wants_infos`` is whether one of them has ``on_rollout``.

    Raises:
        TypeError: for anything else than functions and callbacks.
        ValueError: for a metric that exists already, or whose name or group is not an identifier.
    """

    def __init__(self, given: CallbackLike[Any] | Sequence[CallbackLike[Any]] | None = None) -> None:
        several = given if isinstance(given, Sequence) else [] if given is None else [given]
        self._all = [_as_callback(callback) for callback in several]
        self.metrics = _own_metrics(self._all)
        self.wants_infos = any(type(callback).on_rollout is not Callback.on_rollout for callback in self._all)

    @contextmanager
    def running(self, agent: Any) -> Iterator[None]:
        """A block of which every callback sees the start and, however it is left, the end."""
        with ExitStack() as stack:
            for callback in self._all:
                callback.on_start(agent)
                stack.callback(callback.on_end, agent)
            yield

    def on_rollout(self, agent: Any, infos: list[dict[str, Any]]) -> bool:
        """Calls those of all; returns whether all want to continue."""
        return _all_continue([callback.on_rollout(agent, infos) for callback in self._all])

    def on_row(self, agent: Any, row: Row) -> bool:
        """Calls those of all, and takes their own metrics over into ``row``; returns whether all want to continue.

        Raises:
            ValueError: for a number that no callback has declared.
            TypeError: for a value that is not a number.
        """
        shown = dict(row)
        wanted = _all_continue([callback.on_row(agent, shown) for callback in self._all])
        unknown = sorted(shown.keys() - row.keys())
        if unknown:
            raise ValueError(
                f"callback: row has no metric {unknown[0]!r}; declare it in the metrics of a pgfast.Callback"
            )
        for name in self.metrics:
            value = shown.get(name, math.nan)
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
                raise TypeError(f"callback: row[{name!r}] must be a number, got {type(value).__name__}")
            row[name] = value.item() if isinstance(value, np.generic) else value
        return wanted

    def on_checkpoint(self, agent: Any, path: Path) -> None:
        """Calls those of all."""
        for callback in self._all:
            callback.on_checkpoint(agent, path)


def _as_callback(given: Any) -> Callback[Any]:
    if isinstance(given, Callback):
        return given
    if callable(given) and not isinstance(given, type):
        return _Function(given)
    got = f"the class {given.__name__}, not an instance" if isinstance(given, type) else type(given).__name__
    raise TypeError(
        f"learn: callback must be a function of (agent, row), a pgfast.Callback or a sequence of these, got {got}"
    )


def _all_continue(answers: list[object]) -> bool:
    return all(answer is None or answer for answer in answers)


def _own_metrics(callbacks: list[Callback[Any]]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for callback in callbacks:
        if isinstance(callback.metrics, str):
            raise TypeError(f"learn: metrics of a callback must be a sequence of names, got {callback.metrics!r}")
        for given in callback.metrics:
            metric = given if isinstance(given, Metric) else Metric(given)
            for part in (metric.name, metric.group):
                if not isinstance(part, str) or not _IDENTIFIER.fullmatch(part):
                    raise ValueError(
                        f"learn: metrics of a callback must have names of letters, digits and underscores, got {part!r}"
                    )
            if metric.name in METRICS or metric.name in found:
                raise ValueError(f"learn: a metric {metric.name!r} exists already; choose another name")
            found[metric.name] = metric
    return found
