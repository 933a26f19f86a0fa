"""Environments that a user's module registers, and their arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import pgfast
from counting_env import CountingEnv
from pgfast.flags import parse_keywords
from pgfast.loading import verify
from pgfast.runs.models import read_model, write_model

MODULE = """
from pathlib import Path
import gymnasium
from counting_env import CountingEnv
Path(__file__).with_suffix(".imported").touch()
gymnasium.register("My/Count-v0", CountingEnv)
"""
SMALL = {"num_envs": 2, "n_steps": 5, "hidden_sizes": (8,)}
FLAGS = ["--num-envs", "2", "--n-steps", "5", "--hidden-sizes", "8"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with the module mycount, which registers My/Count-v0."""
    (tmp_path / "mycount.py").write_text(MODULE)
    (tmp_path / "counting_env.py").write_text(Path(__file__).with_name("counting_env.py").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    gymnasium.registry.pop("My/Count-v0", None)
    sys.modules.pop("mycount", None)


def command(folder: Path, *arguments: str) -> tuple[int, str, str]:
    script = Path(sys.executable).with_name(
        "pgfast"
    )  # unlike python -m pgfast, it has no current directory in its path
    done = subprocess.run([script, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_an_id_carries_its_module_where_a_person_types_it(folder: Path) -> None:
    env = pgfast.make_vec("mycount:My/Count-v0", 2, seed=0)
    assert isinstance(env.envs[0].unwrapped, gymnasium.Env)  # type: ignore[attr-defined]
    agent = pgfast.A2C("mycount:My/Count-v0", **SMALL).learn(20, run_dir=folder / "run")
    assert agent.env_id == "My/Count-v0"
    assert json.loads((folder / "run" / "config.json").read_text())["env_id"] == "My/Count-v0"


def test_a_file_imports_nothing(folder: Path) -> None:
    gymnasium.register("My/Count-v0", CountingEnv)
    pgfast.A2C("My/Count-v0", **SMALL).save("m.safetensors")
    arrays, metadata = read_model(Path("m.safetensors"))
    write_model(Path("m.safetensors"), arrays, {**metadata, "env_id": "mycount:My/Count-v0"})
    with pytest.raises(pgfast.CheckpointError, match="not an environment id"):
        pgfast.load("m.safetensors")
    assert not (folder / "mycount.imported").exists()


def test_loading_predicting_and_verifying_need_no_registered_id(folder: Path) -> None:
    pgfast.A2C("mycount:My/Count-v0", **SMALL).learn(20, run_dir="run")
    del gymnasium.registry["My/Count-v0"]
    agent = pgfast.load("run")
    assert agent.predict(np.zeros(2, np.float32), deterministic=True) in range(3)
    assert verify(Path("run")).env_id == "My/Count-v0"
    for use in (lambda: agent.evaluate(1), lambda: agent.learn(10), lambda: pgfast.resume("run").learn(10)):
        with pytest.raises(ValueError, match=r"not a registered .* import that module first, .* --import MODULE"):
            use()


def test_the_command_line_imports_what_is_typed(folder: Path) -> None:
    code, out, error = command(
        folder, "train", "a2c", "mycount:My/Count-v0", *FLAGS, "--total-timesteps", "20", "--run-dir", "r"
    )
    assert code == 0, error
    assert "evaluate with: pgfast eval r --import mycount" in out
    code, _, error = command(folder, "eval", "r", "--episodes", "1")
    assert (code, error.count("\n")) == (1, 1)
    assert "--import MODULE" in error
    code, out, _ = command(folder, "eval", "r", "--episodes", "1", "--import", "mycount")
    assert (code, "return 6.0" in out) == (0, True)
    assert command(folder, "verify", "r")[0] == 0
    code, out, _ = command(folder, "resume", "r", "--total-timesteps", "40", "--import", "mycount")
    assert (code, "done: 40 timesteps" in out) == (0, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nosuchpackage", "cannot be imported: No module named 'nosuchpackage'"),
        ("1 / 0", r"cannot be imported: ZeroDivisionError: division by zero \(.*broken.py, line 1\)"),
        ("x = (", r"cannot be imported: SyntaxError: .*broken.py, line 1\)"),
    ],
)
def test_a_module_that_cannot_be_imported(folder: Path, text: str, reason: str) -> None:
    (folder / "broken.py").write_text(text)
    with pytest.raises(ImportError, match=reason):
        pgfast.A2C("broken:My/Count-v0")
    with pytest.raises(ImportError, match='"no such" is not the name of a module'):
        pgfast.A2C("no such:My/Count-v0")


@pytest.mark.parametrize("vectorization", ["auto", "sync", "async"])
def test_env_kwargs_reach_every_environment(vectorization: str) -> None:
    kwargs = {"sutton_barto_reward": True, "max_episode_steps": np.int64(6)}
    agent = pgfast.A2C("CartPole-v1", env_kwargs=kwargs, vectorization=vectorization, **SMALL)
    assert agent.settings.env_kwargs == {"sutton_barto_reward": True, "max_episode_steps": 6}
    result = agent.evaluate(3)
    assert (result.returns.tolist(), result.lengths.tolist()) == ([0.0] * 3, [6] * 3)


def test_env_kwargs_are_part_of_the_run(folder: Path) -> None:
    run = ["train", "a2c", "mycount:My/Count-v0", *FLAGS, "--total-timesteps", "20", "--run-dir", "r"]
    assert command(folder, *run, "--env-kwargs", "length=5,truncate=false")[0] == 0
    pgfast.A2C("mycount:My/Count-v0")
    agent = pgfast.load("r")
    assert agent.settings.env_kwargs == {"length": 5, "truncate": False}
    assert agent.evaluate(1).returns.tolist() == [15.0]
    assert pgfast.resume("r").learn(20).sampler.env.envs[1].unwrapped.length == 5  # type: ignore[union-attr]


def test_env_kwargs_of_an_atari_id() -> None:
    agent = pgfast.A2C("PongNoFrameskip-v4", env_kwargs={"repeat_action_probability": 0.25}, num_envs=1, n_steps=2)
    assert agent.learn(2).sampler.env.game.repeat_action_probability == 0.25  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"takes the env_kwargs repeat_action_probability, .*, got frameskip"):
        pgfast.A2C("PongNoFrameskip-v4", env_kwargs={"frameskip": 2})


@pytest.mark.parametrize(
    ("env", "kwargs", "text"),
    [
        (CountingEnv, {"length": 5}, "env_kwargs are for an environment id"),
        ("CartPole-v1", {"length": 5}, r"could not be made: TypeError: .* unexpected keyword argument 'length'"),
        ("CartPole-v1", {"num_envs": 5}, "env_kwargs are for the environment itself, which takes no num_envs"),
        ("CartPole-v1", {"reward": sum}, "env_kwargs must be a dict of JSON values or None"),
        ("CartPole-v1", {"reward": float("nan")}, "env_kwargs must be a dict of JSON values or None"),
        ("CartPole-v1", [5], "env_kwargs must be a dict of JSON values or None"),
    ],
)
def test_env_kwargs_that_are_refused(env: object, kwargs: object, text: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=text):
        pgfast.A2C(env, env_kwargs=kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("a=1,b=2.5,c=true,d=False,e=None,f=word", {"a": 1, "b": 2.5, "c": True, "d": False, "e": None, "f": "word"}),
        ('desc=["SF","HG"],size=4', {"desc": ["SF", "HG"], "size": 4}),
        ('map={"a": [1, 2]},name=4x4', {"map": {"a": [1, 2]}, "name": "4x4"}),
        ('{"a": 1}', {"a": 1}),
        ("path=/tmp/x.xml", {"path": "/tmp/x.xml"}),
        ("empty=,b=1", {"empty": "", "b": 1}),
    ],
)
def test_keywords_of_the_command_line(text: str, keywords: dict) -> None:
    assert parse_keywords(text) == keywords


def test_wrappers_of_make_vec() -> None:
    def limited(env: gymnasium.Env) -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(env, 2)

    for vectorization in ("auto", "async"):
        env = pgfast.make_vec("CartPole-v1", 2, seed=0, wrappers=[limited], vectorization=vectorization)
        env.reset()
        env.step(np.zeros(2, np.int64))
        assert env.step(np.ones(2, np.int64))[3].all()
        env.close()
    with pytest.raises(ValueError, match="takes no wrappers"):
        pgfast.make_vec("PongNoFrameskip-v4", 1, seed=0, wrappers=[limited])
