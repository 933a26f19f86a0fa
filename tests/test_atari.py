"""The Atari protocol, on the real emulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pgfast
from pgfast.envs import AtariVecEnv
from pgfast.envs.atari import atari_game
from pgfast.envs.registration import env_spec
from pgfast.envs.stepper import Stepper
from pgfast.metrics import Metrics
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout

BREAKOUT = "BreakoutNoFrameskip-v4"
TASKS = Path("/proc/self/task")


@pytest.fixture
def breakout():
    env = pgfast.make_vec(BREAKOUT, 4, seed=3, num_threads=2)
    env.reset()
    yield env
    env.close()


@pytest.mark.parametrize("actions", [[0, 1, 2, 4], [-1, 0, 0, 0]])
def test_an_action_out_of_range_raises_at_once(breakout: AtariVecEnv, actions: list[int]) -> None:
    with pytest.raises(ValueError, match=r"actions must be in \[0, 4\)"):
        breakout.step(np.array(actions))
    breakout.step(np.zeros(4, np.int64))  # and the emulators still answer


@pytest.mark.parametrize("actions", [np.zeros(3, np.int64), np.zeros(4, np.float32)])
def test_actions_of_another_shape_or_dtype_raise(breakout: AtariVecEnv, actions: np.ndarray) -> None:
    with pytest.raises(ValueError, match="actions must be integers of shape"):
        breakout.step(actions)


def test_the_protocol_over_whole_games(breakout: AtariVecEnv) -> None:
    """Life loss ends the episode but not the game; FIRE follows it; raw rewards and reset rows are reported."""
    rng = np.random.default_rng(0)
    lives = np.full(4, 5)
    was_over = np.zeros(4, bool)
    was_lost = np.zeros(4, bool)
    games = lost_lives = 0
    raw_return = np.zeros(4)
    for _ in range(900):
        observations, rewards, terminated, truncated, infos = breakout.step(rng.integers(0, 4, 4))
        np.testing.assert_array_equal(infos["reset"], was_over)
        np.testing.assert_array_equal(infos["valid"], ~was_over & ~was_lost)
        np.testing.assert_array_equal(rewards, np.sign(infos["raw_reward"]))
        now = infos["lives"]
        fell = (now < lives) & ~was_over
        np.testing.assert_array_equal(terminated, fell)
        assert not truncated.any()
        np.testing.assert_array_equal(infos["game_over"], fell & (now == 0))
        assert (now[was_over] == 5).all()
        assert (infos["raw_reward"][was_over] == 0).all()
        was_over, was_lost, lives = infos["game_over"], fell & (now > 0), now
        lost_lives += int(fell.sum())
        raw_return += infos["raw_reward"]
        games += int(was_over.sum())
    assert observations.shape == (4, 4, 84, 84)
    assert observations.dtype == np.uint8
    assert games >= 3
    assert lost_lives >= 5 * games
    assert raw_return.sum() > 0


def test_fire_is_pressed_for_the_one_step_after_a_lost_life() -> None:
    """Without FIRE the ball would not come back; with FIRE, lives are lost though only NOOP is chosen."""
    env = pgfast.make_vec(BREAKOUT, 2, seed=0, num_threads=1)
    env.reset()
    lost = 0
    for _ in range(400):
        *_, infos = env.step(np.zeros(2, np.int64))
        lost += int(infos["game_over"].sum())
    env.close()
    assert lost >= 2


def test_a_game_without_lives() -> None:
    """In Pong `lives` is always 0, which must neither end the game nor press FIRE."""
    env = pgfast.make_vec("PongNoFrameskip-v4", 2, seed=0)
    env.reset()
    rng = np.random.default_rng(1)
    points = steps = 0
    while steps < 2000:
        steps += 1
        _, _, terminated, _, infos = env.step(rng.integers(0, 6, 2))
        points += int((infos["raw_reward"] != 0).sum())
        assert (infos["valid"] | infos["reset"]).all()
        if infos["game_over"].any():
            np.testing.assert_array_equal(terminated, infos["game_over"])
            break
        assert not terminated.any()
    env.close()
    assert points >= 21
    assert steps > 500


@pytest.mark.parametrize("late", [0, 1])
def test_a_game_that_reaches_the_frame_limit(late: int) -> None:
    """Also if a life is lost on that step, which hides the truncation."""
    game = atari_game(env_spec(BREAKOUT))

    def lives_and_ends(limit: int) -> list[tuple[bool, bool, bool, int]]:
        env = AtariVecEnv(replace(game, max_num_frames_per_episode=limit), 1, num_threads=1)
        env.reset(seed=3)
        rows = []
        for _ in range(60):
            _, _, terminated, truncated, infos = env.step(np.zeros(1, np.int64))
            rows.append((bool(terminated[0]), bool(truncated[0]), bool(infos["game_over"][0]), bool(infos["reset"][0])))
        env.close()
        return rows

    first_loss = next(step for step, row in enumerate(lives_and_ends(10**6)) if row[0])
    rows = lives_and_ends(4 * (first_loss + 1 + late))
    end = first_loss + late
    assert [row[2] for row in rows[: end + 2]] == [False] * end + [True, False]
    assert rows[end + 1][3]


def test_sticky_actions_are_those_of_the_id() -> None:
    assert atari_game(env_spec(BREAKOUT)).repeat_action_probability == 0.0
    assert atari_game(env_spec("ALE/Breakout-v5")).repeat_action_probability == 0.25


@pytest.mark.parametrize("env_id", ["Breakout-v4", "Breakout-v0"])
def test_a_random_frame_skip_is_refused(env_id: str) -> None:
    with pytest.raises(ValueError, match="at random; use the id with NoFrameskip"):
        pgfast.make_vec(env_id, 1, seed=0)


def run(num_threads: int, env_id: str = BREAKOUT, seed: int = 9) -> list[np.ndarray]:
    env = pgfast.make_vec(env_id, 5, seed=seed, num_threads=num_threads)
    rng = np.random.default_rng(2)
    seen = [env.reset()[0]]
    for _ in range(120):
        observations, rewards, terminated, _, infos = env.step(rng.integers(0, 4, 5))
        seen += [observations, rewards, terminated, infos["lives"]]
    env.close()
    return seen


@pytest.mark.parametrize("env_id", [BREAKOUT, pytest.param("ALE/Breakout-v5", marks=pytest.mark.slow)])
def test_threads_change_nothing(env_id: str) -> None:
    for first, second in zip(run(1, env_id), run(4, env_id), strict=True):
        np.testing.assert_array_equal(first, second)


def test_seeds_determine_the_games() -> None:
    first, same, other = (run(2, seed=seed) for seed in (9, 9, 10))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_reset_takes_one_seed_per_environment(breakout: AtariVecEnv) -> None:
    first = breakout.reset(seed=[1, 2, 3, 4])[0]
    np.testing.assert_array_equal(first, breakout.reset(seed=1)[0])
    with pytest.raises(ValueError, match="seed must have shape"):
        breakout.reset(seed=[1, 2])


@pytest.mark.skipif(not TASKS.exists(), reason="threads are counted in /proc")
def test_closing_ends_the_emulators_threads() -> None:
    """ale-py's own close() leaves them."""
    before = len(list(TASKS.iterdir()))
    env = pgfast.make_vec(BREAKOUT, 4, seed=0, num_threads=2)
    env.reset()
    assert len(list(TASKS.iterdir())) > before
    env.close()
    assert len(list(TASKS.iterdir())) == before


def test_lives_are_not_episodes() -> None:
    """The agent's statistics count whole games, though every lost life ends an episode of learning."""
    agent = pgfast.A2C(BREAKOUT, num_envs=4, n_steps=10, network="mlp", hidden_sizes=(4,))
    terminated = 0

    def count(rollout: Rollout, reduce: Reduce) -> Metrics:
        nonlocal terminated
        terminated += int(rollout.terminated.sum())
        return {}

    agent.learner.update = count  # type: ignore[method-assign]
    agent.learn(4000)
    agent.close()
    row = agent.sampler.statistics.row()
    assert row["episodes"] >= 10
    assert terminated >= 5 * row["episodes"]
    assert row["length_mean"] > 100


def test_every_first_step_of_a_game_is_valid(breakout: AtariVecEnv) -> None:
    stepper = Stepper(breakout)
    stepper.reset([1, 2, 3, 4])
    step = stepper.step(np.zeros(4, np.int64))
    assert step.valid.all()
    assert step.stepped.all()
