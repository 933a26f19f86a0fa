"""Point-v0: its dynamics by hand, its picture, and the vector environment against single ones, bit for bit."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgfast
from pgfast.envs import PointEnv, PointVectorEnv, point_drawing
from pgfast.envs.playback import open_playback
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.stepper import Stepper

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
LARGEST = float(np.float32(0.025))  # as the action space has it


def at(x: float, y: float, **kwargs: Any) -> PointEnv:
    env = PointEnv(**kwargs)
    env.reset(seed=0)
    env.position = np.array([x, y])
    return env


def test_gymnasium_finds_nothing_wrong() -> None:
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
    # So many steps along a diagonal end where they should.
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


def test_it_is_cut_off_after_forty_steps_and_never_ends_before() -> None:
    env = gymnasium.make("pgfast/Point-v0")
    env.reset(seed=1)
    flags = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(40)]
    assert flags == [(False, False)] * 39 + [(False, True)]
    env = gymnasium.make("pgfast/Point-v0")
    env.reset(seed=1)
    env.unwrapped.position[:] = 0.0  # not even in the centre
    assert env.step(np.zeros(2, np.float32))[1:4] == (0.0, False, False)


def test_starts_are_uniform_in_the_square_outside_the_ring() -> None:
    env = PointEnv()
    env.reset(seed=5)
    starts = np.array([env.reset()[0] for _ in range(4000)])
    distances = np.hypot(*starts.T)
    assert distances.min() > 0.9
    assert np.abs(starts).max() <= 1.0
    # What is left of the square is 4 - 0.81 pi; the ring from 0.9 to 1 has (1 - 0.81) pi of it.
    share = (1 - 0.81) * math.pi / (4 - 0.81 * math.pi)
    assert np.mean(distances < 1) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))
    np.testing.assert_allclose(starts.mean(axis=0), 0, atol=4 * 0.73 / math.sqrt(4000))


def test_the_seed_decides_the_start() -> None:
    env = PointEnv()
    first = env.reset(seed=3)[0]
    second = env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    assert not np.array_equal(env.reset(seed=4)[0], first)


@pytest.mark.parametrize("mode", MODES)
def test_the_vector_environment_is_as_many_single_ones(mode: AutoresetMode, rng: np.random.Generator) -> None:
    seeds = [3, 1, 4, 15, 92]
    env = PointVectorEnv(5, autoreset_mode=mode)
    single = SyncVectorEnv([lambda: gymnasium.make("pgfast/Point-v0")] * 5, autoreset_mode=mode)
    assert (env.single_observation_space, env.single_action_space) == (
        single.single_observation_space,
        single.single_action_space,
    )
    assert (env.observation_space, env.action_space) == (single.observation_space, single.action_space)
    np.testing.assert_array_equal(env.reset(seed=seeds)[0], single.reset(seed=seeds)[0])
    ended = np.zeros(5, np.bool_)
    for _ in range(130):
        if mode is AutoresetMode.DISABLED and ended.any():
            fresh = env.reset(options={"reset_mask": ended})[0]
            np.testing.assert_array_equal(fresh, single.reset(options={"reset_mask": ended})[0])
        actions = rng.normal(0, 0.03, (5, 2)).astype(np.float32)
        native, expected = env.step(actions), single.step(actions)
        for ours, theirs in zip(native[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        assert set(native[4]) == set(expected[4])
        for index in np.flatnonzero(native[4].get("_final_obs", [])):
            np.testing.assert_array_equal(native[4]["final_obs"][index], expected[4]["final_obs"][index])
        ended = native[3]


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


def test_what_the_vector_environment_gives_is_the_callers() -> None:
    env = PointVectorEnv(2)
    observations, _ = env.reset(seed=1)
    kept = observations.copy()
    given = env.step(np.full((2, 2), 0.01, np.float32))
    before = [array.copy() for array in given[:4]]
    env.step(np.full((2, 2), 0.01, np.float32))
    np.testing.assert_array_equal(observations, kept)
    for array, copy in zip(given[:4], before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_wrong_calls_are_refused_in_a_sentence() -> None:
    with pytest.raises(RuntimeError, match=r"PointEnv.step: call reset first"):
        PointEnv().step(np.zeros(2))
    with pytest.raises(RuntimeError, match=r"PointVectorEnv.step: call reset first"):
        PointVectorEnv(2).step(np.zeros((2, 2)))
    with pytest.raises(RuntimeError, match=r"PointEnv.render: call reset first"):
        PointEnv("rgb_array").render()
    with pytest.raises(ValueError, match="render_mode must be \"rgb_array\" or None, got 'human'"):
        PointEnv("human")
    with pytest.raises(ValueError, match=r"the action must have shape \(2,\), got \(3,\)"):
        at(0, 0).step(np.zeros(3))
    with pytest.raises(ValueError, match=r"the action must be finite, got \[0.0, nan\]"):
        at(0, 0).step(np.array([0.0, np.nan]))
    env = PointVectorEnv(2, max_episode_steps=1, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="2 seeds are needed, got 3"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match='the only option is "reset_mask", got'):
        env.reset(options={"low": 0.0})
    with pytest.raises(ValueError, match=r"reset_mask must be bool of shape \(2,\) and True somewhere"):
        env.reset(options={"reset_mask": np.zeros(2, np.bool_)})
    with pytest.raises(ValueError, match="num_envs and max_episode_steps must be at least 1, got 0 and 40"):
        PointVectorEnv(0)
    env.reset()
    env.step(np.zeros((2, 2)))
    with pytest.raises(RuntimeError, match=r"the episodes of environments \[0, 1\] have ended"):
        env.step(np.zeros((2, 2)))


def colour_at(frame: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """Of the pixel at a position of the square."""
    column = int(point_drawing.SIZE / 2 + point_drawing.SCALE * x)
    row = int(point_drawing.SIZE / 2 - point_drawing.SCALE * y)
    return tuple(frame[row, column].tolist())


def test_the_picture_shows_point_centre_and_ground() -> None:
    env = at(0.6, 0.5, render_mode="rgb_array", trail=False)
    frame = env.render()
    assert frame.shape == (400, 400, 3)
    assert frame.dtype == np.uint8
    assert colour_at(frame, 0.6, 0.5) == point_drawing.POINT  # up is up
    assert colour_at(frame, 0.6, -0.5) == colour_at(frame, -0.6, 0.5) == point_drawing.GROUND
    assert colour_at(frame, 0, 0) == point_drawing.CENTRE
    # The disc covers as much as a disc of its radius: what its edge has too little in one pixel, it has in another.
    empty = at(-1.0, -1.0, render_mode="rgb_array", trail=False).render().astype(float)
    covered = (frame.astype(float) - empty)[80:140, 280:340] / (np.array(point_drawing.POINT) - point_drawing.GROUND)
    assert covered.mean(axis=2).sum() == pytest.approx(math.pi * 8**2, rel=0.01)
    assert len(np.unique(covered.round(2))) > 10  # soft edges
    assert PointEnv().render() is None


def test_the_trail_shows_where_the_point_came_from() -> None:
    frames = []
    for trail in (True, False):
        env = at(0.0, 0.0, render_mode="rgb_array", trail=trail)
        env.reset(seed=4)
        start = env.position
        for _ in range(20):
            env.step(-0.02 * np.sign(start))
        frames.append(env.render())
        assert colour_at(frames[-1], *start) == (point_drawing.TRAIL if trail else point_drawing.GROUND)
        assert colour_at(frames[-1], *env.position) == point_drawing.POINT
    assert not np.array_equal(*frames)
    env.reset(seed=4)
    fresh = at(0.0, 0.0, render_mode="rgb_array")
    fresh.reset(seed=4)
    np.testing.assert_array_equal(env.render(), fresh.render())  # a new episode has no trail yet


def test_a_played_back_episode_has_a_frame_for_every_step() -> None:
    playback = open_playback(EnvironmentSource("pgfast/Point-v0"))
    assert playback.frames_per_second == 20
    observations, frames = playback.reset(9)
    over = False
    while not over:
        step = playback.step(np.clip(-observations, -LARGEST, LARGEST))  # type: ignore[arg-type]
        observations, over = step.observations, step.game_over
        frames += step.frames
    assert len(frames) == 41
    assert all(frame.shape == (400, 400, 3) for frame in frames)
    assert np.hypot(*observations[0]) < 0.01
    playback.close()
