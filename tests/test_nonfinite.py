"""Numbers that are not finite: their origin is named, their updates are skipped on request, no parameter has them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from chaos_env import ChaosEnv
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.loading import verify
from pgfast.reduce import ALONE
from pgfast.runs.checkpoints import list_checkpoints, read_checkpoint
from pgfast.runs.models import read_model
from pgfast.runs.progress_log import read_progress
from pgfast.state import flatten
from test_training import resume_to

SMALL: dict[str, Any] = {"num_envs": 3, "n_steps": 10, "hidden_sizes": (8,), "report_every": 30, "seed": 1}
MINIBATCHES: dict[str, Any] = {"minibatch_size": 12, "num_epochs": 2}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def saved_parameters(run: Path) -> list[np.ndarray]:
    """All arrays of all files of a run that hold parameters."""
    found = [read_model(run / "model.safetensors")[0]]
    found += [read_checkpoint(path)[0] for path in list_checkpoints(run / "checkpoints")]
    return [array for arrays in found for array in arrays.values() if array.dtype.kind == "f"]


@every_algorithm
@pytest.mark.parametrize("kind", ["nan", "infinity", "nan_reward"])
def test_skipped_updates_are_counted_and_leave_the_parameters(name: str, kind: str, tmp_path: Path) -> None:
    chosen = {**SMALL, **(MINIBATCHES if name == "ppo" else {}), "on_nonfinite": "skip", "sync_every": 300}
    agent = ALGORITHMS[name](partial(ChaosEnv, {kind: 0.01}), preset=None, **chosen)
    before: list[np.ndarray] = []
    skips: list[int] = []

    def note(training: Any, row: dict[str, Any]) -> None:
        if skips and row["updates_skipped"] > skips[-1]:
            np.testing.assert_array_equal(training.policy.parameters, before[-1])
        before.append(training.policy.parameters.copy())
        skips.append(row["updates_skipped"])

    agent.learn(3000, run_dir=tmp_path / "run", callback=note)
    assert 5 < skips[-1] < 95
    progress = read_progress(tmp_path / "run" / "progress.csv")
    assert progress["updates_skipped"][-1] == agent.updates_skipped == skips[-1]
    assert all(np.isfinite(array).all() for array in saved_parameters(tmp_path / "run"))
    assert progress["episodes_cut"][-1] > 0


def test_ten_skips_in_a_row_end_the_training(tmp_path: Path) -> None:
    agent = pgfast.A2C(partial(ChaosEnv, {"nan": 1.0}), **SMALL, on_nonfinite="skip")
    text = r"^10 updates in a row were skipped, the last of them because of this: observation of environment 0 at step"
    with pytest.raises(FloatingPointError, match=text):
        agent.learn(100_000, run_dir=tmp_path / "run")
    assert agent.updates_skipped == 10
    assert verify(tmp_path / "run").timesteps == agent.timesteps == 9 * 30


def test_a_skipped_update_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = pgfast.A2C(partial(ChaosEnv, {"nan": 0.01}), **SMALL, on_nonfinite="skip")
    agent.learn(600, progress_bar=True)
    assert "skipped update" in capsys.readouterr().out


def test_the_count_of_skips_is_resumed(tmp_path: Path) -> None:
    agent = pgfast.A2C("CartPole-v1", **SMALL, on_nonfinite="skip")
    agent.updates_skipped = 7
    agent.learn(60, run_dir=tmp_path / "run")
    resumed, _ = resume_to(tmp_path / "run", 90)
    assert resumed.updates_skipped == 7


def test_native_refusals_are_floating_point_errors_and_value_errors() -> None:
    gradient = np.array([1.0, np.nan])
    for kind in (ValueError, FloatingPointError, pgfast.NonFiniteError):
        with pytest.raises(kind, match=r"^clip_by_global_norm: gradient must be finite, got nan at flat index 1$"):
            pgfast.kernels.clip_by_global_norm(gradient, 1.0)


@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("env_id", ["CartPole-v1", pytest.param("BreakoutNoFrameskip-v4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", [pgfast.A2C, pytest.param(pgfast.PPO, marks=pytest.mark.slow)])
def test_a_learning_rate_of_a_million(algorithm: type[Agent], env_id: str, on_nonfinite: str, tmp_path: Path) -> None:
    """The training continues, or ends with an error; no NaN is saved."""
    chosen: dict[str, Any] = {"network": "origin_cnn", "num_envs": 4} if "Breakout" in env_id else {}
    chosen |= {"n_steps": 5, "learning_rate": 1e6, "sync_every": 400, "on_nonfinite": on_nonfinite}
    agent = algorithm(env_id, preset=None, **chosen)
    try:
        agent.learn(4000, run_dir=tmp_path / "run")
    except FloatingPointError as error:
        assert "finite" in str(error)  # noqa: PT017
    assert all(np.isfinite(array).all() for array in saved_parameters(tmp_path / "run"))
    assert verify(tmp_path / "run").timesteps == agent.timesteps


@every_algorithm
def test_a_failed_update_leaves_policy_and_baseline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here rewards overflow in the returns."""
    agent = ALGORITHMS[name](partial(ChaosEnv, {}), **SMALL, preset=None)
    agent.learn(30)
    rollout = agent.sampler.collect(agent.timesteps, agent.updates)
    rollout.rewards[:] = 3e38
    arrays = {key: value.copy() for key, value in flatten(agent.state())[0].items()}
    with pytest.raises(FloatingPointError):
        agent.learner.update(rollout, ALONE)
    after = flatten(agent.state())[0]
    for key, array in arrays.items():
        np.testing.assert_array_equal(after[key], array, err_msg=key)
    agent.close()
