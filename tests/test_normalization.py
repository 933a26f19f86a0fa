"""Running statistics, and normalization by them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pgfast.envs.normalization import Moments, Normalizers
from pgfast.envs.observations import ObservationInfo, ObservationRows
from pgfast.nn import Leaf
from pgfast.reduce import ALONE
from two_workers import run_workers


def including(moments: Moments, rows: np.ndarray) -> Moments:
    return moments.including(rows, np.ones(len(rows), np.bool_), ALONE)


def rollout(rng: np.random.Generator, steps: int = 20, num_envs: int = 4) -> Any:
    return SimpleNamespace(
        raw_observations=(5.0 + 0.1 * rng.standard_normal((steps + 1, num_envs, 3))).astype(np.float32),
        rewards=rng.standard_normal((steps, num_envs), dtype=np.float32),
        terminated=rng.random((steps, num_envs)) < 0.1,
        truncated=rng.random((steps, num_envs)) < 0.1,
        valid=rng.random((steps, num_envs)) < 0.9,
    )


def make(num_envs: int, discount: float, *, observations: bool, rewards: bool) -> Normalizers:
    info = ObservationInfo.of(spaces.Box(-np.inf, np.inf, (3,)))
    packing = ObservationRows(info, [Leaf("", (3,))], np.float32)
    return Normalizers(packing, [""] if observations else [], num_envs, discount, rewards=rewards)


def both(num_envs: int = 4, **chosen: bool) -> Normalizers:
    return make(num_envs, 0.9, **{"observations": True, "rewards": True, **chosen})


def moments_of(normalizers: Normalizers) -> Moments:
    return normalizers.statistics.observations[""]


def test_moments_of_parts_are_those_of_the_whole(rng: np.random.Generator) -> None:
    rows = 3.0 + 1e3 * rng.standard_normal((1000, 2, 3))
    moments = Moments.empty((2, 3))
    for part in np.split(rows, [0, 1, 7, 7, 500]):
        moments = including(moments, part)
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-12)


def test_before_the_first_row_nothing_is_changed() -> None:
    x = np.array([[0.5, -3.0, 20.0]], np.float32)
    for normalizers in (both(), both(observations=False, rewards=False)):
        np.testing.assert_array_equal(normalizers.normalize_observations(x), x)
    assert both().observes
    assert not both(observations=False).observes


def test_normalization_that_is_off_changes_nothing(rng: np.random.Generator) -> None:
    normalizers, sample = both(observations=False, rewards=False), rollout(rng)
    normalizers.statistics = normalizers.after(sample, ALONE)
    assert normalizers.statistics.scale_rewards(sample.rewards) is sample.rewards
    assert normalizers.state() == {}
    np.testing.assert_array_equal(
        normalizers.normalize_observations(sample.raw_observations[0]), sample.raw_observations[0]
    )


def test_normalized_observations_have_mean_zero_and_deviation_one(rng: np.random.Generator) -> None:
    normalizers, sample = both(), rollout(rng, 1000)
    normalizers.statistics = normalizers.after(sample, ALONE)
    scaled = normalizers.normalize_observations(sample.raw_observations[:-1][sample.valid])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-4)
    assert normalizers.normalize_observations(np.full((1, 3), 1e30, np.float32)).tolist() == [[10.0] * 3]


def test_an_entry_that_never_changes_becomes_zero(rng: np.random.Generator) -> None:
    normalizers, sample = both(), rollout(rng)
    sample.raw_observations[:] = 7.0
    normalizers.statistics = normalizers.after(sample, ALONE)
    assert normalizers.normalize_observations(np.full((1, 3), 7.0, np.float32)).tolist() == [[0.0] * 3]


def test_rewards_are_divided_by_the_deviation_of_the_running_return() -> None:
    sample: Any = SimpleNamespace(
        rewards=np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32),
        terminated=np.array([[False, False], [True, False], [False, False]]),
        truncated=np.zeros((3, 2), np.bool_),
        valid=np.array([[True, True], [True, True], [True, False]]),
    )
    # Environment 0 starts anew after its end; the last row of environment 1 is not valid.
    running = [1.0, 2.0, 3.0 + 0.5, 4.0 + 1.0, 5.0]
    normalizers = make(2, 0.5, observations=False, rewards=True)
    statistics = normalizers.after(sample, ALONE)
    assert statistics.rewards is not None
    np.testing.assert_allclose(statistics.rewards.variance, [np.var(running)])
    np.testing.assert_allclose(statistics.scale_rewards(sample.rewards), sample.rewards / np.std(running), rtol=1e-6)
    assert statistics.scale_rewards(sample.rewards).dtype == np.float32
    normalizers.statistics = statistics
    sample = SimpleNamespace(
        rewards=np.zeros((1, 2), np.float32),
        valid=np.ones((1, 2), np.bool_),
        **dict.fromkeys(("terminated", "truncated"), np.zeros((1, 2), np.bool_)),
    )
    later = normalizers.after(sample, ALONE).rewards
    assert later is not None
    np.testing.assert_allclose(later.mean, [np.mean([*running, 2.5, 0.5 * 8.5])])
    normalizers.restart(2)
    assert not normalizers.statistics.running.any()
    assert normalizers.statistics.rewards is statistics.rewards


def test_the_running_return_is_the_recursion_exactly(rng: np.random.Generator) -> None:
    """In float64, over the end of a rollout, with ends at its last row."""
    normalizers, running, seen = both(), np.zeros(4), []
    for steps in (1, 20, 7):
        sample = rollout(rng, steps)
        sample.terminated[-1, 0] = True
        for t in range(steps):
            running = running * 0.9 + sample.rewards[t]
            seen += running[sample.valid[t]].tolist()
            running[sample.terminated[t] | sample.truncated[t]] = 0.0
        normalizers.statistics = normalizers.after(sample, ALONE)
        np.testing.assert_array_equal(normalizers.statistics.running, running)
    moments = normalizers.statistics.rewards
    assert moments is not None
    assert moments.count == len(seen)
    np.testing.assert_allclose(moments.variance, [np.var(seen)], rtol=1e-12)


def test_computing_statistics_changes_nothing(rng: np.random.Generator) -> None:
    normalizers, sample = both(), rollout(rng)
    normalizers.statistics = before = normalizers.after(sample, ALONE)
    kept = [array.copy() for moments in normalizers.state().values() for array in moments.values()]
    normalizers.after(rollout(rng), ALONE)
    assert normalizers.statistics is before
    for array, moments_array in zip(
        kept, (array for moments in normalizers.state().values() for array in moments.values()), strict=True
    ):
        np.testing.assert_array_equal(array, moments_array)


@pytest.mark.parametrize("rows", [(0.9, 0.3), (0.5, 0.0), (0.0, 0.8)])
def test_two_workers_have_the_statistics_of_the_whole(rows: tuple[float, float], rng: np.random.Generator) -> None:
    whole, halves = both(), [both(2), both(2)]
    for _ in range(3):
        sample = rollout(rng)
        sample.valid = rng.random((20, 4)) < np.repeat(rows, 2)
        parts = [
            SimpleNamespace(**{name: array[:, 2 * i : 2 * i + 2] for name, array in vars(sample).items()})
            for i in (0, 1)
        ]
        whole.statistics = whole.after(sample, ALONE)
        found = run_workers(
            [
                lambda reduce, half=half, part=part: half.after(part, reduce)
                for half, part in zip(halves, parts, strict=True)
            ]
        )
        for half, statistics in zip(halves, found, strict=True):
            half.statistics = statistics
    for kind, expected in whole.state().items():
        first, second = (half.state()[kind] for half in halves)
        for name, array in expected.items():
            np.testing.assert_allclose(first[name], array, rtol=1e-12)
            np.testing.assert_array_equal(first[name], second[name])
    running = np.concatenate([half.statistics.running for half in halves])
    np.testing.assert_array_equal(running, whole.statistics.running)


def test_without_a_valid_row_the_moments_stay(rng: np.random.Generator) -> None:
    normalizers, sample = both(), rollout(rng)
    sample.valid[:] = False
    statistics = normalizers.after(sample, ALONE)
    assert statistics.observations[""] is moments_of(normalizers)
    assert statistics.rewards is normalizers.statistics.rewards


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(2)},
        {"mean": np.zeros(3, np.float32)},
        {"variance": np.array([1.0, -1.0, 1.0])},
        {"count": np.array([-1])},
    ],
)
def test_statistics_that_do_not_fit_are_refused(change: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    normalizers, other = both(), both()
    with pytest.raises(ValueError, match="running moments must"):
        normalizers.load_state(
            {**normalizers.state(), "observations": {**normalizers.state()["observations"], **change}}
        )
    other.statistics = other.after(rollout(rng), ALONE)
    normalizers.load_state(other.state())
    assert moments_of(normalizers).count > 0
    for kind, moments in other.state().items():
        for name, array in moments.items():
            np.testing.assert_array_equal(normalizers.state()[kind][name], array)
            assert not np.may_share_memory(normalizers.state()[kind][name], array)


@pytest.mark.parametrize("kind", ["observations", "rewards"])
def test_statistics_must_be_present_exactly_if_used(kind: str) -> None:
    with_it, without = both(), both(**{kind: False})
    for state in (without.state(), {**without.state(), kind: {}}):
        with pytest.raises(ValueError, match=f"no statistics of {kind}, but normalize_{kind} is on"):
            with_it.load_state(state)
    with pytest.raises(ValueError, match=f"has statistics of {kind}, but normalize_{kind} is off"):
        without.load_state(with_it.state())
    with pytest.raises(KeyError, match="variance"):
        with_it.load_state({**with_it.state(), kind: {"count": np.zeros(1, np.int64), "mean": np.zeros(3)}})
