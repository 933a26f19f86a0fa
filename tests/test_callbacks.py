"""Callbacks: their moments, how they end a training, and numbers of their own."""

from __future__ import annotations

import csv
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import pgfast
from counting_env import BrokenEnv, CountingEnv
from pgfast.loading import verify
from pgfast.runs.progress_log import read_progress
from test_training import SETTINGS, agent, resume_to, without_times


class Recorder(pgfast.Callback):
    """Notes its calls as (moment, number)."""

    def __init__(self, calls: list[tuple[str, Any]] | None = None) -> None:
        self.calls: list[tuple[str, Any]] = [] if calls is None else calls

    def on_start(self, agent: Any) -> None:
        self.calls.append(("start", agent.timesteps))

    def on_rollout(self, agent: Any, infos: list[dict[str, Any]]) -> object:
        self.calls.append(("rollout", len(infos)))
        return None

    def on_row(self, agent: Any, row: dict[str, float]) -> object:
        self.calls.append(("row", row["timesteps"]))
        return None

    def on_checkpoint(self, agent: Any, path: Path) -> None:
        assert (path / "manifest.json").exists()
        self.calls.append(("checkpoint", int(path.name)))

    def on_end(self, agent: Any) -> None:
        self.calls.append(("end", agent.timesteps))

    def moments(self) -> list[tuple[str, Any]]:
        """The calls without those for every rollout."""
        return [call for call in self.calls if call[0] != "rollout"]


class Distance(pgfast.Callback[pgfast.A2C]):
    """Reports a number of its own, unknown in the first row."""

    metrics = ("distance",)

    def on_row(self, agent: pgfast.A2C, row: dict[str, float]) -> None:
        if agent.timesteps > 60:
            row["distance"] = np.float32(agent.timesteps / 8)


def test_the_moments_of_a_training(tmp_path: Path) -> None:
    recorder = Recorder()
    agent().learn(250, run_dir=tmp_path / "run", callback=recorder)
    assert recorder.moments() == [
        *[("start", 0), ("checkpoint", 0), ("row", 60), ("row", 120), ("row", 180), ("checkpoint", 200), ("row", 240)],
        *[("row", 260), ("checkpoint", 260), ("end", 260)],
    ]
    assert [call for call in recorder.calls if call[0] == "rollout"] == [("rollout", 5)] * 13


def test_a_callback_that_leaves_the_agent_alone_changes_no_bit(tmp_path: Path) -> None:
    plain = agent().learn(500, run_dir=tmp_path / "plain")
    watched = agent().learn(500, run_dir=tmp_path / "watched", callback=[Recorder(), lambda agent, row: None])
    np.testing.assert_array_equal(watched.policy.parameters, plain.policy.parameters)
    assert without_times(tmp_path / "watched" / "progress.csv") == without_times(tmp_path / "plain" / "progress.csv")


@pytest.mark.parametrize("method", ["on_row", "on_rollout"])
def test_any_of_several_ends_the_training_and_all_see_the_moment_and_the_end(method: str) -> None:
    class Stop(pgfast.Callback):
        pass

    setattr(Stop, method, lambda self, trained, seen: np.bool_(trained.timesteps < 120))
    calls: list[tuple[str, Any]] = []
    trained = agent().learn(500, callback=(Recorder(calls), Stop(), Recorder(calls)))
    assert trained.timesteps == 120
    assert [call for call in calls if call[0] != "rollout"] == [
        *[("start", 0)] * 2,
        *[("row", 60)] * 2,
        *[("row", 120)] * 2,
        *[("end", 120)] * 2,
    ]


def test_an_error_of_a_callback_ends_the_training_saved_and_every_callback_sees_the_end(tmp_path: Path) -> None:
    def fail(trained: pgfast.A2C, row: dict[str, float]) -> None:
        if row["timesteps"] == 300:
            raise ZeroDivisionError("an error of the user")

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError, match="an error of the user"):
        agent().learn(500, run_dir=tmp_path / "run", callback=[recorder, fail])
    assert recorder.moments()[-3:] == [("row", 300), ("checkpoint", 300), ("end", 300)]
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"][-1] == 300
    assert verify(tmp_path / "run").timesteps == 300
    assert resume_to(tmp_path / "run", 400)[0].timesteps == 400


def test_an_error_in_the_last_row_or_in_a_rollout_leaves_a_saved_run(tmp_path: Path) -> None:
    class Fails(pgfast.Callback):
        def __init__(self, at: int) -> None:
            self.at = at

        def on_rollout(self, agent: Any, infos: Any) -> None:
            if agent.timesteps == self.at:
                raise ZeroDivisionError

    def fail(trained: Any, row: dict[str, float]) -> None:
        if row["timesteps"] == 100:
            raise ZeroDivisionError

    for name, callback in (("rollout", Fails(100)), ("row", fail)):
        with pytest.raises(ZeroDivisionError):
            agent().learn(100, run_dir=tmp_path / name, callback=callback)
        assert verify(tmp_path / name).timesteps == 100


def test_a_callback_whose_start_fails_sees_no_end() -> None:
    class Fails(Recorder):
        def on_start(self, agent: Any) -> None:
            raise ZeroDivisionError

    first, failing = Recorder(), Fails()
    with pytest.raises(ZeroDivisionError):
        agent().learn(100, callback=[first, failing])
    assert first.calls == [("start", 0), ("end", 0)]
    assert failing.calls == []


def test_an_error_at_the_end_hides_the_end_from_no_callback(tmp_path: Path) -> None:
    class Fails(Recorder):
        def on_end(self, agent: Any) -> None:
            raise ZeroDivisionError

    first, last = Recorder(), Recorder()
    with pytest.raises(ZeroDivisionError):
        agent().learn(100, run_dir=tmp_path / "run", callback=[first, Fails(), last])
    assert first.calls[-1] == last.calls[-1] == ("end", 100)
    assert verify(tmp_path / "run").timesteps == 100


def test_an_error_of_an_environment_is_an_end() -> None:
    recorder = Recorder()
    with pytest.raises(FloatingPointError):
        pgfast.A2C(lambda: BrokenEnv("reward"), **SETTINGS).learn(100, callback=recorder)  # type: ignore[arg-type]
    assert recorder.calls == [("start", 0), ("end", 0)]


def test_a_signal_is_an_end_after_the_save(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_callbacks import Recorder, agent
class Kills(Recorder):
    def on_row(self, agent, row):
        os.kill(os.getpid(), signal.SIGTERM)
    def on_end(self, agent):
        print(self.moments()[-1], flush=True)
agent().learn(10**6, run_dir={str(tmp_path / "run")!r}, callback=Kills())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "('checkpoint', 60)\n", "")


def test_unknown_values_are_nan_and_every_metric_is_in_the_row() -> None:
    rows: list[dict[str, float]] = []

    def stop_at_a_return(trained: pgfast.TRPO, row: dict[str, float]) -> bool:
        rows.append(row)
        return not row["return_mean"] > 475  # before the first episode has ended, too

    settings: dict[str, Any] = {"num_envs": 2, "n_steps": 5, "report_every": 10, "hidden_sizes": (4,)}
    pgfast.TRPO("Pendulum-v1", **settings).learn(30, callback=stop_at_a_return)
    assert len(rows) == 3
    assert math.isnan(rows[0]["return_mean"])
    assert math.isnan(rows[0]["length_mean"])
    assert all(isinstance(row["timesteps"], int) and not isinstance(row["kl"], type(None)) for row in rows)
    assert len({tuple(row) for row in rows}) == 1


def test_numbers_of_ones_own_are_columns_of_progress(tmp_path: Path) -> None:
    seen: list[float] = []
    agent().learn(200, run_dir=tmp_path / "run", callback=[Distance(), lambda _, row: seen.append(row["distance"])])
    progress = read_progress(tmp_path / "run" / "progress.csv")
    assert list(progress)[-1] == "distance"
    np.testing.assert_array_equal(progress["distance"], [np.nan, 15.0, 22.5, 25.0])
    np.testing.assert_array_equal(seen, progress["distance"])
    assert (tmp_path / "run" / "progress.csv").read_text().splitlines()[1].endswith(",")  # an empty cell


def test_callbacks_change_their_own_metrics_alone(tmp_path: Path) -> None:
    def change(trained: pgfast.A2C, row: dict[str, float]) -> None:
        row["timesteps"] = -1

    agent().learn(120, run_dir=tmp_path / "run", callback=change)
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"].tolist() == [60, 120]


def test_resuming_keeps_the_columns_of_callbacks(tmp_path: Path) -> None:
    path = tmp_path / "run"
    agent().learn(220, run_dir=path, callback=Distance())
    resume_to(path, 280)  # without the callback: empty cells
    resume_to(path, 340, Distance())
    np.testing.assert_array_equal(
        read_progress(path / "progress.csv")["distance"], [np.nan, 15.0, 22.5, 27.5, np.nan, np.nan, 37.5, 42.5]
    )

    class Height(Distance):
        metrics = ("height",)

    before = (path / "progress.csv").read_bytes()
    with pytest.raises(ValueError, match=r"progress\.csv has no column height: a run that has begun takes no further"):
        resume_to(path, 400, Height())
    assert (path / "progress.csv").read_bytes() == before


def test_a_metric_of_ones_own_may_be_in_the_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    class Shown(Distance):
        metrics = (pgfast.Metric("distance", in_progress_line=True), "height")

    agent().learn(120, callback=Shown(), progress_bar=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].endswith("  distance 15")
    assert "height" not in "".join(lines)


def declares(*metrics: Any) -> pgfast.Callback:
    callback: pgfast.Callback = pgfast.Callback()
    callback.metrics = metrics
    return callback


@pytest.mark.parametrize(
    ("callback", "error", "text"),
    [
        (Distance, TypeError, "got the class Distance, not an instance"),
        (
            [Distance(), 5],
            TypeError,
            r"must be a function of \(agent, row\), a pgfast.Callback or a sequence .* got int",
        ),
        (declares("kl"), ValueError, "a metric 'kl' exists already; choose another name"),
        ([Distance(), Distance()], ValueError, "a metric 'distance' exists already"),
        (declares("a b"), ValueError, "must have names of letters, digits and underscores, got 'a b'"),
        (declares(pgfast.Metric("a", group="b/c")), ValueError, "must have names of .*, got 'b/c'"),
        (declares(5), ValueError, "must have names of .*, got 5"),
    ],
)
def test_wrong_callbacks_are_refused_before_a_run_begins(
    tmp_path: Path, callback: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^learn: .*{text}"):
        agent().learn(100, run_dir=tmp_path / "run", callback=callback)
    assert not (tmp_path / "run").exists()


def test_a_string_is_no_sequence_of_metrics() -> None:
    callback: pgfast.Callback = pgfast.Callback()
    callback.metrics = "distance"
    with pytest.raises(TypeError, match="must be a sequence of names, got 'distance'"):
        agent().learn(100, callback=callback)


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("distanc", 1.0, ValueError, "row has no metric 'distanc'; declare it in the metrics of a pgfast.Callback"),
        ("distance", "far", TypeError, "row['distance'] must be a number, got str"),
        ("distance", None, TypeError, "row['distance'] must be a number, got NoneType"),
        ("distance", True, TypeError, "row['distance'] must be a number, got bool"),
    ],
)
def test_wrong_numbers_are_refused(name: str, value: Any, error: type[Exception], text: str) -> None:
    class Wrong(Distance):
        def on_row(self, agent: pgfast.A2C, row: dict[str, Any]) -> None:
            row[name] = value

    with pytest.raises(error) as caught:
        agent().learn(100, callback=Wrong())
    assert text in str(caught.value)


class Infos(pgfast.Callback):
    """Collects infos["steps"] of every step of every rollout."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def on_rollout(self, agent: Any, infos: list[dict[str, Any]]) -> None:
        self.steps += [info["steps"].tolist() for info in infos if "steps" in info]


class InformingEnv(CountingEnv):
    """Reports the number of the step."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:4], {"steps": self.time}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_infos_of_every_step(vectorization: Any) -> None:
    """Episodes of three steps and a reset."""
    callback = Infos()
    settings: dict[str, Any] = {"num_envs": 2, "n_steps": 6, "vectorization": vectorization}
    pgfast.A2C(InformingEnv, **settings).learn(24, callback=callback)
    assert callback.steps == [[n, n] for n in (1, 2, 3, 1, 2, 3, 1, 2, 3)]


def test_infos_of_a_rollout_stay_as_they_were() -> None:
    class Reusing(gymnasium.vector.SyncVectorEnv):
        """Returns the same array of infos at every step."""

        count = np.zeros(2, np.int64)

        def step(self, actions: Any) -> Any:
            self.count += 1
            return *super().step(actions)[:4], {"steps": self.count}

    callback = Infos()
    pgfast.A2C(Reusing([CountingEnv] * 2), n_steps=3).learn(6, callback=callback)
    assert callback.steps == [[1, 1], [2, 2], [3, 3]]


def test_infos_of_whole_episodes() -> None:
    callback = Infos()
    pgfast.VPG(InformingEnv, num_envs=2, n_steps=5, whole_episodes=True).learn(10, callback=callback)
    assert callback.steps[:4] == [[1, 1], [2, 2], [3, 3], [1, 1]]


def test_a_run_with_callbacks_has_a_readable_csv(tmp_path: Path) -> None:
    agent().learn(120, run_dir=tmp_path / "run", callback=Distance())
    with (tmp_path / "run" / "progress.csv").open() as file:
        assert [row["distance"] for row in csv.DictReader(file)] == ["", "15.0"]
