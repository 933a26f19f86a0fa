"""episodes.csv: a line for each whole episode, with infos of its last step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgfast
from counting_env import CountingEnv
from pgfast.cli import main
from pgfast.learning.settings import Settings
from pgfast.loading import verify
from pgfast.runs.checkpoints import list_checkpoints, read_checkpoint, write_checkpoint
from pgfast.runs.progress_log import read_progress
from test_training import agent, resume_to

KEYS = ("success", "distance", "rare")


class InformingEnv(CountingEnv):
    """Reports a flag and a number at every step, and another number at the end of every second episode."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, terminated, truncated, _ = super().step(action)
        infos = {"success": self.time == 3, "distance": np.float32(self.time / 2), "name": "me"}
        if truncated and self.episode % 2:
            infos["rare"] = self.episode
        return observation, reward, terminated, truncated, infos

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        return super().reset(seed=seed)[0], {"success": False, "distance": -1.0, "rare": -1}


def read(path: Path) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in read_progress(path / "episodes.csv").items()}


def without_seconds(path: Path) -> list[str]:
    lines = [line.split(",") for line in (path / "episodes.csv").read_text().splitlines()]
    column = lines[0].index("seconds")
    return [",".join(line[:column] + line[column + 1 :]) for line in lines]


def test_a_line_for_each_whole_episode(tmp_path: Path) -> None:
    path = tmp_path / "run"
    trained = agent(log_episodes=True).learn(500, run_dir=path)
    log, progress = read(path), read_progress(path / "progress.csv")
    assert list(log) == ["timesteps", "environment", "return", "length", "seconds"]
    assert len(log["return"]) == trained.sampler.statistics.episodes == progress["episodes"][-1] > 10
    assert log["return"] == log["length"] == list(trained.sampler.statistics.returns)
    assert sorted(log["timesteps"]) == log["timesteps"]
    assert sorted(log["seconds"]) == log["seconds"]
    assert 0 < log["timesteps"][-1] <= 500
    assert set(log["environment"]) <= {0, 1, 2, 3}
    assert 0 < log["seconds"][-1] <= progress["wall_time"][-1]


def test_without_the_setting_or_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    agent().learn(100, run_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "episodes.csv").exists()
    agent(log_episodes=True).learn(100)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def environments(kind: str) -> Any:
    if kind in ("sync", "async"):
        return InformingEnv
    return SyncVectorEnv([InformingEnv] * 2, autoreset_mode=AutoresetMode(kind))


@pytest.mark.parametrize("kind", ["sync", "async", *(mode.value for mode in AutoresetMode)])
def test_infos_of_the_last_step(tmp_path: Path, kind: str) -> None:
    """Episodes of three steps; the infos of resets are others."""
    settings: dict[str, Any] = {"vectorization": kind} if kind in ("sync", "async") else {}
    trained = pgfast.A2C(environments(kind), num_envs=2, n_steps=6, log_episodes=True, info_keys=KEYS, **settings)
    trained.learn(48, run_dir=tmp_path / "run")
    log = read(tmp_path / "run")
    assert list(log)[5:] == list(KEYS)
    assert set(log["return"]) == {6.0}
    assert set(log["success"]) == {1.0}
    assert set(log["distance"]) == {1.5}
    rare = np.array(log["rare"]).reshape(-1, 2)
    assert np.isnan(rare[0]).all()
    assert (rare[1] == 1).all()
    text = (tmp_path / "run" / "episodes.csv").read_text().splitlines()
    assert text[1].endswith(",1,1.5,")


def test_timesteps_are_those_of_the_step_that_ended_the_episode(tmp_path: Path) -> None:
    """Three steps and a reset, in two environments."""
    pgfast.A2C(CountingEnv, num_envs=2, n_steps=5, log_episodes=True).learn(24, run_dir=tmp_path / "run")
    assert read(tmp_path / "run")["timesteps"] == [6, 6, 14, 14, 22, 22, 30, 30]


def test_whole_episodes_are_logged(tmp_path: Path) -> None:
    trained = pgfast.VPG(CountingEnv, num_envs=2, n_steps=5, whole_episodes=True, log_episodes=True)
    trained.learn(20, run_dir=tmp_path / "run")
    log = read(tmp_path / "run")
    assert len(log["return"]) == trained.sampler.statistics.episodes > 0
    assert set(log["length"]) == {3.0}
    assert log["timesteps"][-1] <= trained.timesteps


def test_infos_of_atari(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    trained = pgfast.A2C(
        "BreakoutNoFrameskip-v4",
        num_envs=2,
        log_episodes=True,
        info_keys=("lives", "episode_frame_number"),
        network="origin_cnn",
    )
    trained.learn(1200, run_dir=tmp_path / "run")
    log = read(tmp_path / "run")
    assert len(log["return"]) == trained.sampler.statistics.episodes > 0
    assert set(log["lives"]) == {0}
    assert min(log["episode_frame_number"]) > 100


@pytest.mark.parametrize("key", ["name", "vector", "nested"])
def test_an_info_that_is_no_number_ends_the_run(tmp_path: Path, key: str) -> None:
    class Vector(InformingEnv):
        def step(self, action: int) -> Any:
            *step, infos = super().step(action)
            return *step, {**infos, "vector": np.zeros(2), "nested": {"a": 1}}

    trained = pgfast.A2C(Vector, num_envs=2, n_steps=6, log_episodes=True, info_keys=(key,))
    with pytest.raises(TypeError, match=rf'info_keys: infos\["{key}"\] of environment 0 must be a number, got '):
        trained.learn(48, run_dir=tmp_path / "run")
    assert verify(tmp_path / "run").timesteps == 0


def test_resuming_exactly_writes_the_lines_of_an_undisturbed_run(tmp_path: Path) -> None:
    agent(log_episodes=True).learn(800, run_dir=tmp_path / "whole")
    agent(log_episodes=True).learn(600, run_dir=tmp_path / "part")
    with (tmp_path / "part" / "episodes.csv").open("a") as log:  # as if the run had been killed later
        log.write("640,0,1.0,1,9.9\n")
    resume_to(tmp_path / "part", 800)
    assert without_seconds(tmp_path / "part") == without_seconds(tmp_path / "whole")
    assert verify(tmp_path / "part").timesteps == 800


def test_the_log_changes_no_bit_of_the_run(tmp_path: Path) -> None:
    logged = agent(log_episodes=True).learn(500, run_dir=tmp_path / "run")
    np.testing.assert_array_equal(logged.policy.parameters, agent().learn(500).policy.parameters)


def test_verify_and_resume_find_a_shortened_log(tmp_path: Path) -> None:
    path = tmp_path / "run"
    agent(log_episodes=True).learn(500, run_dir=path)
    log = path / "episodes.csv"
    whole = log.read_bytes()
    log.write_bytes(whole[:-10])
    for check in (verify, lambda path: resume_to(path, 600)):
        with pytest.raises(pgfast.CheckpointError, match=r"episodes\.csv: has \d+ bytes, but the checkpoint was"):
            check(path)
    log.write_bytes(whole.replace(b"\n", b"x\n", 3))
    with pytest.raises(pgfast.CheckpointError, match=r"episodes\.csv"):
        verify(path)


def test_a_lost_log_begins_anew(tmp_path: Path) -> None:
    agent(log_episodes=True).learn(400, run_dir=tmp_path / "run")
    (tmp_path / "run" / "episodes.csv").unlink()
    _, messages = resume_to(tmp_path / "run", 500)
    assert messages[-1].endswith("episodes.csv is lost: a new one begins")
    assert min(read(tmp_path / "run")["timesteps"]) > 400


def test_checkpoints_that_know_no_log_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run"
    trained = agent().learn(400, run_dir=path)
    checkpoint = list_checkpoints(path / "checkpoints")[-1]
    arrays, content = read_checkpoint(checkpoint)
    del content["episodes_bytes"]
    for name in ("log_episodes", "info_keys"):
        del content["settings"][name]
    write_checkpoint(path / "checkpoints", trained.timesteps, arrays, content)
    assert resume_to(path, 500)[0].settings == trained.settings


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"info_keys": ("a",)}, "info_keys needs log_episodes"),
        ({"log_episodes": True, "info_keys": ("a b",)}, "info_keys must be letters, digits and underscores, got 'a b'"),
        (
            {"log_episodes": True, "info_keys": ("return",)},
            "info_keys must differ from each other and from timesteps, ",
        ),
        ({"log_episodes": True, "info_keys": ("a", "a")}, "info_keys must differ from each other .*, got a"),
    ],
)
def test_wrong_keys_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Settings(**settings)


def test_the_keys_are_settings_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    args = ["train", "a2c", "CartPole-v1", "--total-timesteps", "2000", "--run-dir", str(path), "--log-episodes"]
    assert main([*args, "--info-keys", "height", "speed"]) == 0
    capsys.readouterr()
    assert list(read(path))[5:] == ["height", "speed"]  # empty
    assert json.loads((path / "config.json").read_text())["settings"]["info_keys"] == ["height", "speed"]
