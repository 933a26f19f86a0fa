"""ACKTR: its update, what its factors are measured on, its bounds, and its state."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest

import pgfast
from pgfast import losses, nn, optim
from pgfast.algos.acktr import adapted, critic_samples
from pgfast.learning.learner import Learner
from pgfast.losses import RowGradients
from pgfast.metrics import Metrics
from pgfast.reduce import ALONE, Reduce
from pgfast.reference import kfac as reference
from pgfast.sampling.batch import Batch
from pgfast.sampling.rollout import Rollout
from rollouts import of_environments, random_rollout
from two_workers import run_workers

SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 5, "hidden_sizes": (16,), "preset": None, "seed": 1}


def batch_of(rollout: Rollout) -> Batch:
    zero = np.zeros_like(rollout.rewards)
    return Batch.of_all_rows(rollout, zero, zero, np.zeros((len(zero) + 1, zero.shape[1]), np.float32))


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("factor_steps", [None, 2])
def test_an_update_matches_the_reference(env: str, factor_steps: int | None) -> None:
    """x = (F + damping)^-1 g by reference factors of the rows measured, bounded, then one step without momentum."""
    settings: dict[str, Any] = {"momentum": 0.0, "damping": 0.02, "max_kl": 1e-4, "factor_steps": factor_steps}
    agent = pgfast.ACKTR(env, **SMALL, **settings)
    policy, learner = agent.policy, agent.learner
    before, rollouts = policy.parameters.copy(), []
    update = learner.update

    def watched(rollout: Rollout, reduce: Reduce) -> Metrics:
        rollouts.append(rollout)
        return update(rollout, reduce)

    learner.update = watched  # type: ignore[method-assign]
    rows: list[dict[str, Any]] = []
    agent.learn(20, callback=lambda _, row: rows.append(row))
    after = policy.parameters.copy()
    policy.parameters[:] = before

    (rollout,) = rollouts
    observations = rollout.observations[:-1].reshape(20, -1)
    actions = rollout.actions.reshape(20, *rollout.actions.shape[2:])
    values = policy.values(rollout.observations.reshape(24, -1)).reshape(6, 4)
    advantages, returns = pgfast.kernels.gae(
        rollout.rewards, values[:-1].copy(), values[1:].copy(), rollout.terminated, rollout.truncated, 0.99, 1.0
    )
    valid = rollout.valid.reshape(-1)
    distribution = policy.distribution(observations)
    _, row_gradients = losses.a2c_gradient(
        distribution.log_prob(actions),
        advantages.reshape(-1),
        distribution.entropy(),
        returns.reshape(-1),
        values[:-1].reshape(-1),
        0.01,
        0.5,
        valid,
    )
    gradient = policy.gradient(observations, actions, row_gradients)

    used = 20 if factor_steps is None else 4 * factor_steps
    noise = critic_samples(batch_of(rollout), agent.settings, 0, ALONE)[:used]
    sampled = policy.output_gradients(
        observations[:used], actions[:used], RowGradients(np.ones(used, np.float32), None, noise)
    )
    outputs = policy.network.output_size
    layers = [("dense", 16, 0, 1, "tanh"), ("dense", outputs, 0, 1, "identity")]
    network_size = policy.network.parameters.size
    factors = reference.factors(
        layers,
        before[:network_size].astype(np.float64),
        observations[:used].astype(np.float64),
        sampled.astype(np.float64),
        valid[:used],
        1,
    )
    x = np.empty(before.size)
    x[:network_size] = reference.natural_gradient(factors, gradient[:network_size].astype(np.float64), 0.02)
    x[network_size:] = gradient[network_size:] / (2.0 + 0.02)  # of log_std
    scale = min(1.0, np.sqrt(2.0 * 1e-4 / (0.25**2 * (x @ gradient))))
    np.testing.assert_allclose(after, before - 0.25 * scale * x, atol=2e-5)
    assert agent.optimizer is not None
    assert agent.optimizer.steps == 1
    assert scale < 1.0


def test_critic_samples_are_those_of_the_row_on_any_worker(rng: np.random.Generator) -> None:
    agent = pgfast.ACKTR("CartPole-v1", **SMALL)
    whole, settings = random_rollout(agent, rng, 6, 5, invalid=0.3), agent.settings
    together = critic_samples(batch_of(whole), settings, 3, ALONE).reshape(6, 5)
    parts = [of_environments(agent, whole, part) for part in (slice(0, 2), slice(2, 5))]
    found = run_workers([lambda r, p=part: critic_samples(batch_of(p), settings, 3, r) for part in parts])
    np.testing.assert_array_equal(np.hstack([found[0].reshape(6, 2), found[1].reshape(6, 3)]), together)
    assert (together[~whole.valid] == 0.0).all()
    other = critic_samples(batch_of(whole), settings, 4, ALONE).reshape(6, 5)
    assert (other[whole.valid] != together[whole.valid]).all()


def test_critic_samples_are_standard_normal(rng: np.random.Generator) -> None:
    agent = pgfast.ACKTR("CartPole-v1", **SMALL)
    samples = critic_samples(batch_of(random_rollout(agent, rng, 400, 50)), agent.settings, 0, ALONE)
    assert abs(samples.mean()) < 0.03
    assert samples.std() == pytest.approx(1.0, abs=0.03)


def test_the_learning_rate_follows_the_measured_kl_divergence() -> None:
    for kl, factor in ((0.0, 3.0), (0.9e-3, 3.0), (1e-3, 2.0), (4e-3, 2.0), (4.1e-3, 2 / 1.5), (np.nan, 2 / 1.5)):
        assert adapted(2.0, kl, 2e-3) == factor
    assert (adapted(900.0, 0.0, 2e-3), adapted(1.2e-3, 1.0, 2e-3)) == (1e3, 1e-3)
    agent = pgfast.ACKTR("Pendulum-v1", **{**SMALL, "n_steps": 40}, target_kl=1e-3, max_kl=1.0, report_every=160)
    rows: list[dict[str, Any]] = []
    agent.learn(160 * 40, callback=lambda _, row: rows.append(row))
    factor = 1.0
    for row in rows:
        assert row["learning_rate"] == 0.25 * factor
        factor = adapted(factor, row["kl"], 1e-3)
    assert agent.learner.state()["rate_factor"] == factor
    assert 0.3e-3 < np.median([row["kl"] for row in rows[20:]]) < 3e-3


def test_the_bound_holds_for_the_exact_divergence() -> None:
    """The factors are a model of it, so it may be exceeded, but hardly on average."""
    agent = pgfast.ACKTR(
        "CartPole-v1", **{**SMALL, "num_envs": 16, "n_steps": 20}, learning_rate=1e3, max_kl=1e-3, momentum=0.0
    )
    kls = []
    update = agent.learner.update

    def measured(rollout: Rollout, reduce: Reduce) -> Metrics:
        observations = rollout.observations[:-1].reshape(rollout.rows, -1)
        old = agent.policy.distribution(observations)
        metrics = update(rollout, reduce)
        kls.append(float(old.kl(agent.policy.distribution(observations)).mean()))
        assert metrics["step_scale"] is not None
        assert metrics["step_scale"] < 1.0
        return metrics

    agent.learner.update = measured  # type: ignore[method-assign]
    agent.learn(320 * 30)
    assert np.mean(kls[5:]) < 2e-3


def test_a_network_with_memory_is_refused() -> None:
    spec = nn.NetworkSpec((), (nn.Layer("dense", 8),), memory="gru", memory_size=4)
    with pytest.raises(
        ValueError, match=r'^network has the memory "gru", which steps along the natural gradient do not'
    ):
        pgfast.ACKTR("CartPole-v1", preset=None, network=spec)
    with pytest.raises(TypeError, match=r"^acktr has no setting memory"):
        pgfast.ACKTR("CartPole-v1", memory="gru")  # type: ignore[call-arg]


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), 1, "1.0", None])
def test_a_rate_factor_from_a_file_is_checked(wrong: Any) -> None:
    learner: Learner = pgfast.ACKTR("CartPole-v1", **SMALL).learner
    state = learner.state()
    expected = re.escape(f"rate_factor must be a positive and finite number, got {wrong!r}")
    with pytest.raises(ValueError, match=f"^{expected}$"):
        learner.load_state({**state, "rate_factor": wrong})
    assert learner.state()["rate_factor"] == 1.0


def test_a_rollout_whose_first_steps_do_not_count_is_measured_whole() -> None:
    class Resetting(gymnasium.Env[Any, Any]):
        """Every episode has one step, so that every second row of a vector environment is a reset."""

        observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return np.zeros(2, np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return np.ones(2, np.float32), float(action), True, False, {}

    env = gymnasium.vector.SyncVectorEnv([Resetting] * 2, autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP)
    agent = pgfast.ACKTR(env, n_steps=3, hidden_sizes=(4,), preset=None, factor_steps=1, learning_rate=0.05)
    before = agent.policy.parameters.copy()
    agent.learn(6 * 6)
    assert isinstance(agent.optimizer, optim.KFAC)
    assert agent.optimizer.observations == agent.optimizer.steps == 6
    assert (agent.policy.parameters != before).any()
