"""EnvPool's environments: seeds, episode ends, physics, refusals, and training in them."""

from __future__ import annotations

import gc
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import pgfast
from pgfast import A2C, PPO, TRPO
from pgfast.envs.stepper import Stepper
from pgfast.state import flatten
from states import assert_equal_states

CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]
MUJOCO = ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Swimmer-v5"]


@pytest.fixture
def envpool() -> Any:
    return pytest.importorskip("envpool")


def actions_of(space: spaces.Space[Any], rng: np.random.Generator, count: int) -> Any:
    if isinstance(space, spaces.Discrete):
        return rng.integers(0, space.n, count)
    assert isinstance(space, spaces.Box)
    return rng.uniform(space.low, space.high, (count, *space.shape)).astype(np.float32)


def play(env_id: str, seed: Any, *, num_threads: int = 2, steps: int = 60) -> list[Any]:
    """Returns all arrays of random steps in as many environments as there are seeds."""
    env = pgfast.make_vec(env_id, len(seed), seed=0, num_threads=num_threads, vectorization="envpool")
    rng = np.random.default_rng(0)
    arrays = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        arrays += env.step(actions_of(env.single_action_space, rng, len(seed)))[:4]
    env.close()
    return arrays


@pytest.mark.usefixtures("envpool")
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Hopper-v5"])
def test_equal_seeds_are_equal_episodes_on_any_number_of_threads(env_id: str) -> None:
    seeds = [2**31 - 1, 7, 7]
    arrays = play(env_id, seeds)
    assert all(map(np.array_equal, arrays, play(env_id, seeds, num_threads=1)))
    other = play(env_id, [5, 7, 8])
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(arrays, other, strict=True))  # the seed is that of one alone
    assert not np.array_equal(arrays[0][0], other[0][0])


@pytest.mark.usefixtures("envpool")
def test_make_vec_hashes_a_seed_for_every_environment() -> None:
    def first(seed: int) -> Any:
        env = pgfast.make_vec("Pendulum-v1", 4, seed=seed, vectorization="envpool")
        observations, _ = env.reset()
        again, _ = env.reset()  # continues the random numbers
        env.close()
        assert not np.array_equal(observations, again)
        return observations

    assert np.array_equal(first(0), first(0))
    assert len(np.unique(np.concatenate([first(0), first(1)])[:, 0])) == 8


@pytest.mark.usefixtures("envpool")
@pytest.mark.parametrize("env_id", [*CLASSIC, *MUJOCO])
def test_spaces_are_those_of_gymnasium(env_id: str) -> None:
    pool = pgfast.make_vec(env_id, 2, seed=0, vectorization="envpool")
    env = pgfast.make_vec(env_id, 2, seed=0, vectorization="sync")
    assert pool.single_observation_space == env.single_observation_space
    assert pool.single_action_space == env.single_action_space
    assert pool.action_space == env.action_space
    observations, _ = pool.reset()
    assert pool.observation_space.contains(observations)
    env.close()
    pool.close()


@pytest.mark.usefixtures("envpool")
def test_the_row_after_a_termination_only_resets() -> None:
    env = pgfast.make_vec("CartPole-v1", 2, seed=0, vectorization="envpool")
    stepper = Stepper(env)
    stepper.reset([0, 1])
    push = np.zeros(2, np.int64)  # always to the left: the pole falls within a dozen steps
    steps = [stepper.step(push) for _ in range(24)]
    for i in range(2):
        end = next(t for t, step in enumerate(steps) if step.terminated[i])
        assert abs(steps[end].observations[i, 2]) > 0.2  # the true last observation: the pole has fallen
        assert steps[end].rewards[i] == 1
        assert steps[end].episode_over[i]
        assert not steps[end].truncated[i]
        after = steps[end + 1]
        assert not after.valid[i]
        assert not after.stepped[i]
        assert after.rewards[i] == 0
        assert np.abs(after.observations[i]).max() <= 0.05  # the first observation of an episode
        assert steps[end + 2].valid[i]
    env.close()


@pytest.mark.usefixtures("envpool")
@pytest.mark.parametrize("limit", [200, 30])
def test_an_episode_is_truncated_at_its_limit(limit: int) -> None:
    kwargs = {} if limit == 200 else {"max_episode_steps": limit}
    env = pgfast.make_vec("Pendulum-v1", 1, seed=0, vectorization="envpool", env_kwargs=kwargs)
    env.reset()
    flags = [env.step(np.zeros((1, 1), np.float32))[2:4] for _ in range(2 * limit + 2)]
    assert [t for t, (_, truncated) in enumerate(flags) if truncated[0]] == [limit - 1, 2 * limit]
    assert not any(terminated[0] for terminated, _ in flags)
    env.close()


def put_into_state(env: Any, observation: Any) -> None:
    """Puts an environment of Gymnasium into the state that an observation shows."""
    task = env.unwrapped
    name = env.spec.name
    if name == "CartPole":
        task.state = np.array(observation, np.float64)
        task.steps_beyond_terminated = None
    elif name == "Acrobot":
        cos1, sin1, cos2, sin2, *speeds = map(float, observation)
        task.state = np.array([np.arctan2(sin1, cos1), np.arctan2(sin2, cos2), *speeds])
    elif name == "Pendulum":
        task.state = np.array([np.arctan2(observation[1], observation[0]), observation[2]], np.float64)
    elif name.startswith("MountainCar"):
        task.state = np.array(observation, np.float64)
    else:
        count = task.model.nq + task.model.nv
        hidden = count - (27 if name == "Ant" else len(observation))  # the position, which nothing depends on
        state = np.concatenate([np.zeros(hidden), observation[: count - hidden]])
        task.set_state(state[: task.model.nq], state[task.model.nq :])


@pytest.mark.usefixtures("envpool")
@pytest.mark.parametrize("env_id", [*CLASSIC, *MUJOCO])
def test_the_physics_is_that_of_gymnasium(env_id: str) -> None:
    """Two steps of EnvPool are repeated in Gymnasium's environment, from the state that the observation shows.

    The second is compared: the reward of some tasks depends on positions that MuJoCo updates a step later, and its
    solver of contacts starts from what it found a step before.
    """
    pool = pgfast.make_vec(env_id, 4, seed=3, vectorization="envpool")
    env = gymnasium.make(env_id)
    assert env.spec is not None
    tolerance = 1e-3 if env_id == "Ant-v5" else 1e-4
    clips_speeds = env.spec.name in ("Hopper", "Walker2d")  # to [-10, 10]
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    compared = 0
    for _ in range(20):
        start = np.array(pool.reset()[0])
        for _ in range(3):
            actions = [actions_of(env.action_space, rng, 4) for _ in range(2)]
            _, _, over, _, _ = pool.step(actions[0])
            observations, rewards, terminated, truncated, _ = pool.step(actions[1])
            over = over | terminated | truncated
            for i in np.flatnonzero(~over):
                if clips_speeds and np.abs(start[i]).max() >= 10:
                    continue
                put_into_state(env, start[i])
                env.step(actions[0][i])
                observation, reward, ended, _, _ = env.step(actions[1][i])
                np.testing.assert_allclose(observations[i], observation, rtol=tolerance, atol=tolerance)
                assert rewards[i] == pytest.approx(float(reward), rel=tolerance, abs=tolerance)
                assert not ended
                compared += 1
            if over.any():
                break
            start = np.array(observations)
    assert compared > 100
    env.close()
    pool.close()


@pytest.mark.usefixtures("envpool")
def test_agents_train_evaluate_and_resume_in_it(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_envs": 4, "n_steps": 32, "sync_every": 256, "vectorization": "envpool"}

    def make() -> PPO:
        return PPO("Pendulum-v1", preset=None, num_epochs=2, minibatch_size=64, **settings)

    whole = make().learn(768)
    assert whole.evaluate(3).lengths.tolist() == [200, 200, 200]
    make().learn(256, run_dir=tmp_path / "run")
    resumed = pgfast.resume(tmp_path / "run")
    resumed.learn(512)
    assert_equal_states(flatten(whole.learner.state()), flatten(resumed.learner.state()))


@pytest.mark.usefixtures("envpool")
def test_an_end_at_the_time_limit_is_a_truncation() -> None:
    """In Gymnasium it is both. EnvPool does not say which of the two it was."""
    push = np.zeros(1, np.int64)
    env = pgfast.make_vec("CartPole-v1", 1, seed=0, vectorization="envpool")
    env.reset(seed=[3])
    length = next(t for t in range(1, 50) if env.step(push)[2][0])
    env = pgfast.make_vec("CartPole-v1", 1, seed=0, vectorization="envpool", env_kwargs={"max_episode_steps": length})
    env.reset(seed=[3])
    steps = [env.step(push) for _ in range(length)]
    assert not any(terminated[0] for _, _, terminated, _, _ in steps)
    assert [bool(truncated[0]) for _, _, _, truncated, _ in steps] == [False] * (length - 1) + [True]


@pytest.mark.usefixtures("envpool")
def test_other_environments_evaluate_an_agent_that_learned_in_it(tmp_path: Path) -> None:
    agent = PPO("Pendulum-v1", preset=None, num_envs=2, n_steps=64, minibatch_size=None, vectorization="envpool")
    agent.learn(128).save(tmp_path / "model.safetensors")
    others: list[Any] = [
        lambda: gymnasium.make("Pendulum-v1"),
        gymnasium.make_vec("Pendulum-v1", 2),
        "Pendulum-v1",
    ]
    for other in others:
        assert agent.evaluate(2, env=other).lengths.tolist() == [200, 200]
        loaded = pgfast.load(tmp_path / "model.safetensors", env=other)
        assert loaded.evaluate(2).lengths.tolist() == [200, 200]
    loaded.learn(128)


@pytest.mark.usefixtures("envpool")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_forked_process_leaves_the_pools_to_its_parent() -> None:
    env: Any = pgfast.make_vec("CartPole-v1", 4, seed=0, vectorization="envpool")
    env.reset()
    step = env.step
    env.cycle = env  # left to the garbage collector
    process = multiprocessing.get_context("fork").Process(target=forget, args=([env],))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert step(np.zeros(4, np.int64))[0].shape == (4, 4)


def forget(kept: list[Any]) -> None:
    kept[0].__dict__.clear()
    kept.clear()
    gc.collect()


@pytest.mark.usefixtures("envpool")
def test_an_agent_that_learned_in_it_learns_in_gymnasium_too(tmp_path: Path) -> None:
    agent = TRPO("HalfCheetah-v5", preset=None, num_envs=2, n_steps=64, vectorization="envpool").learn(128)
    agent.save(tmp_path / "model.safetensors")
    warm = TRPO("HalfCheetah-v5", preset=None, num_envs=2, n_steps=64, init_from=tmp_path / "model.safetensors")
    assert np.array_equal(warm.policy.parameters, agent.policy.parameters)
    warm.learn(128)


@pytest.mark.usefixtures("envpool")
@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("LunarLander-v3", {}, 'vectorization="envpool" is for the classic-control and MuJoCo tasks of Gymnasium; '),
        ("BreakoutNoFrameskip-v4", {}, 'runs on its native vector environment; vectorization must be "auto"'),
        (
            "CartPole-v1",
            {"env_kwargs": {"sutton_barto_reward": True}},
            "EnvPool's CartPole-v1 takes the env_kwargs ",
        ),
        ("CartPole-v1", {"env_kwargs": {"num_threads": 3}}, "EnvPool's CartPole-v1 takes the env_kwargs "),
        ("HalfCheetah-v5", {"env_kwargs": {"frame_stack": 2}}, "EnvPool's HalfCheetah-v5 takes the env_kwargs max_ep"),
        (
            "HalfCheetah-v5",
            {"env_kwargs": {"frame_skip": "x"}},
            "EnvPool's HalfCheetah-v5 does not take ",
        ),
        ("CartPole-v1", {"wrappers": [lambda env: env]}, 'vectorization="envpool" takes no wrappers'),
    ],
)
def test_what_it_cannot_do_is_refused(env_id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pgfast.make_vec(env_id, 2, seed=0, vectorization="envpool", **options)


@pytest.mark.usefixtures("envpool")
def test_an_id_that_envpool_lacks_is_refused() -> None:
    entry = "gymnasium.envs.classic_control.pendulum:PendulumEnv"
    wrappers = (gymnasium.wrappers.TimeAwareObservation.wrapper_spec(),)
    gymnasium.register("Pendulum-v7", entry, max_episode_steps=200)
    gymnasium.register("Pendulum-v8", entry, max_episode_steps=200, additional_wrappers=wrappers)
    try:
        with pytest.raises(ValueError, match=r'^EnvPool \S+ has no Pendulum-v7; take vectorization="sync" or "async"$'):
            A2C("Pendulum-v7", vectorization="envpool")
        with pytest.raises(ValueError, match=r"^Pendulum-v8 is registered with wrappers"):
            A2C("Pendulum-v8", vectorization="envpool")
    finally:
        del gymnasium.registry["Pendulum-v7"], gymnasium.registry["Pendulum-v8"]


@pytest.mark.usefixtures("envpool")
def test_seeds_of_another_number_are_refused() -> None:
    env = pgfast.make_vec("CartPole-v1", 2, seed=0, vectorization="envpool")
    with pytest.raises(ValueError, match="seed must have 2 numbers, got 3"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="options are not supported"):
        env.reset(seed=[1, 2], options={"low": 1})


def test_without_envpool_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match=r'^vectorization="envpool" needs EnvPool: pip install "pgfast\[envpool\]"$'):
        A2C("CartPole-v1", vectorization="envpool")


def test_environments_without_an_id_are_refused() -> None:
    with pytest.raises(ValueError, match=r'^vectorization="envpool" is for environment ids$'):
        A2C(lambda: gymnasium.make("CartPole-v1"), vectorization="envpool")
