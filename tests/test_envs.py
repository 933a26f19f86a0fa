"""make_vec, seeds, and stepping in every autoreset mode."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

import pgfast
from counting_env import BrokenEnv, CountingEnv
from pgfast.envs.failures import EnvironmentFailure
from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.registration import env_spec
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.stepper import REPORTS, Stepper
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
def test_the_seed_determines_the_episodes(env_id: str) -> None:
    def first_observations(seed: int, generation: int = 0) -> np.ndarray:
        env = pgfast.make_vec(env_id, 3, seed=seed, generation=generation)
        observations = env.reset()[0]
        env.close()
        return observations

    np.testing.assert_array_equal(first_observations(5), first_observations(5))
    assert not np.array_equal(first_observations(5), first_observations(6))
    assert not np.array_equal(first_observations(5), first_observations(5, generation=1))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "pgfast/Point-v0", "BreakoutNoFrameskip-v4"])
def test_the_first_reset_of_make_vec_is_that_of_a_run(env_id: str) -> None:
    env = pgfast.make_vec(env_id, 3, seed=5)
    first, second = env.reset()[0], env.reset()[0]
    stepper = Stepper(EnvironmentSource(env_id).make(3, EnvironmentOptions()))
    np.testing.assert_array_equal(first, stepper.reset(environment_seeds(5, 3)))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, Stepper(env).reset(environment_seeds(5, 3)))
    env.close()
    stepper.env.close()
    seeded = pgfast.make_vec(env_id, 3, seed=6)
    np.testing.assert_array_equal(Stepper(seeded).reset(environment_seeds(5, 3)), first)
    assert not np.array_equal(seeded.reset()[0], first)
    seeded.close()


def test_a_source_leaves_the_first_reset_to_the_stepper() -> None:
    given = SyncVectorEnv([CountingEnv] * 2)
    for source in (EnvironmentSource(CountingEnv), EnvironmentSource(given)):
        source.spaces()
        env = source.make(2, EnvironmentOptions())
        assert isinstance(env, SyncVectorEnv)
        assert env.get_attr("episode") == (-1, -1)
        Stepper(env).reset([1, 2])
        assert env.get_attr("episode") == (0, 0)
        source.close(env)
    assert not given.closed


def test_a_factory_must_make_a_new_environment_each_time() -> None:
    one = CountingEnv()
    with pytest.raises(EnvironmentFailure, match=r"^environment 1 could not be made: the function must make a new"):
        EnvironmentSource(lambda: one).make(2, EnvironmentOptions())


def test_restarts_are_used_up() -> None:
    options = EnvironmentOptions(env_timeout=2.0, max_env_restarts=3)
    assert options.with_restarts_left(1) == EnvironmentOptions(env_timeout=2.0, max_env_restarts=2)
    assert options.with_restarts_left(5).max_env_restarts == 0


def test_neighboring_runs_share_no_environment_seed() -> None:
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
def test_transitions_are_the_same_in_every_autoreset_mode(mode: AutoresetMode, truncate: bool) -> None:
    stepper = Stepper(vector(mode, length=3, truncate=truncate))
    observations = stepper.reset([1, 2])
    transitions = []
    for _ in range(12):
        before = observations
        step = stepper.step(np.zeros(2, np.int64))
        observations = step.observations
        if step.stepped[0]:
            last = step.final_observations.get(0, step.observations[0])
            transitions.append((before[0][1], last[1], step.rewards[0], step.terminated[0], step.truncated[0]))
        else:
            assert not step.valid[0]
            assert step.raw_rewards[0] == 0
            assert not any(flags[0] for flags in (step.terminated, step.truncated, step.episode_over))
    # Steps of whole episodes: observation before, observation after (the true last one), reward, flags.
    expected = [(float(t), float(t + 1), float(t + 1), t == 2 and not truncate, t == 2 and truncate) for t in (0, 1, 2)]
    assert transitions == (expected * 4)[: len(transitions)]
    assert len(transitions) == (9 if mode is AutoresetMode.NEXT_STEP else 12)


@pytest.mark.parametrize("key", ["reward", "observation"])
@pytest.mark.parametrize("mode", MODES)
def test_numbers_that_are_not_finite_are_named(key: str, mode: AutoresetMode) -> None:
    env = SyncVectorEnv([CountingEnv, lambda: BrokenEnv(key)], autoreset_mode=mode)
    stepper = Stepper(env)
    stepper.reset([0, 1])
    stepper.step(np.zeros(2, np.int64))
    with pytest.raises(FloatingPointError, match=f"{key} of environment 1 at step 2 is not finite"):
        stepper.step(np.zeros(2, np.int64))


class TwoLives(VectorEnv):
    """Games of two lives of three steps; rewards are clipped, and the step after a lost life is not valid."""

    def __init__(self, *reports: str) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reports": reports}
        self.num_envs = 2
        self.single_observation_space = spaces.Box(0, 6, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.time = 0
        self.changes: dict[str, Any] = {}

    def _observe(self) -> np.ndarray:
        return np.full((2, 1), self.time, np.float32)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.time = 0
        return self._observe(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        reset = self.time == 6
        self.time = 0 if reset else self.time + 1
        infos = {
            "raw_reward": np.full(2, 0.0 if reset else 10.0),
            "valid": np.full(2, self.time != 4),
            "reset": np.full(2, reset),
            "game_over": np.full(2, self.time == 6),
        }
        lost = np.full(2, self.time in (3, 6))
        return self._observe(), np.full(2, float(not reset)), lost, np.zeros(2, np.bool_), {**infos, **self.changes}


def test_a_vector_environment_reports_what_it_declares() -> None:
    def run(*reports: str) -> dict[str, list[float]]:
        stepper = Stepper(TwoLives(*reports))
        stepper.reset([1, 2])
        steps = [stepper.step(np.zeros(2, np.int64)) for _ in range(7)]
        return {name: [float(getattr(step, name)[1]) for step in steps] for name in seen}

    seen = ("raw_rewards", "valid", "stepped", "terminated", "episode_over")
    assert run("raw_reward", "valid", "reset", "game_over") == {
        "raw_rewards": [10, 10, 10, 10, 10, 10, 0],
        "valid": [1, 1, 1, 0, 1, 1, 0],
        "stepped": [1, 1, 1, 1, 1, 1, 0],
        "terminated": [0, 0, 1, 0, 0, 1, 0],
        "episode_over": [0, 0, 0, 0, 0, 1, 0],
    }
    assert run() == {  # by default, a reset follows every end
        "raw_rewards": [1, 1, 1, 1, 1, 1, 0],
        "valid": [1, 1, 1, 0, 1, 1, 0],
        "stepped": [1, 1, 1, 0, 1, 1, 0],
        "terminated": [0, 0, 1, 0, 0, 1, 0],
        "episode_over": [0, 0, 1, 0, 0, 1, 0],
    }


def test_an_agent_uses_reports() -> None:
    rows: list[dict[str, Any]] = []
    env = TwoLives("raw_reward", "valid", "reset", "game_over")
    agent = pgfast.A2C(env, n_steps=7, hidden_sizes=(4,), report_every=14)
    agent.learn(42, callback=lambda _, row: rows.append(row))
    assert (rows[-1]["episodes"], rows[-1]["return_mean"], rows[-1]["length_mean"]) == (6, 60.0, 6.0)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"valid": np.ones(3, np.bool_)}, EnvironmentFailure, r"at step 1: valid has shape \(3,\), not \(2,\)"),
        (
            {"raw_reward": np.array([1.0, np.nan])},
            FloatingPointError,
            "raw reward of environment 1 at step 1 is not finite",
        ),
    ],
)
def test_reports_are_checked(change: dict[str, Any], error: type[Exception], text: str) -> None:
    env = TwoLives("raw_reward", "valid")
    env.changes = change
    stepper = Stepper(env)
    stepper.reset([1, 2])
    with pytest.raises(error, match=text):
        stepper.step(np.zeros(2, np.int64))


@pytest.mark.parametrize(("number", "name"), [(1, "rewards"), (2, "terminated"), (3, "truncated")])
def test_results_of_another_number_of_environments_are_named(number: int, name: str) -> None:
    class OneTooMany(TwoLives):
        def step(self, actions: np.ndarray) -> Any:
            results = list(super().step(actions))
            results[number] = np.append(results[number], results[number][:1])
            return tuple(results)

    stepper = Stepper(OneTooMany())
    stepper.reset([1, 2])
    with pytest.raises(EnvironmentFailure, match=rf"at step 1: {name} has shape \(3,\), not \(2,\)"):
        stepper.step(np.zeros(2, np.int64))


def test_a_missing_report_is_named() -> None:
    stepper = Stepper(TwoLives(*REPORTS))
    stepper.reset([1, 2])
    with pytest.raises(EnvironmentFailure, match="at step 1: it did not report restarted"):
        stepper.step(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"may name raw_reward, valid, reset, game_over, restarted, got \('lives',\)"):
        Stepper(TwoLives("lives"))


def test_actions_start_where_the_space_starts() -> None:
    env = SyncVectorEnv([lambda: CountingEnv(start=5)])
    agent = pgfast.A2C(env, n_steps=4, hidden_sizes=(8,))
    agent.learn(8)
    assert {5, 6, 7} >= set(env.envs[0].actions)
    assert agent.predict(np.zeros(2, np.float32)) in (5, 6, 7)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)  # its import fails
    text = r'^LunarLander-v3 needs a package that is missing: .*pip install "pgfast\[box2d\]"$'
    for make in (lambda: pgfast.make_vec("LunarLander-v3", 1, seed=0), lambda: pgfast.A2C("LunarLander-v3")):
        with pytest.raises(ImportError, match=text):
            make()
