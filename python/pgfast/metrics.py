"""Metrics: the one schema that progress.csv, TensorBoard, the progress line and plots read, and the merge of updates.

An update returns the metrics that its algorithm computes. A row of progress merges those of all updates since the row
before, and adds the counts, the returns and the times of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from pgfast.state import Tree

__all__ = ["METRICS", "RUN_METRICS", "Metric", "Metrics", "MetricsSinceRow", "Row"]

Metrics: TypeAlias = dict[str, float | None]
"""Numbers of one update by name; None for one that is not defined."""
Row: TypeAlias = dict[str, float]
"""A row of progress.csv by column; NaN for a value that is not known."""


@dataclass(frozen=True)
class Metric:
    """A column of ``progress.csv``."""

    name: str
    """Name of the column: letters, digits and underscores."""
    label: str = ""
    """Title in TensorBoard."""
    meaning: str = ""
    """Description in TensorBoard."""
    unit: str = ""
    """Unit in TensorBoard."""
    group: str = "custom"
    """Group in TensorBoard, where the metric is called group/name."""
    merge: Literal["mean", "last"] = "mean"
    """The value in a row of a metric that every update reports: the mean over its updates, or the last one."""
    in_progress_line: bool = False
    """Shown in the lines of progress."""
    instead_of: str = ""
    """The metric that the lines of progress leave out if they have this one."""

    @property
    def tag(self) -> str:
        """The name in TensorBoard."""
        return f"{self.group}/{self.name}"


def _of_group(group: str, *metrics: Metric) -> tuple[Metric, ...]:
    return tuple(replace(metric, group=group) for metric in metrics)


_RUN = (
    *_of_group(
        "time",
        Metric("timesteps", "environment steps", "steps of all environments so far, reset rows included", "steps"),
        Metric("updates", "updates", "updates so far, skipped ones included"),
        Metric("updates_skipped", "skipped updates", "updates skipped because a number was not finite"),
        Metric("episodes", "episodes", "whole episodes so far"),
        Metric("episodes_cut", "cut episodes", "episodes cut off by a synchronization point or a failed environment"),
        Metric("env_restarts", "environment restarts", "processes of environments replaced"),
        Metric("worker_restarts", "worker restarts", "workers of the run that were lost, or differed from the others"),
    ),
    *_of_group(
        "rollout",
        Metric("return_mean", "return per episode", "mean raw return of the last 100 whole episodes", "reward"),
        Metric(
            "return_std", "standard deviation of the return", "standard deviation of these returns, ddof 0", "reward"
        ),
        Metric("return_min", "smallest return", "smallest of these returns", "reward"),
        Metric("return_max", "largest return", "largest of these returns", "reward"),
        Metric("return_latest", "latest return", "mean raw return of the episodes since the row before", "reward"),
        Metric("length_mean", "episode length", "mean length of the last 100 whole episodes", "steps"),
    ),
    *_of_group(
        "train",
        Metric("policy_loss", "policy loss", "loss of the policy before the update", in_progress_line=True),
        Metric("value_loss", "value loss", "mean((R - V)^2) before the values are fitted", in_progress_line=True),
        Metric("entropy", "entropy", "mean entropy of the policy", "nats", in_progress_line=True),
        Metric(
            "explained_variance",
            "explained variance",
            "1 - Var(R - V) / Var(R): 1 is perfect, 0 no better than a constant; empty if R is constant",
            merge="last",
        ),
    ),
    *_of_group(
        "time",
        Metric("steps_per_second", "speed", "speed since the row before", "steps/s"),
        Metric("wall_time", "time", "duration of the training so far, over all resumptions", "s"),
    ),
)
_OF_ALGORITHMS = _of_group(
    "train",
    Metric("grad_norm", "gradient norm", "Euclidean norm of the gradient before clipping"),
    Metric("learning_rate", "learning rate", "learning rate of the schedule", merge="last"),
    Metric(
        "approx_kl",
        "approximate KL divergence",
        "estimate of KL(old, new), over the minibatches of the last epoch",
        "nats",
        in_progress_line=True,
    ),
    Metric("clip_fraction", "clip fraction", "fraction of the ratios that were beyond the clip range"),
    Metric("epochs", "epochs", "passes over the batch: steps taken, divided by the minibatches of an epoch"),
    Metric("kl", "KL divergence", "exact mean KL(old, new); 0 if no step was taken", "nats", in_progress_line=True),
    Metric("step_scale", "step scale", "what the bound of the trust region multiplied the step by"),
    Metric("raised_dampings", "raised dampings", "Kronecker factors so far that needed more damping", merge="last"),
    Metric("step_size", "step size", "step in multiples of the natural gradient; 0 if no step was taken"),
    Metric("cg_iterations", "CG iterations", "iterations of conjugate gradient"),
    Metric("cg_residual", "CG residual", "norm of its residual relative to that of the gradient"),
    Metric("line_search_steps", "line search steps", "candidates that the line search tried"),
    Metric("expected_improvement", "expected improvement", "improvement of the surrogate that the gradient predicts"),
    Metric(
        "improvement",
        "improvement",
        "improvement of the surrogate that was measured",
        in_progress_line=True,
        instead_of="policy_loss",  # at the old policy, where the mean of normalized advantages is 0
    ),
    Metric("failed_updates", "failed updates", "updates so far that had a gradient and took no step", merge="last"),
)
METRICS = {metric.name: metric for metric in (*_RUN, *_OF_ALGORITHMS)}
"""All metrics by name."""
RUN_METRICS = tuple(metric.name for metric in _RUN)
"""The metrics of every run, in the order of ``progress.csv``; those of the algorithm come after them."""

_Sum: TypeAlias = tuple[float, Annotated[int, msgspec.Meta(ge=1)]]


class MetricsSinceRow:
    """Sums and counts of the metrics of all updates since the last row."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}

    def add(self, metrics: Metrics) -> None:
        """Adds one update."""
        for name, value in metrics.items():
            if METRICS[name].merge == "last":
                self._sums.pop(name, None)
            if value is not None:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value, count + 1

    def take(self) -> Row:
        """Returns the values of the row that are known, and begins the next."""
        row = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return row

    def state(self) -> Tree:
        """``(sum, count)`` by name."""
        return dict(self._sums)

    def load_state(self, tree: Any) -> None:
        """Raises ``ValueError`` unless the tree holds sums of known metrics."""
        sums = msgspec.convert(tree, dict[str, _Sum])
        unknown = sums.keys() - METRICS.keys()
        if unknown:
            raise ValueError(f"has sums of unknown metrics: {sorted(unknown)}")
        self._sums = sums
