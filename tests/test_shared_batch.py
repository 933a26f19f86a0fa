"""Observations in memory that worker processes share with their parent."""

from __future__ import annotations

import copy
import errno
import gc
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pgfast.envs.shared_batch import SharedBatch, can_share
from pgfast.envs.workers import WorkerVectorEnv

NESTED = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (5, 3, 2), np.uint8),
        "parts": spaces.Tuple((spaces.Discrete(7), spaces.Box(-1.0, 1.0, (3,), np.float64))),
        "switches": spaces.MultiBinary(2),
    }
)


class Sampling(gymnasium.Env[Any, Any]):
    """Returns random observations of a space."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = copy.deepcopy(space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


class Odd(Sampling):
    """Returns an observation of another shape at its third step."""

    steps = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation = self.observation_space.sample()
        if self.steps == 3:
            observation["image"] = observation["image"][1:]
        return observation, 0.0, False, False, {}


def assert_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, tuple):
        for pair in zip(found, expected, strict=True):
            assert_equal(*pair)
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_return_what_one_process_returns(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method != multiprocessing.get_start_method():
        monkeypatch.setattr(multiprocessing, "Process", multiprocessing.get_context(method).Process)
    expected = gymnasium.vector.SyncVectorEnv([lambda: Sampling(NESTED)] * 3)
    env = WorkerVectorEnv(lambda: Sampling(NESTED), 3)
    assert_equal(env.reset(seed=5)[0], expected.reset(seed=5)[0])
    actions = np.zeros(3, np.int64)
    first, wanted = env.step(actions)[0], expected.step(actions)[0]
    assert_equal(first, wanted)
    assert_equal(env.step(actions)[0], expected.step(actions)[0])
    assert env.observation_space.contains(first)
    env.close()


def test_a_step_leaves_earlier_observations_alone() -> None:
    env = WorkerVectorEnv(lambda: gymnasium.make("CartPole-v1"), 2)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(first, kept)
    env.close()
    np.testing.assert_array_equal(first, kept)


def test_an_observation_that_does_not_fit_is_named() -> None:
    env = WorkerVectorEnv(lambda: Odd(NESTED), 2)
    env.reset(seed=0)
    actions = np.zeros(2, np.int64)
    env.step(actions)
    env.step(actions)
    with pytest.raises(RuntimeError, match=r'^environment 0 .*leaf "image" of the observation has shape \(4, 3, 2\)'):
        env.step(actions)
    env.close()


@pytest.mark.parametrize(
    ("space", "shared"),
    [
        (NESTED, True),
        (spaces.Box(0.0, 1.0, ()), True),
        (spaces.Box(0.0, 1.0, (0,)), False),
        (spaces.Dict(), False),
        (spaces.Text(5), False),
        (spaces.Dict({"word": spaces.Text(5), "number": spaces.Discrete(2)}), False),
        (spaces.Sequence(spaces.Discrete(2)), False),
    ],
)
def test_which_observations_are_shared(space: spaces.Space[Any], shared: bool) -> None:
    assert can_share(space) == shared


def test_observations_that_are_not_arrays_are_sent() -> None:
    env = WorkerVectorEnv(lambda: Sampling(spaces.Text(5)), 2)
    observations, _ = env.reset(seed=0)
    assert all(map(spaces.Text(5).contains, observations))
    env.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_memory_ends_with_those_who_use_it() -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    batch = SharedBatch(NESTED, 4)
    batch.write(2, NESTED.sample())
    copied = batch.copy()
    for _ in range(2):
        batch.close()
        assert open_files() == before
    assert copied["image"].shape == (4, 5, 3, 2)
    env = WorkerVectorEnv(lambda: Sampling(NESTED), 2)
    env.reset(seed=0)
    assert open_files() > before
    env.close()
    assert open_files() == before


def test_a_handle_that_cannot_be_sent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("pgfast.envs.workers.send_handle", fail)
    with pytest.raises(OSError, match="Too many open files; use fewer environments"):
        WorkerVectorEnv(lambda: Sampling(NESTED), 2)


def test_rows_do_not_touch_each_other() -> None:
    batch = SharedBatch(NESTED, 3)
    observations = [NESTED.sample() for _ in range(3)]
    for index in (2, 0, 1):
        batch.write(index, observations[index])
    expected = gymnasium.vector.utils.concatenate(
        NESTED, observations, gymnasium.vector.utils.create_empty_array(NESTED, 3)
    )
    assert_equal(batch.copy(), expected)
    batch.close()
