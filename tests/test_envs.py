"""make_vec, seeds, and stepping in every autoreset mode."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgfast
from counting_env import BrokenEnv, CountingEnv
from pgfast.envs.make import env_spec
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.stepper import Stepper
from pgfast.envs.workers import WorkerVectorEnv

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def test_make_vec_picks_the_native_vector_env() -> None:
    env = pgfast.make_vec("CartPole-v1", 4, seed=0)
    assert type(env.unwrapped).__name__ == "CartPoleVectorEnv"
    assert env.num_envs == 4
    env.close()
    env = pgfast.make_vec("Acrobot-v1", 2, seed=0)
    assert isinstance(env.unwrapped, SyncVectorEnv)
    env.close()
    env = pgfast.make_vec("Acrobot-v1", 2, seed=0, vectorization="async")
    assert isinstance(env.unwrapped, WorkerVectorEnv)
    env.close()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1"])
def test_the_seed_decides_the_games(env_id: str) -> None:
    def first_observations(seed: int, generation: int = 0) -> np.ndarray:
        env = pgfast.make_vec(env_id, 3, seed=seed, generation=generation)
        observations = env.reset()[0]
        env.close()
        return observations

    np.testing.assert_array_equal(first_observations(5), first_observations(5))
    assert not np.array_equal(first_observations(5), first_observations(6))
    assert not np.array_equal(first_observations(5), first_observations(5, generation=1))


def test_neighbouring_runs_share_no_environment_seed() -> None:
    seeds = [seed for run in range(50) for seed in environment_seeds(run, 64)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert set(environment_seeds(0, 16)).isdisjoint(environment_seeds(0, 16, generation=1))


@pytest.mark.parametrize(
    ("env_id", "text"),
    [
        ("CartPole-v99", "not a registered environment"),
        ("os:CartPole-v1", "not an environment id"),
        ("../CartPole v1", "not an environment id"),
        ("NoSuchGame-v0", "not a registered environment"),
    ],
)
def test_unknown_ids_are_refused_in_a_sentence(env_id: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        env_spec(env_id)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        pgfast.make_vec("CartPole-v1", 0, seed=0)
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0"):
        pgfast.make_vec("CartPole-v1", 1, seed=0, num_threads=0)


def vector(mode: AutoresetMode, **kwargs: object) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: CountingEnv(**kwargs)] * 2, autoreset_mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("truncate", [True, False])
def test_every_autoreset_mode_tells_the_same_story(mode: AutoresetMode, truncate: bool) -> None:
    stepper = Stepper(vector(mode, length=3, truncate=truncate))
    observations = stepper.reset([1, 2])
    played = []
    for _ in range(12):
        before = observations
        step = stepper.step(np.zeros(2, np.int64))
        observations = step.observations
        if step.played[0]:
            last = step.final_observations.get(0, step.observations[0])
            played.append((before[0][1], last[1], step.rewards[0], step.terminated[0], step.truncated[0]))
        else:
            assert not step.valid[0]
            assert step.scores[0] == 0
            assert not any(flags[0] for flags in (step.terminated, step.truncated, step.game_over))
    # Steps of whole episodes: observation before, observation after (the true last one), reward, flags.
    expected = [(float(t), float(t + 1), float(t + 1), t == 2 and not truncate, t == 2 and truncate) for t in (0, 1, 2)]
    assert played == (expected * 4)[: len(played)]
    assert len(played) == (9 if mode is AutoresetMode.NEXT_STEP else 12)


@pytest.mark.parametrize("key", ["reward", "observation"])
@pytest.mark.parametrize("mode", MODES)
def test_numbers_that_are_not_finite_are_named(key: str, mode: AutoresetMode) -> None:
    env = SyncVectorEnv([CountingEnv, lambda: BrokenEnv(key)], autoreset_mode=mode)
    stepper = Stepper(env)
    stepper.reset([0, 1])
    stepper.step(np.zeros(2, np.int64))
    with pytest.raises(FloatingPointError, match=f"{key} of environment 1 at step 2 is not finite"):
        stepper.step(np.zeros(2, np.int64))


def test_actions_start_where_the_space_starts() -> None:
    env = SyncVectorEnv([lambda: CountingEnv(start=5)])
    agent = pgfast.A2C(env, n_steps=4, hidden_sizes=(8,))
    agent.learn(8)
    assert {5, 6, 7} >= set(env.envs[0].actions)
    assert agent.predict(np.zeros(2, np.float32)) in (5, 6, 7)
