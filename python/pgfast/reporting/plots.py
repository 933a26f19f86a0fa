"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgfast.metrics import METRICS
from pgfast.runs.progress_log import read_progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_runs"]

Column: TypeAlias = NDArray[np.float64]

# Okabe and Ito (2008), which every kind of color vision distinguishes; without the yellow, too pale for a line.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))  # once the colors are used up
_INK, _FAINT = "#333333", "#D9D9D9"
_SMOOTHING = 0.01  # reach of the smoothed line to either side, as a fraction of the longest run
_X_AXES = ("timesteps", "wall_time", "updates", "episodes")
_RETURNS = ("return_mean", "return_std", "return_min", "return_max")
_SECONDS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def plot_runs(
    run_dirs: Sequence[str | Path],
    out: str | Path,
    *,
    title: str | None = None,
    x: str = "timesteps",
    y: str = "return_mean",
) -> None:
    """Draws the learning curves of several runs in one picture: ``y`` over ``x``.

    The thin line is ``y``. The bold line is its exponential mean to both sides, which does not lag. Around
    ``return_mean`` there is a band of plus and minus ``return_std``, cut off at ``return_min`` and ``return_max``. In
    ``progress.csv`` all of these are over the last 100 whole episodes.

    Args:
        run_dirs: run directories, each with a ``progress.csv``.
        out: the picture, in the format of its extension (``.png``, ``.svg``, ``.pdf``); its directory is created.
        title: above the picture; None takes the run's name if there is one run.
        x: the metric of the x axis: "timesteps", "wall_time", "updates" or "episodes".
        y: the column of ``progress.csv`` to draw, one of a callback included.

    Raises:
        ImportError: if matplotlib is missing.
        ValueError: if there is nothing to draw, or for an unknown ``x``, ``y`` or extension.
        TypeError: if ``run_dirs`` is a single path.
        CheckpointError: if a ``progress.csv`` is missing or broken.
        OSError: if the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "pgfast[plot]"') from error
    if isinstance(run_dirs, (str, Path)):
        raise TypeError(f"plot_runs: run_dirs must be a list of run directories, got {run_dirs!r}")
    directories, out = [Path(path) for path in run_dirs], Path(out)
    if not out.suffix:
        raise ValueError(f"plot_runs: out must end in .png, .svg or .pdf, got {out}")
    if x not in _X_AXES:
        raise ValueError(f"plot_runs: x must be one of {', '.join(_X_AXES)}, got {x!r}")
    curves = [_read_curve(path, x, y) for path in directories]
    span = max((curve["x"][-1] for curve in curves if curve["x"].size), default=math.nan)
    missing = "finished episode" if y in _RETURNS else f"value of {y}"
    if math.isnan(span):
        raise ValueError(f"plot_runs: no run has a {missing} yet")
    unit, scale = _choose_unit(x, span)

    figure = Figure(figsize=(8.0, 4.8), dpi=150, layout="constrained")  # no pyplot: no window, no global state
    axes = figure.add_subplot()
    names = _short_names(directories)
    for index, (name, curve) in enumerate(zip(names, curves, strict=True)):
        label = name if curve["x"].size else f"{name} (no {missing} yet)"
        _draw_curve(axes, label, curve, scale, _SMOOTHING * span, index)
    _decorate(axes, f"{_label(x)} ({unit})" if unit else _label(x), _label(y))
    title = names[0] if title is None and len(names) == 1 else title
    if title is not None:
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=_INK, pad=12)
    if len(names) > 1:
        axes.legend(loc="upper left", edgecolor="none", framealpha=0.8, fontsize=9, labelcolor=_INK)
    thin = "Thin: mean of the last 100 episodes. Band: \u00b1 1 standard deviation, within minimum and maximum. "
    figure.supxlabel(
        f"{thin if y == 'return_mean' else ''}Bold: exponential mean over \u00b1 {_SMOOTHING:.0%} of the axis.",
        fontsize=7.5,
        color="#777777",
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def _read_curve(run_dir: Path, x: str, y: str) -> dict[str, Column]:
    """The rows that have a "y": it and their "x", and the "low" and "high" of its band if it has one."""
    columns = read_progress(run_dir / "progress.csv")
    has_band = y == "return_mean"
    missing = {x, y, *(_RETURNS if has_band else ())} - columns.keys()
    if missing:
        raise ValueError(f"plot_runs: {run_dir / 'progress.csv'} has no column {', '.join(sorted(missing))}")
    known = np.isfinite(columns[y]) & np.isfinite(columns[x])
    curve = {"x": columns[x][known], "y": columns[y][known]}
    if has_band:
        std, least, most = (columns[name][known] for name in ("return_std", "return_min", "return_max"))
        std = np.nan_to_num(std)
        curve |= {"low": np.fmax(curve["y"] - std, least), "high": np.fmin(curve["y"] + std, most)}
    return curve


def _exponential_mean(x: Column, y: Column, reach: float) -> Column:
    """The mean of all y around each x, weighted by exp(-distance / reach); the distances may be uneven."""
    sums = np.stack([y, np.ones_like(y)])
    decay = np.exp(-np.diff(x) / reach)
    before, after = sums.copy(), sums.copy()
    for n in range(1, x.size):
        before[:, n] += decay[n - 1] * before[:, n - 1]
        after[:, -n - 1] += decay[-n] * after[:, -n]
    weighted, weights = before + after - sums  # both sums hold the point itself
    smooth: Column = weighted / weights
    return smooth


def _draw_curve(axes: Axes, label: str, curve: dict[str, Column], scale: float, reach: float, index: int) -> None:
    color = _COLORS[index % len(_COLORS)]
    dash: Any = _DASHES[index // len(_COLORS) % len(_DASHES)]
    position, y = curve["x"] / scale, curve["y"]
    smooth = _exponential_mean(curve["x"], y, reach)
    if "low" in curve:
        axes.fill_between(position, curve["low"], curve["high"], color=color, alpha=0.13, linewidth=0)
    axes.plot(position, y, color=color, alpha=0.35, linewidth=0.7)
    axes.plot(position, smooth, color=color, linestyle=dash, linewidth=2.0, label=label, solid_capstyle="round")


def _decorate(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=_INK, fontsize=10)
    axes.set_ylabel(y_label, color=_INK, fontsize=10)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.tick_params(colors=_INK, labelsize=9, length=0, pad=6)


def _label(name: str) -> str:
    """The label of a metric; a run directory has none for the metrics of callbacks, which keep their names."""
    if name not in METRICS:
        return name
    label = METRICS[name].label
    return label[0].upper() + label[1:]


def _choose_unit(x: str, span: float) -> tuple[str, float]:
    """(unit of the axis, its size in units of the metric)"""
    if METRICS[x].unit == "s":
        return next(((unit, size) for unit, size in _SECONDS if span >= 2 * size), _SECONDS[-1])
    if span >= 1e6:
        return "millions", 1e6
    return ("thousands", 1e3) if span >= 1e4 else ("", 1.0)


def _short_names(run_dirs: Sequence[Path]) -> list[str]:
    """The names of the directories, or their whole paths if two names are equal."""
    names = [path.resolve().name for path in run_dirs]
    return names if len(set(names)) == len(names) else [str(path) for path in run_dirs]
