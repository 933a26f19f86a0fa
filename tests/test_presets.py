"""Presets: the same task has the same one, however its environments are given."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

import pgfast
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.algos import A2CSettings
from pgfast.cli import main
from pgfast.envs.workers import WorkerVectorEnv
from pgfast.learning.presets import presets
from pgfast.learning.settings import MemorySettings
from pgfast.nn import Layer, NetworkSpec


def cartpole() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("CartPole-v1")


@pytest.mark.parametrize("kind", ["function", "workers", "sync", "async", "native"])
def test_the_same_task_has_the_same_preset_however_it_is_given(kind: str) -> None:
    by_id = pgfast.A2C("CartPole-v1")
    count = by_id.settings.num_envs
    env: Any = {
        "function": lambda: cartpole,
        "workers": lambda: WorkerVectorEnv(cartpole, count),
        "sync": lambda: SyncVectorEnv([cartpole] * count),
        "async": lambda: AsyncVectorEnv([cartpole] * count),
        "native": lambda: pgfast.make_vec("CartPole-v1", count, seed=0),
    }[kind]()
    agent = pgfast.A2C(env)
    assert (agent.settings, agent.preset) == (by_id.settings, "default")
    assert repr(agent) == "A2C(CartPole-v1, preset='default', timesteps=0)"
    plain = pgfast.NPG(env, preset=None, num_envs=count)
    assert plain.settings == pgfast.NPG("CartPole-v1", preset=None, num_envs=count).settings
    if kind != "function":
        env.close()


def test_a_wrapped_environment_is_another_task() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.TransformReward(cartpole(), lambda reward: 2 * reward)

    for env in (make, SyncVectorEnv([make] * 16), AsyncVectorEnv([make] * 16), WorkerVectorEnv(make, 16)):
        agent = pgfast.A2C(env, num_envs=16)
        general = pgfast.A2C("CartPole-v1", preset="general", num_envs=16)
        assert (agent.settings, agent.preset) == (general.settings, "general")
        rows = 16 * agent.settings.n_steps
        assert agent.learn(rows).timesteps == rows
        if isinstance(env, VectorEnv):
            env.close()


def test_learn_shows_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    for env, preset, text in (
        ("CartPole-v1", "default", "a2c on CartPole-v1, preset default\n"),
        (cartpole, "default", "a2c on CartPole-v1, preset default\n"),
        ("CartPole-v1", None, "a2c on CartPole-v1, the algorithm's defaults\n"),
        ("Acrobot-v1", "default", "a2c on Acrobot-v1, preset general\n"),
    ):
        pgfast.A2C(env, preset=preset).learn(1, progress_bar=True)
        assert capsys.readouterr().out.startswith(text)


def test_the_preset_of_another_task() -> None:
    def shaped() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.TransformReward(cartpole(), lambda reward: 2 * reward)

    agent = pgfast.A2C(shaped, preset="CartPole-v1")
    assert agent.settings == pgfast.A2C("CartPole-v1").settings
    assert (agent.preset, repr(agent)) == ("CartPole-v1", "A2C(an environment, preset='CartPole-v1', timesteps=0)")
    assert pgfast.A2C("Acrobot-v1", preset="CartPole-v1").settings == agent.settings
    with pytest.raises(
        ValueError, match=r'no preset "Acrobot-v1" of a2c for an environment without an id; .* CartPole'
    ):
        pgfast.A2C(shaped, preset="Acrobot-v1")


def test_showing_a_loaded_agent_makes_no_environment(tmp_path: Path) -> None:
    pgfast.A2C("CartPole-v1").save(tmp_path / "model.safetensors")

    def make() -> gymnasium.Env[Any, Any]:
        raise AssertionError

    loaded = pgfast.load(tmp_path / "model.safetensors", env=make)
    assert repr(loaded) == "A2C(an environment, preset=None, timesteps=0)"
    assert loaded.describe() == "a2c on an environment of your own, the algorithm's defaults"


class TaskEnv(gymnasium.Env[Any, Any]):
    """Observes samples of any space, and takes any action."""

    def __init__(self, observation: Space[Any], action: Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm_has_a_general_preset_for_each_kind_of_task(algo: str) -> None:
    tables = presets(algo)
    settings_type = ALGORITHMS[algo].learner_type.settings_type
    kinds = ("tabular", "discrete", "continuous", "images", "grids")
    assert tuple(tables["general"]) == ((*kinds, "memory") if issubclass(settings_type, MemorySettings) else kinds)
    for named in tables.values():
        for table in named.values():
            settings_type(**{name: value for name, value in table.items() if name != "total_timesteps"})


@pytest.mark.parametrize(
    ("observation", "action", "kind"),
    [
        (Box(-1, 1, (3,)), Discrete(2), "discrete"),
        (Discrete(4), MultiBinary(2), "tabular"),
        (Tuple((Discrete(4), MultiDiscrete([2, 3]), MultiBinary(2))), Discrete(2), "tabular"),
        (Dict({"place": Discrete(4), "speed": Box(-1, 1, (1,))}), Discrete(2), "discrete"),
        (Discrete(4), Box(-1, 1, (2,)), "continuous"),
        (Box(-1, 1, (3,)), Box(-1, 1, (2,)), "continuous"),
        (Box(-1, 1, (3,)), Tuple((Discrete(2), Box(-1, 1, (2,)))), "continuous"),
        (Box(0, 255, (96, 96, 3), np.uint8), Box(-1, 1, (2,)), "images"),
        (Dict({"camera": Box(0, 255, (64, 64, 1), np.uint8), "speed": Box(-1, 1, (1,))}), Discrete(2), "images"),
        (Box(0, 10, (7, 7, 3), np.uint8), Discrete(2), "grids"),
    ],
)
def test_the_general_preset_goes_by_the_spaces(observation: Space[Any], action: Space[Any], kind: str) -> None:
    agent = pgfast.A2C(partial(TaskEnv, observation, action), num_envs=2)
    assert agent.preset == "general"
    assert agent.settings == replace(A2CSettings(**presets("a2c")["general"][kind]), num_envs=2)


def test_a_task_with_a_preset_has_the_general_one_if_it_is_named() -> None:
    agent = pgfast.A2C("CartPole-v1", preset="general")
    assert agent.settings == pgfast.A2C("Acrobot-v1").settings
    assert repr(agent) == "A2C(CartPole-v1, preset='general', timesteps=0)"


def test_an_image_that_is_taken_as_a_vector_has_the_preset_of_vectors() -> None:
    image = partial(TaskEnv, Box(0, 255, (64, 64, 3), np.uint8), Discrete(2))
    table = presets("a2c")["general"]["discrete"]
    assert pgfast.A2C(image, network="mlp").settings == A2CSettings(**table, network="mlp")


@pytest.mark.parametrize("algorithm", [pgfast.A2C, pgfast.PPO])
@pytest.mark.parametrize("value", [(), NetworkSpec(policy=(Layer("dense", 4),))])
def test_a_described_network_keeps_its_own_value_network(algorithm: type[Agent], value: Any) -> None:
    spec = NetworkSpec(policy=(Layer("dense", 4),), value=value)
    agent = algorithm("Acrobot-v1", network=spec)
    assert (agent.preset, agent.settings.network) == ("general", spec)
    assert (agent.policy.network.value_part is None) == (value == ())
    with pytest.raises(ValueError, match="separate_value_network cannot be added to a NetworkSpec"):
        algorithm("Acrobot-v1", network=spec, separate_value_network=True)


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1"])
def test_memory_comes_on_top_of_the_preset(env: str) -> None:
    without, memory = pgfast.A2C(env), presets("a2c")["general"]["memory"]
    assert memory
    assert pgfast.A2C(env, memory="gru").settings == replace(without.settings, **memory, memory="gru")
    assert pgfast.A2C(env, memory="gru", n_steps=5).settings.n_steps == 5
    assert pgfast.A2C(env, memory="gru", preset=None).settings == A2CSettings(memory="gru")


def test_the_command_line_takes_the_general_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--total-timesteps", "1", "--run-dir", "run", "--memory", "gru"]
    assert main(["train", "a2c", "Acrobot-v1", *flags]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["preset"] == "general"
    assert pgfast.load("run").settings == pgfast.A2C("Acrobot-v1", memory="gru").settings
