"""Point-v0: its dynamics by hand, its picture, and the vector environment against single ones, bit for bit."""

from __future__ import annotations

import math
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

import pgfast
from pgfast.envs import PointEnv, PointVectorEnv, point
from pgfast.envs.playback import open_playback
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.stepper import Stepper

LARGEST = float(np.float32(0.025))  # as the action space has it


def at(x: float, y: float, **kwargs: Any) -> PointEnv:
    env = PointEnv(**kwargs)
    env.reset(seed=0)
    env.position = np.array([x, y])
    return env


@pytest.fixture
def _pygame() -> None:
    pytest.importorskip("pygame")


@pytest.mark.usefixtures("_pygame")
def test_gymnasium_accepts_it() -> None:
    env = gymnasium.make("pgfast/Point-v0", render_mode="rgb_array")
    check_env(env.unwrapped)  # warnings are errors
    assert env.observation_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-0.025, 0.025, (2,), np.float32)


def test_a_step_adds_the_action() -> None:
    env = at(0.3, -0.4)
    observation, reward, terminated, truncated, info = env.step(np.array([0.01, -0.02]))
    np.testing.assert_allclose(observation, [0.31, -0.42], rtol=1e-6)
    assert observation.dtype == np.float32
    assert reward == pytest.approx(-math.hypot(0.31, 0.42), rel=1e-12)
    assert (terminated, truncated, info) == (False, False, {})
    # Along a diagonal every step moves both coordinates.
    env = at(0.7, 0.7)
    rewards = [env.step(np.full(2, -0.025))[1] for _ in range(28)]
    np.testing.assert_allclose(rewards, [-math.sqrt(2) * (0.7 - 0.025 * t) for t in range(1, 29)], atol=1e-6)


def test_actions_are_clipped_to_the_space_and_positions_to_the_square() -> None:
    env = at(0.5, 0.5)
    env.step(np.array([7.0, -0.3]))
    np.testing.assert_array_equal(env.position, [0.5 + LARGEST, 0.5 - LARGEST])
    env = at(0.99, -1.0)
    observation, reward, *_ = env.step(np.array([0.02, -0.02], np.float32))
    np.testing.assert_array_equal(observation, [1.0, -1.0])
    assert reward == pytest.approx(-math.sqrt(2))
    assert env.observation_space.contains(observation)


def test_it_is_truncated_after_forty_steps_and_never_terminates() -> None:
    env = gymnasium.make("pgfast/Point-v0")
    env.reset(seed=1)
    flags = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(40)]
    assert flags == [(False, False)] * 39 + [(False, True)]
    env = gymnasium.make("pgfast/Point-v0")
    env.reset(seed=1)
    env.unwrapped.position[:] = 0.0  # not even in the center
    assert env.step(np.zeros(2, np.float32))[1:4] == (0.0, False, False)


def test_starts_are_uniform_in_the_square_outside_the_ring() -> None:
    env = PointEnv()
    env.reset(seed=5)
    starts = np.array([env.reset()[0] for _ in range(4000)])
    distances = np.hypot(*starts.T)
    assert distances.min() > 0.9
    assert np.abs(starts).max() <= 1.0
    # The area outside the ring is 4 - 0.81 pi, of which (1 - 0.81) pi lies at distances from 0.9 to 1.
    fraction = (1 - 0.81) * math.pi / (4 - 0.81 * math.pi)
    assert np.mean(distances < 1) == pytest.approx(fraction, abs=4 * math.sqrt(fraction * (1 - fraction) / 4000))
    np.testing.assert_allclose(starts.mean(axis=0), 0, atol=4 * 0.73 / math.sqrt(4000))


def test_the_seed_determines_the_start() -> None:
    env = PointEnv()
    first = env.reset(seed=3)[0]
    second = env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    assert not np.array_equal(env.reset(seed=4)[0], first)


def test_the_vector_environment_equals_single_ones(rng: np.random.Generator) -> None:
    seeds = [3, 1, 4, 15, 92]
    env = PointVectorEnv(5)
    single = SyncVectorEnv([lambda: gymnasium.make("pgfast/Point-v0")] * 5)
    assert env.metadata["autoreset_mode"] == single.metadata["autoreset_mode"]
    assert (env.single_observation_space, env.single_action_space) == (
        single.single_observation_space,
        single.single_action_space,
    )
    assert (env.observation_space, env.action_space) == (single.observation_space, single.action_space)
    for steps in (130, 50):  # a reset in the middle of episodes, which continues the random numbers
        np.testing.assert_array_equal(env.reset(seed=seeds)[0], single.reset(seed=seeds)[0])
        for _ in range(steps):
            actions = rng.normal(0, 0.03, (5, 2)).astype(np.float32)
            native, expected = env.step(actions), single.step(actions)
            for ours, theirs in zip(native[:4], expected[:4], strict=True):
                np.testing.assert_array_equal(ours, theirs)
                assert ours.dtype == theirs.dtype
            assert native[4] == expected[4] == {}
        seeds = None  # type: ignore[assignment]


def test_rows_from_equal_positions_move_alike(rng: np.random.Generator) -> None:
    env = PointVectorEnv(64)
    env.reset(seed=0)
    env.positions = rng.uniform(-1, 1, (64, 2))
    singles = [at(*position) for position in env.positions]
    for _ in range(20):
        actions = rng.normal(0, 0.02, (64, 2)).astype(np.float32)
        observations, rewards, *_ = env.step(actions)
        for index, single in enumerate(singles):
            observation, reward, *_ = single.step(actions[index])
            np.testing.assert_array_equal(observations[index], observation)
            assert rewards[index] == reward


def test_make_vec_seeds_the_vector_environment_as_it_seeds_single_ones() -> None:
    native = pgfast.make_vec("pgfast/Point-v0", 4, seed=7)
    sync = pgfast.make_vec("pgfast/Point-v0", 4, seed=7, vectorization="sync")
    assert isinstance(native, PointVectorEnv)
    assert native.max_episode_steps == 40
    for _ in range(3):
        np.testing.assert_array_equal(native.reset()[0], sync.reset()[0])
    np.testing.assert_array_equal(Stepper(native).reset([1, 2, 3, 4]), Stepper(sync).reset([1, 2, 3, 4]))
    np.testing.assert_array_equal(native.reset(seed=6)[0], sync.reset(seed=6)[0])  # 6, 7, 8, 9
    assert len(np.unique(native.reset()[0], axis=0)) == 4


def test_the_vector_environment_returns_new_arrays() -> None:
    env = PointVectorEnv(2)
    observations, _ = env.reset(seed=1)
    kept = observations.copy()
    returned = env.step(np.full((2, 2), 0.01, np.float32))
    before = [array.copy() for array in returned[:4]]
    env.step(np.full((2, 2), 0.01, np.float32))
    np.testing.assert_array_equal(observations, kept)
    for array, copy in zip(returned[:4], before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_wrong_calls_are_refused_in_a_sentence() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make("pgfast/Point-v0").step(np.zeros(2))
    with pytest.raises(RuntimeError, match=r"PointVectorEnv.step: call reset first"):
        PointVectorEnv(2).step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"actions must be finite, of shape \(2,\), got \[0.0, 0.0, 0.0\]"):
        at(0, 0).step(np.zeros(3))
    with pytest.raises(ValueError, match=r"actions must be finite, of shape \(2,\), got \[0.0, nan\]"):
        at(0, 0).step(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="2 seeds are needed, got 3"):
        PointVectorEnv(2).reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="options are not supported, got"):
        PointVectorEnv(2).reset(options={"reset_mask": np.zeros(2, np.bool_)})


def color_at(frame: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """The color of the pixel at a position in the square."""
    return tuple(frame[int(200 - 180 * y), int(200 + 180 * x)].tolist())


@pytest.mark.usefixtures("_pygame")
def test_the_picture_shows_point_center_and_background() -> None:
    env = at(0.6, 0.5, render_mode="rgb_array")
    env._visited[0] = env.position  # no trail
    frame = env.render()
    assert frame.shape == (400, 400, 3)
    assert frame.dtype == np.uint8
    assert color_at(frame, 0.6, 0.5) == point._POINT  # up is up
    assert color_at(frame, 0.6, -0.5) == color_at(frame, -0.6, 0.5) == point._BACKGROUND
    assert color_at(frame, 0, 0) == point._CENTER
    assert len(np.unique(frame[80:140, 280:340])) > 10  # soft edges
    assert PointEnv().render() is None


@pytest.mark.usefixtures("_pygame")
def test_the_trail_shows_where_the_point_came_from() -> None:
    env = PointEnv("rgb_array")
    env.reset(seed=4)
    start, first = env.position, env.render()
    for _ in range(20):
        env.step(-0.02 * np.sign(start))
    frame = env.render()
    assert color_at(frame, *start) == point._TRAIL
    assert color_at(frame, *env.position) == color_at(first, *start) == point._POINT
    env.reset(seed=4)
    np.testing.assert_array_equal(env.render(), first)  # a new episode has no trail yet


def test_a_missing_pygame_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r'pip install "pgfast\[video\]"'):
        at(0, 0, render_mode="rgb_array").render()


@pytest.mark.usefixtures("_pygame")
def test_a_recorded_episode_has_a_frame_for_every_step() -> None:
    playback = open_playback(EnvironmentSource("pgfast/Point-v0"))
    assert playback.frames_per_second == 20
    observations, frames = playback.reset(9)
    over = False
    while not over:
        step = playback.step(np.clip(-observations, -LARGEST, LARGEST))  # type: ignore[arg-type]
        observations, over = step.observations, step.episode_over
        frames += step.frames
    assert len(frames) == 41
    assert all(frame.shape == (400, 400, 3) for frame in frames)
    assert np.hypot(*observations[0]) < 0.01
    playback.close()
