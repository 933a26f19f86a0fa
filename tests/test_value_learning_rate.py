"""The learning rate of a separate value network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.nn import Layer, NetworkSpec

SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 6, "hidden_sizes": (8,), "preset": None, "seed": 3}
OF: dict[str, dict[str, Any]] = {"a2c": {}, "ppo": {"num_epochs": 1, "minibatch_size": None}}
each_algorithm = pytest.mark.parametrize("name", OF)
each_optimizer = pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])


def separate(name: str, optimizer: str, **chosen: Any) -> Agent:
    chosen |= {"separate_value_network": True, "optimizer": optimizer, "learning_rate": 0.01}
    return ALGORITHMS[name]("CartPole-v1", **SMALL, **OF[name], **chosen)


@each_optimizer
@each_algorithm
def test_a_value_learning_rate_is_of_the_separate_network_alone(name: str, optimizer: str) -> None:
    """The first step of each rule is proportional to its learning rate."""
    before = separate(name, optimizer).policy.parameters.copy()

    def moved(**chosen: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        agent = separate(name, optimizer, **chosen).learn(24)
        change, part = agent.policy.parameters - before, agent.policy.network.value_part
        names = [block.name for block in agent.policy.layout if part.start <= block.slice.start < part.stop]  # type: ignore[union-attr]
        assert names == [block.name for block in agent.policy.layout if block.name.startswith("value.")] != []
        return np.delete(change, part), change[part]  # type: ignore[arg-type,index]

    policy, values = moved()
    assert policy.any()
    assert values.any()
    for rate in (0.0, 2e-3, 4e-2):
        of_policy, of_values = moved(value_learning_rate=rate)
        np.testing.assert_allclose(of_policy, policy, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(of_values, values * (rate / 0.01), rtol=1e-3, atol=2e-7)
        assert of_values.any() == (rate > 0)


@each_optimizer
@each_algorithm
def test_a_value_learning_rate_equal_to_the_learning_rate_changes_no_bit(name: str, optimizer: str) -> None:
    schedule: dict[str, Any] = {"learning_rate_schedule": "linear", "schedule_timesteps": 96}
    plain = separate(name, optimizer, **schedule).learn(72)
    equal = separate(name, optimizer, **schedule, value_learning_rate=0.01).learn(72)
    np.testing.assert_array_equal(equal.policy.parameters, plain.policy.parameters)


@each_algorithm
def test_a_value_learning_rate_follows_the_schedule_of_the_learning_rate(name: str) -> None:
    falling: dict[str, Any] = {"learning_rate_schedule": "linear", "schedule_timesteps": 48, "value_learning_rate": 0.1}
    agent = separate(name, "sgd", **falling).learn(48)
    before = agent.policy.parameters.copy()
    np.testing.assert_array_equal(agent.learn(24).policy.parameters, before)


@each_algorithm
def test_a_value_learning_rate_needs_a_separate_network(name: str) -> None:
    first, second = (NetworkSpec(trunk=(Layer("dense", 4),)) for _ in range(2))
    text = "^value_learning_rate needs separate_value_network, or a NetworkSpec whose value is a second NetworkSpec$"
    for chosen in ({}, {"network": first}):
        with pytest.raises(ValueError, match=text):
            ALGORITHMS[name]("CartPole-v1", preset=None, value_learning_rate=0.1, **chosen)
    described = NetworkSpec(trunk=first.trunk, value=second)
    agent = ALGORITHMS[name]("CartPole-v1", **{**SMALL, "network": described}, value_learning_rate=0.0)
    part = agent.policy.network.value_part
    before = agent.policy.parameters.copy()
    agent.learn(24)
    assert np.array_equal(agent.policy.parameters[part], before[part])
    assert not np.array_equal(agent.policy.parameters, before)
