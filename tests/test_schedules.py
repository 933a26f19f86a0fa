"""Schedules of the learning rate and of the entropy bonus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast import optim
from pgfast.algorithms import ALGORITHMS

SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 10, "hidden_sizes": (8,), "preset": None, "seed": 5}


@pytest.mark.parametrize("name", ["vpg", "a2c", "ppo"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_follows_its_schedule(name: str, schedule: str) -> None:
    chosen: dict[str, Any] = {**SMALL, "schedule_timesteps": 400, "report_every": 40}
    agent = ALGORITHMS[name]("CartPole-v1", **chosen, learning_rate_schedule=schedule)
    rates: list[float] = []
    agent.learn(480, callback=lambda _, row: rates.append(row["learning_rate"]))
    fall = pgfast.optim.linear_schedule if schedule == "linear" else pgfast.optim.cosine_schedule
    assert rates == [fall(agent.settings.learning_rate, 40 * update, 400) for update in range(12)]


@pytest.mark.parametrize("name", ["vpg", "a2c", "ppo"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_an_entropy_bonus_that_has_faded_has_no_part_in_the_gradient(name: str, schedule: str) -> None:
    def second_update(**chosen: Any) -> np.ndarray:
        agent = ALGORITHMS[name]("CartPole-v1", **SMALL, optimizer="sgd", **chosen)
        start = agent.policy.parameters.copy()
        agent.learn(40)
        agent.policy.parameters[:] = start
        return agent.learn(40).policy.parameters

    faded = second_update(entropy_coef=0.1, entropy_coef_schedule=schedule, schedule_timesteps=40)
    np.testing.assert_array_equal(faded, second_update(entropy_coef=0.0))
    assert not np.array_equal(faded, second_update(entropy_coef=0.1))


def test_a_falling_schedule_needs_its_end() -> None:
    for name in ("learning_rate_schedule", "entropy_coef_schedule"):
        with pytest.raises(ValueError, match=f'{name} "cosine" needs schedule_timesteps'):
            pgfast.A2C("CartPole-v1", preset=None, **{name: "cosine"})


def test_the_cosine_schedule_falls_to_zero_and_stays_there() -> None:
    values = [optim.cosine_schedule(0.5, t, 100) for t in (0, 25, 50, 75, 100, 150)]
    half_wave = [0.5, 0.25 + 0.125 * 2**0.5, 0.25, 0.25 - 0.125 * 2**0.5, 0.0, 0.0]
    np.testing.assert_allclose(values, half_wave, atol=1e-15)
    with pytest.raises(ValueError, match=r"^cosine_schedule: schedule_timesteps must be at least 1, got 0$"):
        optim.cosine_schedule(0.5, 0, 0)


def test_the_linear_schedule_falls_to_zero_and_stays_there() -> None:
    assert [optim.linear_schedule(0.5, t, 100) for t in (0, 25, 50, 100, 150)] == [0.5, 0.375, 0.25, 0.0, 0.0]


def test_a_tabulated_schedule_is_straight_between_its_factors() -> None:
    values = [optim.tabulated_schedule(0.5, (1.0, 0.5, 2.0), t, 100) for t in (0, 25, 50, 75, 100, 150)]
    assert values == [0.5, 0.375, 0.25, 0.625, 1.0, 1.0]
    assert optim.tabulated_schedule(0.5, (0.5,), 30, 100) == 0.25
    with pytest.raises(ValueError, match="factors must have at least one value, got none"):
        optim.tabulated_schedule(0.5, (), 0, 100)


@pytest.mark.parametrize("name", ["vpg", "a2c", "ppo"])
def test_a_function_is_a_schedule(name: str, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {**SMALL, "schedule_timesteps": 400, "report_every": 40, "sync_every": 200}

    def warm_up(done: float) -> float:
        return min(1.0, 4.0 * done)

    agent = ALGORITHMS[name]("CartPole-v1", **chosen, learning_rate_schedule=warm_up, entropy_coef_schedule=warm_up)
    rates: list[float] = []
    agent.learn(480, callback=lambda _, row: rates.append(row["learning_rate"]), run_dir=tmp_path)
    expected = [agent.settings.learning_rate * warm_up(40 * update / 400) for update in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    resumed = pgfast.resume(tmp_path, exact=True)  # the file has its values
    assert resumed.settings == agent.settings
    resumed.learn(480 - resumed.timesteps)
    np.testing.assert_array_equal(resumed.policy.parameters, agent.policy.parameters)


@pytest.mark.parametrize(
    ("schedule", "error", "text"),
    [
        (lambda done: -done, ValueError, "learning_rate_schedule must be one of .* or a tuple, each entry a float"),
        (lambda done: 1.0 / (1.0 - done) if done < 1.0 else float("inf"), ValueError, "must be finite, got inf"),
        (lambda done: None, TypeError, "learning_rate_schedule must return a number, got None"),
        ((), ValueError, "learning_rate_schedule must have at least one value"),
        ("square", ValueError, 'learning_rate_schedule must be one of "constant", "linear", "cosine" or a tuple'),
    ],
)
def test_schedules_that_are_refused(schedule: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        pgfast.A2C("CartPole-v1", learning_rate_schedule=schedule, schedule_timesteps=100)
    with pytest.raises(ValueError, match="the function of learning_rate_schedule needs schedule_timesteps"):
        pgfast.A2C("CartPole-v1", learning_rate_schedule=lambda done: 1.0)
