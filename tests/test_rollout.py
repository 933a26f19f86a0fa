"""The contents of a rollout: whole episodes, time since the reset, normalized observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgfast
from counting_env import CountingEnv
from pgfast._native import core
from pgfast.agent import Agent
from pgfast.envs.failures import EnvironmentFailure
from pgfast.sampling.rollout import Rollout


def vector(*lengths: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP, truncate: bool = True) -> SyncVectorEnv:
    make = [lambda length=length: CountingEnv(length=length, truncate=truncate) for length in lengths]
    return SyncVectorEnv(make, autoreset_mode=mode)


def collected(env: SyncVectorEnv, n_steps: int, updates: int = 1, **settings: object) -> tuple[pgfast.VPG, Rollout]:
    settings = {"n_steps": n_steps, "hidden_sizes": (), "baseline": "zero", "preset": None} | settings
    agent = pgfast.VPG(env, **settings)  # type: ignore[arg-type]
    rows: list[int] = []
    agent.learn(10**9, callback=lambda agent, _: rows.append(agent.updates) or len(rows) < updates)
    return agent, agent.sampler.rollout


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_whole_episodes_fill_the_batch_and_end(mode: AutoresetMode) -> None:
    agent, rollout = collected(vector(3, 3, mode=mode), n_steps=5, report_every=1)
    if mode is AutoresetMode.NEXT_STEP:  # rows 0 to 2, a reset, rows 4 to 6: the batch of 10 is full in row 5
        assert rollout.valid[:, 0].tolist() == [True, True, True, False, True, True, True]
        assert rollout.time[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    else:
        assert rollout.valid.all()
        assert rollout.time[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert rollout.truncated[-1].all()
    assert agent.timesteps == rollout.rows == rollout.valid.size
    assert agent.sampler.statistics.row()["return_mean"] == 6.0


def test_an_environment_that_has_stopped_is_left_out() -> None:
    # The batch of 6 is full in row 2, in which environment 0 ends an episode; environment 1 runs to the end of its own.
    agent, rollout = collected(vector(3, 7), n_steps=3, report_every=1)
    assert rollout.valid[:, 0].tolist() == [True] * 3 + [False] * 4
    assert rollout.valid[:, 1].tolist() == [True] * 7
    assert not (rollout.terminated | rollout.truncated)[3:, 0].any()
    assert sorted(agent.sampler.statistics.returns) == [6.0, 28.0]
    assert agent.sampler.statistics.row()["episodes"] == 2


def test_an_environment_that_is_being_reset_has_no_open_episode() -> None:
    # Valid rows after each step: 2, 3, 5, 6. Row 3, which fills the batch, resets environment 0, which then stops.
    _, rollout = collected(vector(1, 7), n_steps=3, report_every=1)
    assert rollout.valid[:, 0].tolist() == [True, False, True, False, False, False, False]
    assert rollout.valid[:, 1].all()


def test_every_rollout_starts_anew() -> None:
    agent, rollout = collected(vector(3, 5), n_steps=3, updates=3, report_every=1)
    assert agent.updates == 3
    assert rollout.time[0].tolist() == [0, 0]
    assert rollout.observations[0, :, 1].tolist() == [0.0, 0.0]
    assert agent.sampler.statistics.episodes_cut == 0


@pytest.mark.parametrize("whole", [True, False])
def test_the_time_limit_counts_as_an_end_only_in_whole_episodes(whole: bool) -> None:
    """Here the baseline predicts 100 after an episode that the time limit cuts off."""
    agent = pgfast.VPG(
        vector(3, 3), n_steps=3, baseline="linear", whole_episodes=whole, gae_lambda=1.0, discount=0.5, hidden_sizes=()
    )
    values = agent.value_function
    values.values = lambda observations, time: np.full(len(time), 100.0, np.float32)  # type: ignore[method-assign]
    batches = []
    values.fit = lambda batch, reduce: batches.append(batch)  # type: ignore[method-assign]
    agent.learn(6)
    after = 0.0 if whole else 0.5 * 100.0
    last = 3.0 + after
    np.testing.assert_allclose(batches[0].returns, np.repeat([1 + 0.5 * (2 + 0.5 * last), 2 + 0.5 * last, last], 2))


def test_time_runs_through_rollouts_of_fixed_length() -> None:
    env = vector(7, mode=AutoresetMode.SAME_STEP)
    agent = pgfast.VPG(env, n_steps=5, baseline="linear", hidden_sizes=())
    times = []
    original = agent.learner.update
    agent.learner.update = lambda rollout, reduce: (  # type: ignore[method-assign]
        times.append(rollout.time[:, 0].tolist()) or original(rollout, reduce)  # type: ignore[func-returns-value]
    )
    agent.learn(15)
    assert times == [[0, 1, 2, 3, 4, 5], [5, 6, 0, 1, 2, 3], [3, 4, 5, 6, 0, 1]]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_the_value_after_a_cut_is_that_of_the_time_reached(mode: AutoresetMode) -> None:
    agent = pgfast.VPG(vector(3, mode=mode), n_steps=12, baseline="linear", hidden_sizes=())
    values = agent.value_function
    values.values = lambda observations, time: 100.0 * time.astype(np.float32)  # type: ignore[method-assign]
    agent.learn(12)
    rollout = agent.sampler.rollout
    ends = rollout.truncated[:, 0]
    assert ends.sum() >= 3
    following = rollout.next_values(values.of_rollout(rollout), values.values_at)
    assert following[ends, 0].tolist() == [300.0] * ends.sum()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_last_observations_are_normalized_as_all_others(mode: AutoresetMode) -> None:
    agent = pgfast.VPG(
        vector(3, mode=mode), n_steps=7, hidden_sizes=(), normalize_observations=True, whole_episodes=False
    )
    agent.learn(7)
    normalizers = agent.learner.normalizers
    rollout = agent.sampler.collect(7, 1)
    assert [t for t, _, _ in rollout.final_observations] == [1, 4]
    for t, n, last in rollout.final_observations:
        raw = np.array([[rollout.raw_observations[t, n, 0], 3.0]], np.float32)
        np.testing.assert_array_equal(last, normalizers.normalize_observations(raw)[0])
        assert last[1] != 3.0


def test_keys_of_infos_are_ignored_unless_declared() -> None:
    class Reporting(CountingEnv):
        def step(self, action: int):
            *step, _ = super().step(action)
            return (*step, {"raw_reward": 10.0 * self.time, "valid": False, "reset": True, "game_over": False})

    agent = pgfast.VPG(Reporting, n_steps=6, num_envs=2, hidden_sizes=(), preset=None)
    agent.learn(12)
    assert agent.sampler.statistics.row()["return_mean"] == 6.0
    assert agent.sampler.rollout.valid[:3].all()


def test_an_episode_that_does_not_end_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgfast.sampling.collector._MOST_EPISODE_STEPS", 500)
    agent = pgfast.VPG(lambda: CountingEnv(length=10**9), num_envs=2, n_steps=5, baseline="zero", hidden_sizes=())
    with pytest.raises(RuntimeError, match=r"did not end its episode within 500 steps; .*whole_episodes=False"):
        agent.learn(10)


def test_whole_episodes_of_atari_are_whole_games() -> None:
    agent = pgfast.VPG(
        "BreakoutNoFrameskip-v4", network="origin_cnn", num_envs=2, n_steps=2, baseline="zero", preset=None
    )
    agent.learn(2)
    assert agent.sampler.statistics.row()["episodes"] == 2
    assert agent.sampler.rollout.terminated.sum(axis=0).tolist() == [5, 5]  # lives
    agent.close()


def test_the_same_environment_twice_is_refused() -> None:
    only = CountingEnv()
    with pytest.raises(EnvironmentFailure, match="must make a new environment each time"):
        pgfast.VPG(lambda: only, num_envs=2, hidden_sizes=()).learn(4)


@pytest.mark.parametrize("key", ["observation", "reward"])
def test_numbers_beyond_float32_are_named_where_they_enter(key: str) -> None:
    class Far(CountingEnv):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

        def step(self, action: int):
            observation, reward, *rest = super().step(action)
            far = 1e39 if self.time == 2 else 1.0
            observation = observation.astype(np.float64) * (far if key == "observation" else 1.0)
            return (observation, reward * (far if key == "reward" else 1.0), *rest)

    agent = pgfast.VPG(Far, num_envs=2, n_steps=5, normalize_observations=True, normalize_rewards=True)
    with pytest.raises(FloatingPointError, match=rf"{key} of environment 0 at step 2 is not finite in float32"):
        agent.learn(10)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "number", [np.nan, np.inf, -np.inf, 1e39, -LARGEST * (1 + 2**-24), LARGEST * (1 + 2**-26), 1.0]
)
def test_a_number_is_finite_if_its_rounding_to_float32_is(dtype: type[np.floating[Any]], number: float) -> None:
    values = np.zeros((4, 6), dtype)
    with np.errstate(over="ignore"):
        values[2, 4] = number
        is_finite = np.isfinite(values[2, 4].astype(np.float32))
    assert core.first_not_finite(values) == (-1 if is_finite else 2 * 6 + 4)
    assert core.first_not_finite(values[:, ::2]) == (-1 if is_finite else 2 * 3 + 2)
    assert core.first_not_finite(values[:2]) == core.first_not_finite(values[:0]) == -1


def test_whole_episodes_do_not_depend_on_earlier_ones() -> None:
    first = pgfast.VPG("CartPole-v1", preset=None, num_envs=3, n_steps=10, baseline="time", learning_rate=0.0)
    second = pgfast.VPG("CartPole-v1", preset=None, num_envs=3, n_steps=10, baseline="time", learning_rate=0.0)
    first.learn(60)
    second.learn(30)
    second.evaluate(2)
    while second.updates < first.updates:
        second.learn(1)
    np.testing.assert_array_equal(first.sampler.rollout.observations, second.sampler.rollout.observations)


def test_rollouts_keep_normalized_and_raw_observations() -> None:
    agent = pgfast.VPG(
        vector(5, 4), n_steps=4, baseline="mlp", hidden_sizes=(4,), normalize_observations=True, whole_episodes=False
    )
    agent.learn(8)
    rollout = agent.sampler.rollout
    np.testing.assert_array_equal(rollout.observations, rollout.raw_observations)  # no statistics yet
    moments = agent.learner.normalizers.statistics.observations[""]
    np.testing.assert_allclose(moments.mean, rollout.raw_observations[:-1][rollout.valid].mean(axis=0))
    last = rollout.raw_observations[-1].copy()
    agent.learn(8)
    np.testing.assert_array_equal(rollout.raw_observations[0], last)
    expected = (last - moments.mean) / np.sqrt(moments.variance + 1e-8)
    np.testing.assert_allclose(rollout.observations[0], expected, rtol=1e-5, atol=1e-5)
    count = agent.learner.normalizers.statistics.observations[""].count
    assert count == 8 + np.count_nonzero(rollout.valid) < 16  # the rows that only reset are left out


@pytest.mark.parametrize("algorithm", [pgfast.A2C, pgfast.VPG])
def test_rollouts_keep_the_log_probabilities_and_values_of_the_acting_policy(algorithm: type[Agent]) -> None:
    agent = algorithm(vector(5, 4), n_steps=7, hidden_sizes=(4,))
    agent.start_environments()
    rollout, policy = agent.sampler.collect(0, 0), agent.policy
    for t in range(7):
        expected = policy.distribution(rollout.observations[t]).log_prob(rollout.actions[t])
        np.testing.assert_allclose(rollout.log_prob[t], expected, rtol=1e-6)
    assert (rollout.values is None) == (algorithm is pgfast.VPG)
    if rollout.values is not None:
        for t in range(8):
            np.testing.assert_allclose(rollout.values[t], policy.values(rollout.observations[t]), rtol=1e-6, atol=1e-7)
