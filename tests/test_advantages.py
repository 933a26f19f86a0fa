"""Advantages and returns: normalization by parts, and returns with a lambda of their own."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pgfast
from pgfast import kernels
from pgfast.algorithms import ALGORITHMS
from pgfast.algos import advantages
from pgfast.algos.advantages import normalize_parts
from pgfast.reduce import ALONE, Reduce
from pgfast.sampling.batch import Batch
from rollouts import random_rollout
from two_workers import run_workers

SMALL: dict[str, Any] = {"num_envs": 3, "n_steps": 8, "hidden_sizes": (6,), "preset": None, "seed": 2}


def test_each_part_has_mean_0_and_standard_deviation_1(rng: np.random.Generator) -> None:
    numbers = (3.0 * rng.standard_normal(60) + 5.0).astype(np.float32)
    order = rng.permutation(60)
    parts = [order[:20], order[20:27], order[27:50]]
    found = normalize_parts(numbers, parts, ALONE)
    assert found.dtype == np.float32
    for part in parts:
        expected = (numbers[part] - numbers[part].mean(dtype=np.float64)) / numbers[part].std(dtype=np.float64)
        np.testing.assert_allclose(found[part], expected, rtol=1e-6, atol=1e-6)
    assert not found[order[50:]].any()  # of no part


def test_a_constant_or_empty_part_becomes_zero() -> None:
    numbers = np.array([0.1, 0.1, 0.1, 1.0, 3.0, 0.7], np.float32)
    parts = [np.arange(3), np.array([3, 4]), np.array([5]), np.arange(0)]
    np.testing.assert_array_equal(normalize_parts(numbers, parts, ALONE), [0, 0, 0, -1, 1, 0])


@pytest.mark.parametrize("wrong", [[np.nan], [np.inf], [np.inf, -np.inf]], ids=str)
def test_a_part_that_is_not_finite_is_refused(wrong: list[float]) -> None:
    numbers = np.array([0.0, 1.0, 2.0, *wrong], np.float32)
    assert np.isfinite(normalize_parts(numbers, [np.arange(3)], ALONE)).all()  # the number is of no part
    with pytest.raises(FloatingPointError, match=r"^the advantages are not finite"):
        normalize_parts(numbers, [np.arange(2), np.arange(2, len(numbers))], ALONE)


def test_parts_are_normalized_over_all_workers(rng: np.random.Generator) -> None:
    """One part is on both workers, one is constant on each of them but not on both, one is on the second alone."""
    numbers = rng.standard_normal(20).astype(np.float32)
    numbers[[4, 5, 14, 15]] = [1.0, 1.0, 2.0, 2.0]
    parts = [np.array([0, 1, 2, 10, 11]), np.array([4, 5, 14, 15]), np.array([17, 18, 19])]
    whole = normalize_parts(numbers, parts, ALONE)

    def work(half: slice, reduce: Reduce) -> NDArray[Any]:
        first = half.start
        local = [part[(part >= first) & (part < first + 10)] - first for part in parts]
        return normalize_parts(numbers[half], local, reduce)

    found = run_workers([partial(work, slice(0, 10)), partial(work, slice(10, 20))])
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=1e-6, atol=1e-7)


def estimated(name: str, env_id: str, **chosen: Any) -> tuple[Batch, Any]:
    agent = ALGORITHMS[name](env_id, **SMALL, **chosen)
    rollout = random_rollout(agent, np.random.default_rng(0), 8, 3)
    settings, statistics = agent.settings, agent.learner.normalizers.statistics
    of_values = settings.value_gae_lambda
    batch = advantages.estimate(
        rollout, statistics, agent.value_function, settings, ALONE, value_gae_lambda=of_values, all_rows=True
    )
    return batch, rollout


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_returns_may_have_a_lambda_of_their_own(name: str, normalized: bool) -> None:
    chosen: dict[str, Any] = {"gae_lambda": 0.5, "discount": 0.9, "normalize_advantages": normalized}
    plain, rollout = estimated(name, "CartPole-v1", **chosen)
    batch, _ = estimated(name, "CartPole-v1", **chosen, value_gae_lambda=1.0)
    np.testing.assert_array_equal(batch.advantages, plain.advantages)
    flags, values = (rollout.terminated, rollout.truncated), rollout.values
    _, expected = kernels.gae(rollout.rewards, values[:-1], values[1:], *flags, 0.9, 1.0)
    np.testing.assert_array_equal(batch.returns, expected.reshape(-1))
    assert not np.allclose(batch.returns, plain.returns)


@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_an_update_fits_the_values_to_returns_of_their_own_lambda(name: str) -> None:
    """Without a value loss, the other lambda has no part in an update; with it, the same lambda has none either."""

    def trained(**chosen: Any) -> NDArray[np.float32]:
        return ALGORITHMS[name]("CartPole-v1", **SMALL, gae_lambda=0.5, **chosen).learn(48).policy.parameters

    np.testing.assert_array_equal(trained(value_gae_lambda=0.5), trained())
    assert not np.array_equal(trained(value_gae_lambda=1.0), trained())
    np.testing.assert_array_equal(trained(value_gae_lambda=1.0, value_coef=0.0), trained(value_coef=0.0))


def test_the_lambda_of_the_returns_is_a_fraction() -> None:
    for value in (-0.1, 1.5):
        with pytest.raises(ValueError, match=rf"value_gae_lambda must be a float in \[0, 1\] or None, got {value}"):
            pgfast.PPO("CartPole-v1", preset=None, value_gae_lambda=value)
