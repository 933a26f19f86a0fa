"""Runs that are resumed from Python, and jobs that are started again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from counting_env import CountingEnv
from pgfast.agent import Agent
from pgfast.runs.progress_log import read_progress
from pgfast.runs.session import Session

SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 5, "hidden_sizes": (8,), "report_every": 60, "sync_every": 200}


def agent(**settings: Any) -> Agent:
    return pgfast.A2C(lambda: CountingEnv(length=7), preset=None, **{**SMALL, **settings})


def test_a_run_of_a_function_is_resumed(tmp_path: Path) -> None:
    whole = agent().learn(800, run_dir=tmp_path / "whole")
    agent().learn(500, run_dir=tmp_path / "part")
    with pytest.raises(pgfast.CheckpointError, match=r"give its environment, pgfast.resume\(\.\.\., env=\)"):
        pgfast.resume(tmp_path / "part")
    resumed = pgfast.resume(str(tmp_path / "part"), env=lambda: CountingEnv(length=7), exact=True)
    assert (type(resumed), resumed.timesteps) == (pgfast.A2C, 400)
    resumed.learn(200)
    assert resumed.timesteps == 600
    resumed.learn(200)  # goes on in the same directory
    np.testing.assert_array_equal(resumed.policy.parameters, whole.policy.parameters)
    progress = read_progress(tmp_path / "part" / "progress.csv")
    assert progress["timesteps"].tolist() == read_progress(tmp_path / "whole" / "progress.csv")["timesteps"].tolist()


def test_the_run_that_an_agent_resumed_has_gone_on_without_it(tmp_path: Path) -> None:
    agent().learn(100, run_dir=tmp_path)
    first, second = (pgfast.resume(tmp_path, env=lambda: CountingEnv(length=7)) for _ in range(2))
    first.learn(40)
    before = second.policy.parameters.copy()
    with pytest.raises(ValueError, match="is at 140 timesteps, this agent at 100; resume the run anew"):
        second.learn(40)
    np.testing.assert_array_equal(second.policy.parameters, before)
    assert pgfast.resume(tmp_path, env=lambda: CountingEnv(length=7)).timesteps == 140


def test_a_script_that_is_started_again_goes_on(tmp_path: Path) -> None:
    whole = agent().learn(800, run_dir=tmp_path / "whole")
    for total in (400, 800, 800):  # the same script: the first time it is killed at 400
        again = agent().learn(total, run_dir=tmp_path / "run", resume="auto")
        assert again.timesteps == total
    np.testing.assert_array_equal(again.policy.parameters, whole.policy.parameters)
    with pytest.raises(FileExistsError):
        agent().learn(800, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="resume needs a new agent, this one has learned for 800 timesteps"):
        again.learn(800, run_dir=tmp_path / "run", resume="auto")


@pytest.mark.parametrize("native", [{"isa": "v9"}, {"isa": 3}, {}, None])
def test_another_instruction_set_is_said(native: Any, tmp_path: Path) -> None:
    agent().learn(40, run_dir=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "native": native}))
    with Session.resume(tmp_path) as session:
        said = [message for message in session.messages if "instruction set" in message]
    assert len(said) == (native == {"isa": "v9"})
    assert all("started with the instruction set v9" in message and "PGFAST_ISA=v9" in message for message in said)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: agent(learning_rate=0.5), "started with other settings: learning_rate 0.001, now 0.5"),
        (lambda: pgfast.TRPO(CountingEnv, preset=None), "is a run of a2c, this agent learns by trpo"),
        (lambda: pgfast.A2C("CartPole-v1", preset=None, **SMALL), r"the run has .*, this agent .*"),
    ],
)
def test_another_run_is_not_continued(tmp_path: Path, other: Any, text: str) -> None:
    agent().learn(40, run_dir=tmp_path / "run")
    with pytest.raises((ValueError, pgfast.CheckpointError), match=text):
        other().learn(100, run_dir=tmp_path / "run", resume="auto")
    pgfast.A2C("CartPole-v1").learn(1, run_dir=tmp_path / "cartpole")
    with pytest.raises(ValueError, match="is a run on CartPole-v1, this agent is made for Acrobot-v1"):
        pgfast.A2C("Acrobot-v1").learn(100, run_dir=tmp_path / "cartpole", resume="auto")


def test_resume_is_auto_or_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='resume must be "auto" or None'):
        agent().learn(20, run_dir=tmp_path / "run", resume="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='resume="auto" needs the run_dir to continue'):
        agent().learn(20, resume="auto")


def test_a_directory_without_a_described_run_is_new(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()  # a process was killed before it had written config.json
    (tmp_path / ".config.json.tmp-12").write_text("{")
    assert agent().learn(20, run_dir=tmp_path, resume="auto").timesteps == 20


@pytest.mark.slow
def test_a_requeued_job(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pgfast", "train", "a2c", "CartPole-v1", "--resume-if-exists", "--num-envs", "4"]
    command += ["--n-steps", "5", "--report-every", "500", "--total-timesteps"]

    def run(total: int, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(total), *flags], cwd=tmp_path, capture_output=True, text=True, timeout=120)

    with subprocess.Popen([*command, "10000000"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " / 10,000,000" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
    with Session.resume(tmp_path / "runs" / "a2c-CartPole-v1-0") as session:
        assert session.checkpoint is not None
        stopped = int(session.checkpoint.path.name)
    again = run(stopped + 1000)
    assert f"resuming runs/a2c-CartPole-v1-0 at {stopped:,} timesteps" in again.stdout
    assert re.search(r"^done: [\d,]+ timesteps", again.stdout, re.M)
    complete = run(stopped + 1000)
    assert (complete.returncode, complete.stdout.count("\n")) == (0, 1)
    assert "is complete at" in complete.stdout
    other = run(stopped + 9000, "--learning-rate", "0.5")
    assert (other.returncode, "started with other settings: learning_rate" in other.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a2c-CartPole-v1-0"]
