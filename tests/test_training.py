"""Runs: their files, saving and loading, resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from counting_env import CountingEnv
from pgfast.agent import Agent
from pgfast.loading import verify
from pgfast.metrics import RUN_METRICS
from pgfast.resuming import open_run
from pgfast.runs.checkpoints import list_checkpoints, read_checkpoint, write_checkpoint
from pgfast.runs.models import read_model, write_model
from pgfast.runs.progress_log import read_progress
from pgfast.training.callbacks import Callbacks
from pgfast.training.loop import create_session, train

SETTINGS = {"num_envs": 4, "n_steps": 5, "hidden_sizes": (8,), "report_every": 60, "sync_every": 200}


def agent(seed: int = 0, **settings: object) -> pgfast.A2C:
    return pgfast.A2C("CartPole-v1", seed=seed, **{**SETTINGS, **settings})  # type: ignore[arg-type]


def resume_to(path: Path, total_timesteps: int | None = None, callback: Any = None) -> tuple[Agent, list[str]]:
    """Resumes a run and trains to its end; returns the agent and the messages to the user."""
    resumed, session = open_run(path)
    with session:
        total_timesteps = total_timesteps or session.config.total_timesteps
        train(resumed, total_timesteps, session=session, callbacks=Callbacks(callback))
    return resumed, session.messages


def without_times(path: Path) -> list[list[str]]:
    """The rows of progress.csv without the two columns that are times."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    keep = [i for i, name in enumerate(rows[0]) if name not in ("steps_per_second", "wall_time")]
    return [[row[i] for i in keep] for row in rows]


@pytest.mark.parametrize("number", [1.5, float("nan"), "100", None])
def test_timesteps_are_a_whole_number(number: object) -> None:
    with pytest.raises(TypeError, match=rf"^learn: total_timesteps must be an int of at least 1, got {number!r}$"):
        agent().learn(number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="learn: total_timesteps must be an int of at least 1, got 0"):
        agent().learn(0)
    assert agent().learn(1e2).timesteps == 100


def test_paths_may_be_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = agent().learn(200, run_dir="run")
    trained.save("model.safetensors")
    assert pgfast.load("model.safetensors").timesteps == pgfast.load("run").timesteps == verify("run").timesteps == 200
    assert read_progress("run/progress.csv")["timesteps"][-1] == 200
    resumed = pgfast.resume("run")
    warm = agent(init_from="run")
    np.testing.assert_array_equal(warm.policy.parameters, resumed.policy.parameters)


def test_a_run_directory(tmp_path: Path) -> None:
    path = tmp_path / "run"
    agent().learn(500, run_dir=path)
    config = json.loads((path / "config.json").read_text())
    assert config["settings"]["n_steps"] == 5
    assert config["env_id"] == "CartPole-v1"
    assert config["packages"]["pgfast"] == pgfast.__version__
    assert config["native"]["isa"] == pgfast.native_info()["isa"]
    progress = read_progress(path / "progress.csv")
    assert tuple(progress) == (*RUN_METRICS, "grad_norm", "learning_rate")
    assert progress["timesteps"].tolist() == [60, 120, 180, 240, 300, 360, 420, 480, 500]
    assert [int(p.name) for p in list_checkpoints(path / "checkpoints")] == [200, 400, 500]
    assert (path / "model.safetensors").exists()
    with pytest.raises(FileExistsError):
        agent().learn(20, run_dir=path)


@pytest.mark.parametrize("seed", [0, 1])
def test_resuming_at_a_synchronization_point_is_exact(tmp_path: Path, seed: int) -> None:
    whole = agent(seed)
    whole.learn(800, run_dir=tmp_path / "whole")
    agent(seed).learn(600, run_dir=tmp_path / "part")
    resumed, messages = resume_to(tmp_path / "part", 800)
    assert messages[-1].endswith("exactly")
    np.testing.assert_array_equal(resumed.policy.parameters, whole.policy.parameters)
    ours, theirs = resumed.optimizer.state_dict(), whole.optimizer.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key])
    part, complete = (without_times(tmp_path / name / "progress.csv") for name in ("part", "whole"))
    assert part == complete
    assert len(complete) == 1 + 14


@pytest.mark.parametrize("further", [{"checkpoint_every": 30}, {"save_minutes": 1e-9}], ids=lambda f: next(iter(f)))
def test_further_checkpoints_change_no_bit(tmp_path: Path, further: dict) -> None:
    plain = agent(save_minutes=0.0).learn(700, run_dir=tmp_path / "plain")
    saving = agent(**further, keep_checkpoints=100).learn(700, run_dir=tmp_path / "saving")
    assert len(list_checkpoints(tmp_path / "plain" / "checkpoints")) == 3
    assert len(list_checkpoints(tmp_path / "saving" / "checkpoints")) > 20
    np.testing.assert_array_equal(saving.policy.parameters, plain.policy.parameters)
    assert without_times(tmp_path / "saving" / "progress.csv") == without_times(tmp_path / "plain" / "progress.csv")


def test_the_newest_checkpoint_of_a_synchronization_point_is_kept(tmp_path: Path) -> None:
    agent(checkpoint_every=20, keep_checkpoints=2).learn(500, run_dir=tmp_path / "run")
    names = [int(path.name) for path in list_checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == [400, 480, 500]
    resume_to(tmp_path / "run", 560)  # which knows it, too
    names = [int(path.name) for path in list_checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == [400, 540, 560]


def test_an_exact_resume_goes_back_to_a_synchronization_point(tmp_path: Path) -> None:
    whole = agent(checkpoint_every=60).learn(700, run_dir=tmp_path / "whole")
    agent(checkpoint_every=60).learn(500, run_dir=tmp_path / "part")
    resumed, session = open_run(tmp_path / "part", exact=True)
    with session:
        assert session.messages[-1].endswith("at 400 timesteps, exactly")
        train(resumed, 700, session=session)
    np.testing.assert_array_equal(resumed.policy.parameters, whole.policy.parameters)
    for run in ("part", "whole"):
        assert [int(path.name) for path in list_checkpoints(tmp_path / run / "checkpoints")] == [600, 660, 700]
    assert without_times(tmp_path / "part" / "progress.csv") == without_times(tmp_path / "whole" / "progress.csv")
    agent(sync_every=10**6).learn(100, run_dir=tmp_path / "short")
    for old in list_checkpoints(tmp_path / "short" / "checkpoints")[:-1]:
        shutil.rmtree(old)
    with pytest.raises(pgfast.CheckpointError, match="holds no checkpoint of a synchronization point"):
        open_run(tmp_path / "short", exact=True)


def test_resuming_elsewhere_says_that_new_episodes_start(tmp_path: Path) -> None:
    agent().learn(300, run_dir=tmp_path / "run")
    resumed, messages = resume_to(tmp_path / "run", 400)
    assert "with new episodes" in messages[-1]
    assert resumed.timesteps == 400
    assert resumed.sampler.statistics.episodes_cut > 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["total_timesteps"] == 400


def test_resume_falls_back_to_an_older_checkpoint_and_says_so_but_load_does_not(tmp_path: Path) -> None:
    agent().learn(400, run_dir=tmp_path / "run")
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    (newest / "state.json").write_bytes(b"{}")
    with pytest.raises(pgfast.CheckpointError, match=r"state\.json: is not the file that was written"):
        pgfast.load(newest)
    _, messages = resume_to(tmp_path / "run", 600)
    assert messages[0].startswith(f"skipped {newest}: state.json: is not the file that was written")
    assert "at 200 timesteps" in messages[1]


def test_a_run_that_saved_nothing_restarts(tmp_path: Path) -> None:
    """Such a run was killed while it created its environments."""
    with create_session(agent(), tmp_path / "run", 400, None) as session:
        session.begin(400, agent().learner.metrics)
        session.write({"timesteps": 5})
    (tmp_path / "run" / ".model.safetensors.tmp-1234").write_bytes(b"half a model")
    resumed, messages = resume_to(tmp_path / "run")
    assert messages == [f"resuming {tmp_path / 'run'} at its beginning: nothing was saved yet"]
    np.testing.assert_array_equal(resumed.policy.parameters, agent().learn(400).policy.parameters)
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"][0] == 60
    assert not list((tmp_path / "run").glob(".*.tmp-*"))


def test_a_complete_run_is_not_resumed(tmp_path: Path) -> None:
    agent().learn(200, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"is complete at 200 timesteps; to continue, give a larger total"):
        resume_to(tmp_path / "run")
    assert resume_to(tmp_path / "run", 220)[0].timesteps == 220  # and the lock was released


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    agent().learn(200, run_dir=tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    for _ in range(2):  # the lock was released
        with pytest.raises(pgfast.CheckpointError, match=r"config\.json: content is not valid JSON"):
            open_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"settings": None}, r"Expected `object`, got `null` - at `\$.settings`"),
        ({"settings": {"zeal": 1}}, r"has settings that a2c does not have in pgfast \S+: zeal; .* by pgfast \S+$"),
        ({"settings": {"n_steps": 0}}, r"n_steps must be an int in \[1, 2\^24\], got 0"),
        ({"algo": "x"}, "algorithm 'x' is not one of vpg, npg, trpo, a2c, ppo"),
        ({"algo": [1]}, r"Expected `str`, got `array` - at `\$.algo`"),
        ({"env_id": 5}, r"Expected `str \| null`, got `int` - at `\$.env_id`"),
        ({"total_timesteps": True}, r"Expected `int`, got `bool` - at `\$.total_timesteps`"),
        ({"total_timesteps": 0}, r"Expected `int` >= 1 - at `\$.total_timesteps`"),
    ],
)
def test_a_wrong_config_is_explained_by_verify_and_resume(tmp_path: Path, change: dict, text: str) -> None:
    trained = agent()
    with create_session(trained, tmp_path / "run", 400, None):
        trained.save(tmp_path / "run" / "model.safetensors")  # killed before its first checkpoint
    config = tmp_path / "run" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    for read in (open_run, verify):
        with pytest.raises(pgfast.CheckpointError, match=text) as caught:
            read(tmp_path / "run")
        assert caught.value.path == config


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metrics": {"zeal": [1.0, 2]}}, "has sums of unknown metrics: "),
        ({"synchronized": None}, r"Expected `bool`, got `null` - at `\$.synchronized`"),
        ({"progress_bytes": 5}, "has no end of a row at byte 5"),
        ({"timesteps": 7}, "has the name 000000000200, but was saved at 7|has a state of 200 and metadata of 7"),
        ({"env_id": 5}, r"Expected `str \| null`, got `int`"),
    ],
)
def test_a_wrong_checkpoint_is_found_by_verify_and_resume(tmp_path: Path, change: dict, text: str) -> None:
    trained = agent().learn(200, run_dir=tmp_path / "run")
    (checkpoint,) = list_checkpoints(tmp_path / "run" / "checkpoints")[-1:]
    arrays, content = read_checkpoint(checkpoint)
    write_checkpoint(checkpoint.parent, trained.timesteps, arrays, {**content, **change})
    for read in (resume_to, verify):
        with pytest.raises(pgfast.CheckpointError, match=text):
            read(tmp_path / "run", 400) if read is resume_to else read(tmp_path / "run")


def test_a_checkpoint_under_another_name_is_found_by_verify_and_resume(tmp_path: Path) -> None:
    agent().learn(200, run_dir=tmp_path / "run")
    checkpoint = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    checkpoint.rename(checkpoint.with_name("000000009999"))
    for read in (open_run, verify):
        with pytest.raises(pgfast.CheckpointError, match="has the name 000000009999, but was saved at 200"):
            read(tmp_path / "run")


@pytest.mark.parametrize("deleted", [False, True])
def test_a_run_directory_that_is_moved_or_deleted_ends_the_training(tmp_path: Path, deleted: bool) -> None:
    path, moved = tmp_path / "run", tmp_path / "moved"

    def lose(trained: Agent, row: dict) -> None:
        if row["timesteps"] == 300:
            shutil.rmtree(path) if deleted else path.rename(moved)

    with pytest.raises(RuntimeError, match=r"the run directory .*run was moved or deleted, so the training ends"):
        agent().learn(2000, run_dir=path, callback=lose)
    assert not path.exists()  # no second half
    if not deleted:
        assert verify(moved).timesteps == 200
        assert resume_to(moved, 500)[0].timesteps == 500


def test_a_lost_progress_file_does_not_make_checkpoints_useless(tmp_path: Path) -> None:
    agent().learn(400, run_dir=tmp_path / "run")
    (tmp_path / "run" / "progress.csv").unlink()
    with pytest.raises(pgfast.CheckpointError, match=r"progress\.csv: cannot be read"):
        verify(tmp_path / "run")
    resumed, messages = resume_to(tmp_path / "run", 600)
    assert "progress.csv is lost: a new one begins" in messages[-1]
    assert resumed.timesteps == 600
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"].tolist() == [420, 480, 540, 600]


def test_verify_calls_a_run_directory_without_its_config_what_it_is(tmp_path: Path) -> None:
    agent().learn(200, run_dir=tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(pgfast.CheckpointError, match=r"is not a whole run directory: it has no config\.json"):
        verify(tmp_path / "run")


def test_an_empty_directory_may_exist(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert agent().learn(20, run_dir=tmp_path / "run").timesteps == 20


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
        ({"env_id": 5}, r"Expected `str \| null`, got `int` - at `\$.env_id`"),
        ({"algo": "sarsa"}, "algorithm 'sarsa' is not one of"),
        ({"format": 99}, r"was written in format 99 by pgfast \S+; pgfast \S+ reads formats 3 to 4"),
        ({"format": 2}, r"was written in format 2 by pgfast \S+; pgfast \S+ reads formats 3 to 4"),
        ({"settings": []}, r"Expected `object`, got `array` - at `\$.settings`"),
        ({"space": {"observation": {}}}, "missing required field `leaves`"),
        ({"timesteps": None}, r"Expected `int`, got `null` - at `\$.timesteps`"),
        ({"timesteps": 10**12}, r"Expected `int` <= 999999999999 - at `\$.timesteps`"),
    ],
)
def test_a_model_file_with_wrong_metadata(tmp_path: Path, change: dict, text: str) -> None:
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
    with pytest.raises(
        pgfast.CheckpointError, match=r"progress\.csv: has 50 bytes, but the checkpoint was written at "
    ):
        verify(path)
    progress.write_bytes(whole)
    oldest = list_checkpoints(path / "checkpoints")[0] / "arrays.safetensors"
    oldest.write_bytes(oldest.read_bytes()[:-1])
    with pytest.raises(pgfast.CheckpointError, match=r"arrays\.safetensors"):
        verify(path)


def test_a_checkpoint_restores_the_optimizer(tmp_path: Path) -> None:
    trained = agent(optimizer="adam").learn(200, run_dir=tmp_path / "run")
    loaded = pgfast.load(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    np.testing.assert_array_equal(loaded.optimizer.state_dict()["mean"], trained.optimizer.state_dict()["mean"])


def test_a_checkpoint_holds_the_state_of_the_training(tmp_path: Path) -> None:
    agent(optimizer="adam").learn(200, run_dir=tmp_path / "run")
    arrays, state = read_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    statistics = {
        f"normalizers.{of}.{name}" for of in ("observations", "rewards") for name in ("count", "mean", "variance")
    }
    assert set(arrays) == {"policy.parameters", "optimizer.mean", "optimizer.mean_square"} | statistics
    assert state["state"]["optimizer"]["steps"] == 10
    assert state["synchronized"] is True
    assert len(state["state"]["episodes"]["returns"]) == state["state"]["episodes"]["episodes"]


def test_training_continues_if_saving_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pgfast.runs.session.write_checkpoint", fail)
    monkeypatch.setattr("pgfast.runs.session.ProgressLog.write", fail)
    trained = agent().learn(400, run_dir=tmp_path / "run")
    np.testing.assert_array_equal(trained.policy.parameters, agent().learn(400).policy.parameters)
