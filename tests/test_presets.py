"""Presets: the same task has the same one, however its environments are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

import pgfast
from pgfast.envs.workers import WorkerVectorEnv


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
