"""Gymnasium's text and Box2D environments with every algorithm: training, actions, evaluation, saving and loading."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.learning.settings import BaselineSettings

needs_box2d = [
    pytest.mark.skipif(find_spec("Box2D") is None, reason="Box2D is not installed"),
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),
]
NEWEST_TAXI = max(name for name in gymnasium.registry if name.startswith("Taxi-v"))
ENVIRONMENTS = [
    "FrozenLake-v1",
    NEWEST_TAXI,
    "CliffWalking-v1",
    "Blackjack-v1",
    pytest.param("LunarLander-v3", marks=needs_box2d),
    pytest.param("BipedalWalker-v3", marks=needs_box2d),
    pytest.param("CarRacing-v3", marks=[*needs_box2d, pytest.mark.slow]),
]


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_an_environment_of_gymnasium(env_id: str, algo: str, tmp_path: Path) -> None:
    # An episode of CliffWalking has no limit, and one that ends at random would take thousands of steps.
    has_baseline = issubclass(ALGORITHMS[algo].learner_type.settings_type, BaselineSettings)
    chosen = {"whole_episodes": False} if has_baseline else {}
    agent = ALGORITHMS[algo](env_id, num_envs=2, n_steps=8, **chosen)
    before = agent.policy.parameters.copy()
    agent.learn(48, run_dir=tmp_path / "run")
    assert np.isfinite(agent.policy.parameters).all()
    assert not np.array_equal(agent.policy.parameters, before)
    env = gymnasium.make(env_id)
    observation, _ = env.reset(seed=1)
    for _ in range(10):
        action = agent.predict(observation)
        assert env.action_space.contains(action)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()
    result = agent.evaluate(2, max_episode_steps=20)
    assert np.isfinite(result.returns).all()
    agent.save(tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", tmp_path / "run"):
        loaded = pgfast.load(path)
        np.testing.assert_array_equal(loaded.policy.parameters, agent.policy.parameters)
        np.testing.assert_array_equal(
            loaded.predict(observation, deterministic=True), agent.predict(observation, deterministic=True)
        )
