"""A2C: its update, its rollouts, its settings, and equal results on any number of threads."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgfast
from counting_env import CountingEnv
from pgfast.agent import Agent
from pgfast.algos.advantages import normalize
from pgfast.metrics import Metrics
from pgfast.reduce import ALONE, Reduce
from pgfast.reference import categorical, losses, network
from pgfast.reference.returns import gae
from pgfast.sampling.rollout import Rollout

SMALL = {"num_envs": 4, "n_steps": 5, "hidden_sizes": (16,), "preset": None}


def test_an_update_matches_the_float64_reference() -> None:
    """Covers forward pass, advantages, losses, gradient, clipping and Adam."""
    agent = pgfast.A2C("CartPole-v1", seed=1, optimizer="adam", gae_lambda=0.9, **SMALL)
    before = agent.policy.parameters.copy()
    captured: dict[str, np.ndarray] = {}

    original = agent.learner.update

    def update(rollout: Rollout, reduce: Reduce) -> Metrics:
        for name in ("observations", "actions", "rewards", "terminated", "truncated", "valid"):
            captured[name] = getattr(rollout, name).copy()
        return original(rollout, reduce)

    agent.learner.update = update  # type: ignore[method-assign]
    agent.learn(20)

    c, parameters = captured, before.astype(np.float64)
    layers = [("dense", 16, 0, 1, "tanh"), ("dense", 3, 0, 1, "identity")]
    outputs = network.forward(layers, parameters, c["observations"].reshape(24, 4))
    values = outputs[:, 2].reshape(6, 4)
    advantages, returns = gae(c["rewards"], values[:-1], values[1:], c["terminated"], c["truncated"], 0.99, 0.9)
    logits, actions = outputs[:20, :2], c["actions"].reshape(-1)
    _, (dlog_prob, dentropy, dvalues) = losses.a2c_gradient(
        categorical.log_prob(logits, actions),
        advantages.reshape(-1),
        categorical.entropy(logits),
        returns.reshape(-1),
        values[:-1].reshape(-1),
        0.01,
        0.5,
        c["valid"].reshape(-1),
    )
    dlogits = categorical.gradient(logits, actions, dlog_prob, dentropy)
    doutputs = np.column_stack([dlogits, dvalues])
    gradient = network.vjp(layers, parameters, c["observations"][:5].reshape(20, 4), doutputs)
    gradient *= min(1.0, 0.5 / np.linalg.norm(gradient))
    expected = before - 1e-3 * gradient / (np.abs(gradient) + 1e-5)  # Adam's first step
    np.testing.assert_allclose(agent.policy.parameters, expected, atol=2e-5)
    assert np.abs(agent.policy.parameters - before).max() > 5e-4


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_a_truncated_episode_is_bootstrapped_from_its_last_observation(mode: AutoresetMode) -> None:
    env = SyncVectorEnv([lambda: CountingEnv(length=3)] * 2, autoreset_mode=mode)
    agent = pgfast.A2C(env, n_steps=7, hidden_sizes=(8,))
    agent.learn(14)
    rollout = agent.sampler.rollout
    cut = np.flatnonzero(rollout.truncated[:, 0])
    assert cut.tolist() == ([2, 6] if mode is AutoresetMode.NEXT_STEP else [2, 5])
    fresh = pgfast.A2C(env, n_steps=7, hidden_sizes=(8,))  # the same seed, so the parameters that collected the rollout
    episode = np.float32(rollout.observations[cut[0], 0, 0])
    last = fresh.policy.values(np.array([[episode, 3.0]], np.float32))[0]
    next_values = rollout.next_values(fresh.value_function.of_rollout(rollout), fresh.value_function.values_at)
    np.testing.assert_array_equal(next_values[cut[0], 0], last)


def test_reset_rows_are_not_valid() -> None:
    env = SyncVectorEnv([lambda: CountingEnv(length=3)] * 2)
    agent = pgfast.A2C(env, n_steps=8, hidden_sizes=(8,))
    agent.learn(16)
    np.testing.assert_array_equal(agent.sampler.rollout.valid[:, 0], [True, True, True, False] * 2)
    assert agent.sampler.statistics.row()["return_mean"] == 6.0
    assert agent.sampler.statistics.row()["length_mean"] == 3.0


def trained_parameters(env_id: str, threads: int, timesteps: int, **settings: object) -> np.ndarray:
    pgfast.set_num_threads(threads)
    agent: Agent = pgfast.A2C(env_id, seed=7, **settings)  # type: ignore[arg-type]
    agent.learn(timesteps)
    agent.close()
    return agent.policy.parameters


def test_200_updates_on_cartpole_do_not_depend_on_thread_count(num_threads) -> None:
    first = trained_parameters("CartPole-v1", 1, 200 * 320)
    for threads in (2, 3):
        np.testing.assert_array_equal(first, trained_parameters("CartPole-v1", threads, 200 * 320))


@pytest.mark.slow
def test_200_updates_on_breakout_do_not_depend_on_thread_count(num_threads) -> None:
    first, second = (trained_parameters("BreakoutNoFrameskip-v4", threads, 200 * 80, n_steps=5) for threads in (1, 2))
    np.testing.assert_array_equal(first, second)


def test_6_updates_on_breakout_do_not_depend_on_thread_count(num_threads) -> None:
    first, second = (
        trained_parameters("BreakoutNoFrameskip-v4", threads, 6 * 40, num_envs=8, n_steps=5) for threads in (1, 2)
    )
    np.testing.assert_array_equal(first, second)


def test_a_linear_schedule_reaches_zero(capsys: pytest.CaptureFixture[str]) -> None:
    agent = pgfast.A2C("CartPole-v1", optimizer="sgd", learning_rate_schedule="linear", schedule_timesteps=40, **SMALL)
    agent.learn(40, progress_bar=True)
    assert agent.optimizer.learning_rate == pytest.approx(1e-3 / 2)
    assert "learning rate" not in capsys.readouterr().out
    before = agent.policy.parameters.copy()
    agent.learn(40, progress_bar=True)
    assert "the learning rate is 0 from 40 timesteps on" in capsys.readouterr().out
    np.testing.assert_array_equal(agent.policy.parameters, before)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_a_huge_learning_rate_never_writes_a_nan(optimizer: str) -> None:
    agent = pgfast.A2C("CartPole-v1", optimizer=optimizer, learning_rate=1e30, **SMALL)
    with pytest.raises((FloatingPointError, ValueError), match="finite"):
        agent.learn(20_000)
    assert np.isfinite(agent.policy.parameters).all()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"lerning_rate": 1e-3}, TypeError, "no setting lerning_rate; did you mean learning_rate"),
        ({"num_envs": 0}, ValueError, r"num_envs must be an int in \[1, 2\^16\], got 0"),
        ({"discount": 1.5}, ValueError, r"discount must be a float in \[0, 1\], got 1.5"),
        ({"learning_rate_schedule": "linear"}, ValueError, "needs schedule_timesteps"),
        ({"network": "origin_cnn"}, ValueError, "network origin_cnn needs an image, a Box with three axes"),
        ({"preset": "fast"}, ValueError, 'no preset "fast" of a2c for CartPole-v1; available: default'),
        ({"hidden_sizes": (0,)}, ValueError, "hidden_sizes must be a tuple, each entry an int of at least 1"),
        ({"optimizer": "RMSprop"}, ValueError, 'optimizer must be one of "sgd", "adam", "rmsprop", got \'RMSprop\''),
        ({"network": "orign_cnn"}, ValueError, "network must be one of"),
    ],
)
def test_wrong_settings_are_explained(settings: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        pgfast.A2C("CartPole-v1", **settings)


def test_unsupported_environments_are_refused() -> None:
    with pytest.raises(TypeError, match="pass a function that makes one"):
        pgfast.A2C(CountingEnv())
    with pytest.raises(TypeError, match="env must be an environment id"):
        pgfast.A2C(3)  # type: ignore[arg-type]


def test_learn_takes_an_environment_factory_and_stops_if_the_callback_returns_false() -> None:
    agent = pgfast.A2C(CountingEnv, **{**SMALL, "report_every": 40})
    rows = []
    agent.learn(1000, callback=lambda _, row: rows.append(row) or np.bool_(len(rows) < 3))
    assert [row["timesteps"] for row in rows] == [40, 80, 120]
    assert rows[-1]["return_mean"] == 6.0
    assert agent.timesteps == 120


def test_advantages_are_normalized_and_a_constant_batch_becomes_zero() -> None:
    valid = np.ones(320, bool)
    valid[:3] = False
    advantages = np.full(320, 0.1, np.float32)
    np.testing.assert_array_equal(normalize(advantages, valid, ALONE), 0)
    advantages[3:] = np.random.default_rng(0).standard_normal(317)
    normalized = normalize(advantages, valid, ALONE)[valid]
    assert normalized.dtype == np.float32
    assert normalized.mean() == pytest.approx(0, abs=1e-6)
    assert normalized.std() == pytest.approx(1, abs=1e-6)


def test_an_environment_with_other_spaces_is_refused(tmp_path: Path) -> None:
    pgfast.A2C("CartPole-v1", **SMALL).save(tmp_path / "m.safetensors")
    agent = pgfast.load(tmp_path / "m.safetensors", env=CountingEnv)
    with pytest.raises(ValueError, match="learn: the environment has observations"):
        agent.learn(20)
    with pytest.raises(ValueError, match="evaluate: the environment has observations"):
        agent.evaluate(1)
    two = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    with pytest.raises(ValueError, match="num_envs is 4, the vector environment has 2"):
        pgfast.load(tmp_path / "m.safetensors", env=two).learn(20)


def test_after_an_error_the_next_call_starts_new_episodes() -> None:
    class Failing(CountingEnv):
        fail = True

        def step(self, action: int):
            if Failing.fail and self.time == 2:
                raise RuntimeError("broken")
            return super().step(action)

    agent = pgfast.A2C(Failing, num_envs=2, n_steps=4, hidden_sizes=(4,))
    with pytest.raises(RuntimeError, match="broken"):
        agent.learn(16)
    Failing.fail = False
    agent.learn(16)
    assert agent.timesteps == 16
    assert set(agent.sampler.statistics.returns) == {6.0}


def test_predict_returns_actions_and_checks_observations() -> None:
    agent = pgfast.A2C("CartPole-v1", **SMALL)
    one = agent.predict(np.zeros(4))
    assert one.dtype == np.int64
    assert one.shape == ()
    assert agent.predict(np.zeros((3, 4)), deterministic=True).shape == (3,)
    with pytest.raises(ValueError, match=r"predict: obs must have shape \(4,\)"):
        agent.predict(np.zeros(5))
    with pytest.raises(ValueError, match="finite"):
        agent.predict(np.full(4, np.nan))


def test_evaluate_is_determined_by_its_seed() -> None:
    agent = pgfast.A2C("CartPole-v1", **SMALL)
    first, second = agent.evaluate(7, seed=3), agent.evaluate(7, seed=3)
    np.testing.assert_array_equal(first.returns, second.returns)
    assert len(first.returns) == 7
    assert first.return_mean == first.returns.mean()
    assert not np.array_equal(first.returns, agent.evaluate(7, seed=4).returns)
    with pytest.raises(ValueError, match="episodes must be an int of at least 1"):
        agent.evaluate(0)
