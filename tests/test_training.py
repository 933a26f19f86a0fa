"""Runs: what they write, saving and loading, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pgfast
from counting_env import CountingEnv
from pgfast.loading import verify
from pgfast.resuming import resume
from pgfast.runs.checkpoints import list_checkpoints, read_checkpoint
from pgfast.runs.models import read_model, write_model
from pgfast.runs.progress_log import read_progress
from pgfast.runs.run import FIELDS
from pgfast.training.loop import create_run

SETTINGS = {"num_envs": 4, "n_steps": 5, "hidden_sizes": (8,), "report_every": 60, "sync_every": 200}


def agent(seed: int = 0, **settings: object) -> pgfast.A2C:
    return pgfast.A2C("CartPole-v1", seed=seed, **{**SETTINGS, **settings})  # type: ignore[arg-type]


def without_times(path: Path) -> list[list[str]]:
    """The rows of progress.csv but for the two columns that are times."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    keep = [i for i, name in enumerate(rows[0]) if name not in ("steps_per_second", "wall_time")]
    return [[row[i] for i in keep] for row in rows]


def test_a_run_directory(tmp_path: Path) -> None:
    path = tmp_path / "run"
    agent().learn(500, run_dir=path)
    config = json.loads((path / "config.json").read_text())
    assert config["settings"]["n_steps"] == 5
    assert config["env_id"] == "CartPole-v1"
    assert config["packages"]["pgfast"] == pgfast.__version__
    assert config["native"]["isa"] == pgfast.native_info()["isa"]
    progress = read_progress(path / "progress.csv")
    assert tuple(progress) == (*FIELDS, "grad_norm", "learning_rate")
    assert progress["timesteps"].tolist() == [60, 120, 180, 240, 300, 360, 420, 480, 500]
    assert [int(p.name) for p in list_checkpoints(path / "checkpoints")] == [200, 400, 500]
    assert (path / "model.safetensors").exists()
    with pytest.raises(FileExistsError):
        agent().learn(20, run_dir=path)


@pytest.mark.parametrize("seed", [0, 1])
def test_resuming_at_a_synchronisation_point_is_exact(tmp_path: Path, seed: int) -> None:
    whole = agent(seed)
    whole.learn(800, run_dir=tmp_path / "whole")
    agent(seed).learn(600, run_dir=tmp_path / "part")
    resumption = resume(tmp_path / "part", 800)
    assert resumption.messages[-1].endswith("exactly")
    resumption.train()
    np.testing.assert_array_equal(resumption.agent.policy.parameters, whole.policy.parameters)
    ours, theirs = resumption.agent.optimizer.state_dict(), whole.optimizer.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key])
    part, complete = (without_times(tmp_path / name / "progress.csv") for name in ("part", "whole"))
    assert part == complete
    assert len(complete) == 1 + 14


def test_resuming_elsewhere_says_that_games_begin_anew(tmp_path: Path) -> None:
    agent().learn(300, run_dir=tmp_path / "run")
    resumption = resume(tmp_path / "run", 400)
    assert "with new games" in resumption.messages[-1]
    resumption.train()
    assert resumption.agent.timesteps == 400
    assert resumption.agent.sampler.statistics.episodes_cut > 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["total_timesteps"] == 400


def test_resume_falls_back_to_an_older_checkpoint_and_says_so_but_load_does_not(tmp_path: Path) -> None:
    agent().learn(400, run_dir=tmp_path / "run")
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    (newest / "state.json").write_bytes(b"{}")
    with pytest.raises(pgfast.CheckpointError, match=r"state\.json: is not the file that was written"):
        pgfast.load(newest)
    resumption = resume(tmp_path / "run", 600)
    assert resumption.messages[0].startswith(f"skipped {newest}: state.json: is not the file that was written")
    assert resumption.agent.timesteps == 200
    resumption.train()


def test_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    """As one that was killed while its environments were made."""
    run = create_run(agent(), tmp_path / "run", 400, None)
    run.write({"timesteps": 5})
    run.close()
    (tmp_path / "run" / ".model.safetensors.tmp-1234").write_bytes(b"half a model")
    resumption = resume(tmp_path / "run")
    assert resumption.messages == [f"resuming {tmp_path / 'run'} at its beginning: nothing was saved yet"]
    resumption.train()
    np.testing.assert_array_equal(resumption.agent.policy.parameters, agent().learn(400).policy.parameters)
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"][0] == 60
    assert not list((tmp_path / "run").glob(".*.tmp-*"))


def test_a_complete_run_is_not_resumed(tmp_path: Path) -> None:
    agent().learn(200, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"is complete at 200 timesteps; give a larger total"):
        resume(tmp_path / "run")
    resume(tmp_path / "run", 220).run.close()  # and the lock was given back


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    agent().learn(200, run_dir=tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    for _ in range(2):  # the lock was given back
        with pytest.raises(pgfast.CheckpointError, match=r"config\.json: content is not valid JSON"):
            resume(tmp_path / "run", 400)


def test_save_and_load(tmp_path: Path) -> None:
    trained = agent().learn(400)
    trained.save(tmp_path / "model.safetensors")
    loaded = pgfast.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.policy.parameters, trained.policy.parameters)
    assert loaded.settings == trained.settings
    assert loaded.env_id == "CartPole-v1"
    assert loaded.timesteps == 400
    np.testing.assert_array_equal(loaded.evaluate(5).returns, trained.evaluate(5).returns)
    loaded.learn(20)


def test_load_takes_a_run_a_checkpoint_or_a_model(tmp_path: Path) -> None:
    trained = agent().learn(400, run_dir=tmp_path / "run")
    checkpoint = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    for path in (tmp_path / "run", checkpoint, tmp_path / "run" / "model.safetensors"):
        np.testing.assert_array_equal(pgfast.load(path).policy.parameters, trained.policy.parameters)
    with pytest.raises(pgfast.CheckpointError, match="no such file"):
        pgfast.load(tmp_path / "nothing")
    with pytest.raises(pgfast.CheckpointError, match="neither a run directory"):
        pgfast.load(tmp_path)


def test_a_model_without_an_id(tmp_path: Path) -> None:
    trained = pgfast.A2C(CountingEnv, **SETTINGS).learn(40)  # type: ignore[arg-type]
    trained.save(tmp_path / "m.safetensors")
    loaded = pgfast.load(tmp_path / "m.safetensors")
    assert loaded.predict(np.zeros(2)) in (0, 1, 2)
    with pytest.raises(ValueError, match="give one as env="):
        loaded.evaluate(1)
    with pytest.raises(ValueError, match=r"give one to pgfast\.load as env="):
        loaded.learn(20)
    assert pgfast.load(tmp_path / "m.safetensors", env=CountingEnv).evaluate(2).return_mean == 6.0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"env_id": "os:CartPole-v1"}, "not an environment id"),
        ({"env_id": "Nothing-v0"}, "not a registered environment"),
        ({"env_id": 5}, "env_id must be a string"),
        ({"algo": "sarsa"}, "algorithm 'sarsa' is not one of"),
        ({"format": 99}, "format 99 is not known"),
        ({"settings": {}}, "settings differ"),
        ({"space": {"observation_shape": [10**9]}}, "KeyError: 'action'"),
        ({"timesteps": None}, r"timesteps must be a whole number in \[0, 10\^12\), got None"),
    ],
)
def test_a_model_file_that_lies(tmp_path: Path, change: dict, text: str) -> None:
    path = tmp_path / "m.safetensors"
    agent().save(path)
    arrays, metadata = read_model(path)
    write_model(path, arrays, {**metadata, **change})
    with pytest.raises(pgfast.CheckpointError, match=text):
        pgfast.load(path)


def test_parameters_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    agent().save(path)
    arrays, metadata = read_model(path)
    write_model(path, {**arrays, "policy.parameters": arrays["policy.parameters"][:-1]}, metadata)
    with pytest.raises(pgfast.CheckpointError, match="parameters"):
        pgfast.load(path)


def test_verify_reads_everything(tmp_path: Path) -> None:
    path = tmp_path / "run"
    agent().learn(500, run_dir=path)
    assert verify(path).timesteps == 500
    progress = path / "progress.csv"
    whole = progress.read_bytes()
    progress.write_bytes(whole[:50])
    with pytest.raises(pgfast.CheckpointError, match=r"progress\.csv: is shorter"):
        verify(path)
    progress.write_bytes(whole)
    oldest = list_checkpoints(path / "checkpoints")[0] / "arrays.safetensors"
    oldest.write_bytes(oldest.read_bytes()[:-1])
    with pytest.raises(pgfast.CheckpointError, match=r"arrays\.safetensors"):
        verify(path)


def test_a_checkpoint_brings_the_optimizer(tmp_path: Path) -> None:
    trained = agent(optimizer="adam").learn(200, run_dir=tmp_path / "run")
    loaded = pgfast.load(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    np.testing.assert_array_equal(loaded.optimizer.state_dict()["mean"], trained.optimizer.state_dict()["mean"])


def test_a_checkpoint_holds_what_the_rest_depends_on(tmp_path: Path) -> None:
    agent(optimizer="adam").learn(200, run_dir=tmp_path / "run")
    arrays, state = read_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    assert set(arrays) == {"policy.parameters", "optimizer.mean", "optimizer.mean_square"}
    assert state["state"]["optimizer"]["steps"] == 10
    assert state["synchronised"] is True
    assert len(state["state"]["episodes"]["returns"]) == state["state"]["episodes"]["episodes"]


def test_training_goes_on_where_saving_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pgfast.runs.run.write_checkpoint", fail)
    monkeypatch.setattr("pgfast.runs.run.ProgressLog.write", fail)
    trained = agent().learn(400, run_dir=tmp_path / "run")
    np.testing.assert_array_equal(trained.policy.parameters, agent().learn(400).policy.parameters)
