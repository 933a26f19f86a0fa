"""Agents, policies and networks can be copied and pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest

import pgfast
from counting_env import CountingEnv
from pgfast import nn, policies
from pgfast.algorithms import ALGORITHMS
from pgfast.state import flatten
from states import assert_equal_states

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 10, "hidden_sizes": (8,)}
NORMALIZED: dict[str, Any] = {"normalize_observations": True, "normalize_rewards": True}
every_way = pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))], ids=["deepcopy", "pickle"]
)
Duplicate = Callable[[Any], Any]


@every_way
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_copied_agent_is_equal_and_independent(name: str, duplicate: Duplicate) -> None:
    agent = ALGORITHMS[name]("Pendulum-v1", **SMALL, **NORMALIZED).learn(60)
    observations = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    agent.predict(observations)
    copied = duplicate(agent)
    assert type(copied) is type(agent)
    assert (copied.settings, copied.preset, copied.env_id) == (agent.settings, agent.preset, agent.env_id)
    assert (copied.timesteps, copied.updates) == (agent.timesteps, agent.updates)
    assert_equal_states(flatten(copied.learner.state()), flatten(agent.learner.state()))
    np.testing.assert_array_equal(copied.predict(observations), agent.predict(observations))
    before = agent.policy.parameters.copy()
    copied.learn(60)
    assert not np.array_equal(copied.policy.parameters, before)
    np.testing.assert_array_equal(agent.policy.parameters, before)


@every_way
def test_a_copy_trains_as_a_loaded_agent_does(duplicate: Duplicate, tmp_path: Any) -> None:
    agent = pgfast.A2C("CartPole-v1", **SMALL).learn(200)
    copied = duplicate(agent)
    agent.close()  # the agent itself now starts new episodes, too
    np.testing.assert_array_equal(copied.learn(200).policy.parameters, agent.learn(200).policy.parameters)


def test_a_copy_keeps_a_given_vector_environment_and_a_pickle_does_not() -> None:
    env = gymnasium.vector.SyncVectorEnv([CountingEnv] * 2)
    agent = pgfast.A2C(env, **SMALL).learn(20)
    assert copy.deepcopy(agent).learn(20).timesteps == 40
    restored = pickle.loads(pickle.dumps(agent))
    assert restored.predict(np.zeros(2)) in (0, 1, 2)
    with pytest.raises(ValueError, match="loaded without an environment"):
        restored.learn(20)


def test_a_factory_is_pickled_by_its_name() -> None:
    agent = pgfast.VPG(partial(CountingEnv), **SMALL)
    assert pickle.loads(pickle.dumps(agent)).learn(20).timesteps >= 20


@every_way
@pytest.mark.parametrize("kind", ["categorical", "gaussian", "actor-critic"])
def test_a_copied_policy_keeps_its_network_in_one_vector(kind: str, duplicate: Duplicate) -> None:
    space = gymnasium.spaces.MultiDiscrete([2, 3])
    policy = {
        "categorical": lambda: policies.CategoricalPolicy(nn.mlp(3, 4)),
        "gaussian": lambda: policies.GaussianPolicy(nn.mlp(3, 2, dtype=np.float64), log_std_init=-1.0),
        "actor-critic": lambda: policies.ActorCritic(nn.mlp(3, 6), space),
    }[kind]()
    copied = duplicate(policy)
    obs = np.ones((4, 3), policy.network.dtype)
    np.testing.assert_array_equal(copied.parameters, policy.parameters)
    np.testing.assert_array_equal(copied.act(obs, 1)[0], policy.act(obs, 1)[0])
    assert np.shares_memory(copied.parameters, copied.network.parameters)
    assert not np.shares_memory(copied.parameters, policy.parameters)
    copied.parameters[:] = 0.0
    assert not copied.network.forward(obs).any()
    assert policy.network.forward(obs).any()


@every_way
def test_a_copied_network_computes_the_same(duplicate: Duplicate) -> None:
    network = nn.origin_cnn((4, 84, 84), 3)
    copied = duplicate(network)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 84, 84), np.uint8)
    np.testing.assert_array_equal(copied.forward(images), network.forward(images))
    assert copied.layout == network.layout
    assert not np.shares_memory(copied.parameters, network.parameters)
