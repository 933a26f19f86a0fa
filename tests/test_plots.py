"""Learning curves: the lines that are drawn, and the errors if nothing can be drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgfast.cli import main
from pgfast.reporting import plots
from pgfast.reporting.plots import plot_runs
from pgfast.runs.progress_log import ProgressLog

figure_module = pytest.importorskip("matplotlib.figure")

FIELDS = ("timesteps", "updates", "episodes", "wall_time", "return_mean", "return_std", "return_min", "return_max")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every saved figure."""
    axes: list[Any] = []
    save = figure_module.Figure.savefig

    def savefig(figure: Any, out: Path) -> None:
        save(figure, out)
        axes.append(figure.axes[0])

    monkeypatch.setattr(figure_module.Figure, "savefig", savefig)
    return axes


def make_run(path: Path, timesteps: int = 2_000_000, rows: int = 40, *, known: bool = True) -> Path:
    path.mkdir(parents=True)
    log = ProgressLog(path / "progress.csv", FIELDS)
    for row in range(1, rows + 1):
        t = timesteps * row // rows
        returns = {"return_mean": 0.9 * row, "return_std": 10.0, "return_min": 0.0, "return_max": 1.0 * row}
        log.write({"timesteps": t, "updates": row, "wall_time": t / 100, **(returns if known and row > 2 else {})})
    log.close()
    return path


def line_labels(axes: Any) -> list[str]:
    return [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("deep/a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_extension_sets_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: bytes
) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # another package may have imported it
    out = tmp_path / name
    plot_runs([str(make_run(tmp_path / "run"))], str(out))  # paths may be strings
    assert out.read_bytes().startswith(start)
    assert "matplotlib.pyplot" not in sys.modules


def test_runs_are_overlaid_in_different_colors(tmp_path: Path, drawn: list[Any]) -> None:
    runs = [make_run(tmp_path / f"a2c-Pong-{seed}", 500_000 * (seed + 1)) for seed in range(3)]
    plot_runs(runs, tmp_path / "a.png", title="Pong")
    (axes,) = drawn
    assert line_labels(axes) == [run.name for run in runs]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == line_labels(axes)
    assert len({line.get_color() for line in axes.lines}) == 3
    assert axes.get_xlabel() == "Environment steps (millions)"
    assert axes.get_ylabel() == "Return per episode"
    assert axes.get_title(loc="left") == "Pong"
    assert axes.lines[-1].get_xdata()[-1] == 1.5


def test_a_single_run_names_the_picture_and_the_band_stays_within_the_returns(tmp_path: Path, drawn: list[Any]) -> None:
    plot_runs([make_run(tmp_path / "run")], tmp_path / "a.png")
    (axes,) = drawn
    assert axes.get_title(loc="left") == "run"
    assert axes.get_legend() is None
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.0, 40.0)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.9 * np.arange(3, 41))


@pytest.mark.parametrize(
    ("x", "timesteps", "label"),
    [
        ("timesteps", 9_000, "Environment steps"),
        ("timesteps", 90_000, "Environment steps (thousands)"),
        ("wall_time", 5_000, "Time (seconds)"),
        ("wall_time", 50_000, "Time (minutes)"),
        ("wall_time", 1_000_000, "Time (hours)"),
        ("updates", 1000, "Updates"),
    ],
)
def test_the_axis_names_its_unit(tmp_path: Path, drawn: list[Any], x: str, timesteps: int, label: str) -> None:
    plot_runs([make_run(tmp_path / "run", timesteps)], tmp_path / "a.png", x=x)
    assert drawn[0].get_xlabel() == label


def test_any_column_is_drawn_without_a_band(tmp_path: Path, drawn: list[Any]) -> None:
    for name, values in (("one", (None, 2.0, 3.0)), ("two", (None, None, None))):
        (tmp_path / name).mkdir()
        log = ProgressLog(tmp_path / name / "progress.csv", ("timesteps", "kl", "distance"))
        log.write(*({"timesteps": 10 * t, "kl": 0.1, "distance": value} for t, value in enumerate(values)))
        log.close()
    plot_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "a.png", y="distance")
    (axes,) = drawn
    assert axes.get_ylabel() == "distance"
    assert not axes.collections
    assert line_labels(axes) == ["one", "two (no value of distance yet)"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2.0, 3.0])
    plot_runs([tmp_path / "one"], tmp_path / "b.png", y="kl")
    assert drawn[1].get_ylabel() == "KL divergence"
    with pytest.raises(ValueError, match="no run has a value of distance yet"):
        plot_runs([tmp_path / "two"], tmp_path / "c.png", y="distance")
    with pytest.raises(ValueError, match=r"progress\.csv has no column height"):
        plot_runs([tmp_path / "one"], tmp_path / "c.png", y="height")


def test_the_columns_are_flags(tmp_path: Path, drawn: list[Any]) -> None:
    run = make_run(tmp_path / "run")
    assert main(["plot", str(run), "--out", str(tmp_path / "a.png"), "--x", "updates", "--y", "return_max"]) == 0
    assert (drawn[0].get_xlabel(), drawn[0].get_ylabel()) == ("Updates", "Largest return")


def test_a_run_without_a_whole_episode_is_named(tmp_path: Path, drawn: list[Any]) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", known=False)]
    plot_runs(runs, tmp_path / "a.png")
    assert line_labels(drawn[0]) == ["one", "two (no finished episode yet)"]
    with pytest.raises(ValueError, match="no run has a finished episode yet"):
        plot_runs(runs[1:], tmp_path / "b.png")
    with pytest.raises(ValueError, match="no run has a finished episode yet"):
        plot_runs([], tmp_path / "b.png")


def test_equal_names_are_shown_with_their_paths_and_one_row_is_enough(tmp_path: Path, drawn: list[Any]) -> None:
    runs = [make_run(tmp_path / "a" / "run", rows=3), make_run(tmp_path / "b" / "run", rows=3)]
    plot_runs(runs, tmp_path / "a.png")
    assert line_labels(drawn[0]) == [str(run) for run in runs]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="x must be one of timesteps, wall_time, updates, episodes, got 'kl'"):
        plot_runs([run], tmp_path / "a.png", x="kl")
    ProgressLog(tmp_path / "progress.csv", ["timesteps"]).close()
    with pytest.raises(ValueError, match=r"progress\.csv has no column return_max, return_mean, return_min"):
        plot_runs([tmp_path], tmp_path / "a.png")


def test_a_path_is_not_a_list_of_paths(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="run_dirs must be a list of run directories, got 'runs/a2c'"):
        plot_runs("runs/a2c", tmp_path / "a.png")


def test_a_picture_without_an_extension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out must end in .png, .svg or .pdf"):
        plot_runs([make_run(tmp_path / "run")], tmp_path / "picture")


def test_the_smoothed_line_does_not_lag(tmp_path: Path) -> None:
    x = np.sort(np.random.default_rng(0).uniform(0, 1000, 400))
    smooth = plots._exponential_mean(x, 3.0 * x, 10.0)
    inner = (x > 100) & (x < 900)
    assert np.abs(smooth - 3.0 * x)[inner].max() < 3.0 * 10.0
    weights = np.exp(-np.abs(x[:, None] - x) / 10.0)
    np.testing.assert_allclose(smooth, weights @ (3.0 * x) / weights.sum(axis=1))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "pgfast\[plot\]"'):
        plot_runs([make_run(tmp_path / "run")], tmp_path / "a.png")
