"""Running statistics and the scales that they give."""

from __future__ import annotations

import numpy as np
import pytest

from pgfast.envs.normalization import ObservationNormalizer, RewardNormalizer, RunningMoments


def test_moments_taken_in_parts_are_those_of_the_whole(rng: np.random.Generator) -> None:
    rows = 3.0 + 1e3 * rng.standard_normal((1000, 2, 3))
    moments = RunningMoments((2, 3))
    for part in np.split(rows, [0, 1, 7, 7, 500]):
        moments.update(part)
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-12)


def test_before_the_first_row_nothing_is_changed() -> None:
    x = np.array([[0.5, -3.0, 20.0]], np.float32)
    scaled = ObservationNormalizer((3,)).apply(x)
    np.testing.assert_array_equal(scaled, x)
    assert not np.may_share_memory(scaled, x)


def test_observations_come_to_mean_zero_and_deviation_one(rng: np.random.Generator) -> None:
    x = (5.0 + 0.1 * rng.standard_normal((4000, 3))).astype(np.float32)
    normalizer = ObservationNormalizer((3,))
    normalizer.moments.update(x)
    scaled = normalizer.apply(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-4)
    assert normalizer.apply(np.full((1, 3), 1e30, np.float32)).tolist() == [[10.0] * 3]


def test_an_entry_that_never_changes_becomes_zero() -> None:
    normalizer = ObservationNormalizer((1,))
    normalizer.moments.update(np.full((10, 1), 7.0, np.float32))
    assert normalizer.apply(np.array([[7.0]], np.float32)).tolist() == [[0.0]]


def test_rewards_are_divided_by_the_deviation_of_the_running_return() -> None:
    rewards = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    dones = np.array([[False, False], [True, False], [False, False]])
    valid = np.array([[True, True], [True, True], [True, False]])
    running = [1.0, 2.0, 3.0 + 0.5, 4.0 + 1.0, 5.0]  # the last of environment 0 after an end, of 1 left out
    normalizer = RewardNormalizer(2, discount=0.5)
    normalizer.update(rewards, dones, valid)
    np.testing.assert_allclose(normalizer.moments.variance, [np.var(running)])
    np.testing.assert_allclose(normalizer.apply(rewards), rewards / np.std(running), rtol=1e-6)
    normalizer.update(np.zeros((1, 2), np.float32), np.zeros((1, 2), bool), np.ones((1, 2), bool))
    np.testing.assert_allclose(normalizer.moments.mean, [np.mean([*running, 2.5, 0.5 * 8.5])])


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(2)},
        {"mean": np.zeros(3, np.float32)},
        {"variance": np.array([1.0, -1.0, 1.0])},
        {"count": np.array([-1])},
    ],
)
def test_statistics_that_do_not_fit_are_refused(change: dict[str, np.ndarray]) -> None:
    moments = RunningMoments((3,))
    with pytest.raises(ValueError, match="running moments must"):
        moments.load_state({**moments.state(), **change})
    other = RunningMoments((3,))
    other.update(np.eye(3))
    moments.load_state(other.state())
    assert moments.state().keys() == other.state().keys()
    assert moments.count == 3
