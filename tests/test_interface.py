"""Environments with another interface than Gymnasium's: the error names environment, difference and cure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import ClipReward, RecordEpisodeStatistics

import pgfast
from misused_envs import FailsSilently, GridEnv, WithOldReset, WithoutStep
from pgfast.envs.failures import EnvironmentFailure

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 3, "hidden_sizes": (4,)}
FIVE = r"step\(\) must return \(observation, reward, terminated, truncated, info\)"
OBSERVATION = np.zeros(3, np.float32)


def grid(**changes: Any) -> Callable[[], GridEnv]:
    return partial(GridEnv, **changes)


def raising(error: Exception) -> Callable[[], Any]:
    def make() -> Any:
        raise error

    return make


def old_gym_env() -> Any:
    return type("OldEnv", (), {"__module__": "gym.envs"})()


MISUSES: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, r"could not be made: the function must return a gymnasium.Env, got None$"),
    (
        lambda: GridEnv,
        r"could not be made: the function returned the class GridEnv, not an environment: call the class$",
    ),
    (
        old_gym_env,
        r"could not be made: .*shimmy.GymV26CompatibilityV0 and GymV21CompatibilityV0 .*, got gym.envs.OldEnv$",
    ),
    (lambda: gymnasium.make_vec("CartPole-v1"), "could not be made: the function returned a vector environment"),
    (grid(observation_space=None), r"could not be made: GridEnv has no observation_space: set self.observation_space"),
    (grid(action_space=4), r"could not be made: GridEnv.action_space must be a gymnasium.spaces.Space, got int$"),
    (
        raising(NotImplementedError()),
        r"could not be made: NotImplementedError in make \(test_interface.py, line \d+\)$",
    ),
    (
        raising(RuntimeError("Cannot create multiple emulator instances per process")),
        r'could not be made: RuntimeError: Cannot .* process; vectorization="async" runs each .* process of its own$',
    ),
    (WithOldReset, r"failed at step 0: TypeError: .*; define reset\(self, \*, seed=None, options=None\)$"),
    (grid(reset_results=OBSERVATION), r"failed at step 0: reset\(\) must return \(observation, info\), got an array"),
    (grid(reset_results=(OBSERVATION, None)), r"failed at step 0: the info of reset\(\) must be a dict, got None$"),
    (WithoutStep, r"failed at step 1: NotImplementedError in WithoutStep.step \(core.py, line \d+\)$"),
    (FailsSilently, r"failed at step 1: AssertionError in FailsSilently.step \(misused_envs.py, line \d+\)$"),
    (grid(step_results=(OBSERVATION, 1.0, False, {})), f"failed at step 1: {FIVE}, got a tuple of 4 values: split"),
    (
        lambda: TimeLimit(GridEnv(step_results=(OBSERVATION, 1.0, False, {})), 5),
        f"failed at step 1: ValueError: .*; {FIVE}$",
    ),
    (grid(step_results=None), f"failed at step 1: {FIVE}, got None$"),
    (
        grid(reward=np.ones(3)),
        r"failed at step 1: the reward must be one number, got an array of shape \(3,\): weigh several objectives in a",
    ),
    (grid(reward=[1.0]), r"failed at step 1: the reward must be one number, got .*: return the number in it$"),
    (grid(reward=None), r"failed at step 1: the reward must be one number, got None$"),
    (grid(reward="1"), r"failed at step 1: the reward must be one number, got str$"),
    (grid(terminated=None), r"failed at step 1: terminated must be True or False, got None$"),
    (grid(truncated={}), r"failed at step 1: truncated must be True or False, got dict$"),
    (grid(info=None), r"failed at step 1: the info of step\(\) must be a dict, got None$"),
    (
        grid(observation=np.zeros(4)),
        r"failed at step 1: the observation has shape \(4,\), the observation space \(3,\)$",
    ),
    (grid(dtype=np.uint8), r"failed at step 1: the observation has dtype float32, the observation space uint8$"),
]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("make", "text"), MISUSES, ids=[text[:50] for _, text in MISUSES])
def test_a_misuse_is_named_with_its_cure(make: Callable[[], Any], text: str, vectorization: str) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        pgfast.A2C(make, **SMALL, vectorization=vectorization).learn(6)
    assert re.search(f"^environment 0 {text}", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"observation": [1, 2, 3]},
        {"observation": np.ones(3, np.float64)},
        {"reward": np.float32(1.0)},
        {"reward": np.array(1)},
        {"reward": True, "terminated": np.True_, "truncated": 0},
        {"action_space": spaces.Discrete(2, start=3)},
    ],
)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_other_forms_of_the_right_results_are_accepted(changes: dict[str, Any], vectorization: str) -> None:
    agent = pgfast.A2C(grid(**changes), **SMALL, vectorization=vectorization).learn(6)
    assert (agent.sampler.rollout.rewards[agent.sampler.rollout.valid] == 1).all()
    agent.close()


def test_gymnasium_errors_about_results_name_environment_and_cure() -> None:
    for changes, cure in (
        ({"step_results": (OBSERVATION, 1.0, False, {})}, FIVE),
        ({"reward": np.ones(3)}, "the reward must be one number"),
        ({"info": None}, r"step\(\) and reset\(\) must return a dict as info"),
    ):
        given = SyncVectorEnv([GridEnv, grid(**changes)])
        with pytest.raises(EnvironmentFailure, match=f"^environment 1 failed at step 1: .*; {cure}$"):
            pgfast.A2C(given, n_steps=3, hidden_sizes=(4,)).learn(6)


class OwnVectorEnv(VectorEnv):
    """Two environments whose episodes last one step."""

    def __init__(self, **changes: Any) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = 2
        self.single_observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.changes = changes
        vars(self).update({name: value for name, value in changes.items() if not name.endswith("results")})

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        return self.changes.get("reset_results", (np.zeros((2, 2), np.float32), {}))

    def step(self, actions: np.ndarray) -> Any:
        results = (np.zeros((2, 2), np.float32), np.ones(2), np.ones(2, np.bool_), np.zeros(2, np.bool_), {})
        return self.changes.get("step_results", results)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (
            None,
            r'^OwnVectorEnv does not say when it resets: set env.metadata = .*_mode": mode}, .* autoreset_mode=$',
        ),
        (
            "same",
            r'^metadata\["autoreset_mode"\] of OwnVectorEnv must be one of AutoresetMode.NEXT_STEP, .*, got \'same\'',
        ),
    ],
)
def test_a_vector_environment_must_say_when_it_resets(mode: Any, text: str) -> None:
    metadata = {} if mode is None else {"autoreset_mode": mode}
    env = OwnVectorEnv(metadata=metadata)
    for given in (env, ClipReward(env, 0, 1)):
        with pytest.raises(ValueError, match=text):
            pgfast.A2C(given)
    agent = pgfast.A2C(OwnVectorEnv(), n_steps=3, hidden_sizes=(4,)).learn(6)
    with pytest.raises(ValueError, match=text):
        agent.evaluate(1, env=env)


@pytest.mark.parametrize("wrap", [lambda env: env, RecordEpisodeStatistics, lambda env: ClipReward(env, 0, 1)])
def test_vector_environments_that_say_so_are_accepted(wrap: Callable[[VectorEnv], VectorEnv]) -> None:
    for env in (OwnVectorEnv(), SyncVectorEnv([GridEnv] * 2), gymnasium.make_vec("CartPole-v1", 2)):
        pgfast.A2C(wrap(env), n_steps=3, hidden_sizes=(4,)).learn(6)
    cured = OwnVectorEnv(metadata={})
    cured.metadata = {**cured.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
    pgfast.A2C(wrap(cured), n_steps=3, hidden_sizes=(4,)).learn(6)
    named = OwnVectorEnv(metadata={"autoreset_mode": "NextStep"})
    assert pgfast.A2C(named, n_steps=3, hidden_sizes=(4,)).learn(6).timesteps == 6


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"reset_results": np.zeros((2, 2), np.float32)},
            r"failed at step 0: reset\(\) must return \(observation, info\)",
        ),
        (
            {"step_results": (np.zeros((2, 2)), np.ones(2), np.ones(2), {})},
            f"failed at step 1: {FIVE}, got .* 4 values",
        ),
        (
            {"metadata": {"autoreset_mode": AutoresetMode.SAME_STEP}},
            r'failed at step 1: infos must hold "final_obs" at the end of an episode in autoreset mode SAME_STEP$',
        ),
    ],
)
def test_a_misuse_of_a_vector_environment_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(EnvironmentFailure, match=f"^an environment {text}"):
        pgfast.A2C(OwnVectorEnv(**changes), n_steps=3, hidden_sizes=(4,)).learn(6)


def test_a_spec_of_another_library_names_no_task() -> None:
    """EnvPool's vector environments have one."""
    agent = pgfast.A2C(OwnVectorEnv(spec=object()), n_steps=3, hidden_sizes=(4,)).learn(6)
    assert (agent.preset, agent.env_id) == ("general", None)


def test_a_vector_environment_without_spaces_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^OwnVectorEnv has no single_action_space: set self.single_action_space"):
        pgfast.A2C(OwnVectorEnv(single_action_space=None))
