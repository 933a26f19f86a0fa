"""Metrics: one schema, and the merge of updates into rows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pgfast.algorithms import ALGORITHMS
from pgfast.metrics import METRICS, RUN_METRICS, MetricsSinceRow


def test_a_row_holds_means_and_for_some_metrics_the_last_value() -> None:
    metrics = MetricsSinceRow()
    metrics.add({"policy_loss": 1.0, "explained_variance": 0.5, "kl": None})
    metrics.add({"policy_loss": 4.0, "explained_variance": None, "kl": 0.25})
    assert metrics.take() == {"policy_loss": 2.5, "kl": 0.25}
    assert metrics.take() == {}
    metrics.add({"learning_rate": 0.5})
    metrics.add({"learning_rate": 0.25})
    assert metrics.take() == {"learning_rate": 0.25}


def test_a_metric_outside_the_schema_is_refused() -> None:
    with pytest.raises(KeyError, match="zeal"):
        MetricsSinceRow().add({"zeal": 1.0})


def test_the_sums_are_restored() -> None:
    first, second = MetricsSinceRow(), MetricsSinceRow()
    first.add({"policy_loss": 1.0, "learning_rate": 0.5})
    second.load_state({name: list(entry) for name, entry in first.state().items()})  # as JSON has them
    for metrics in (first, second):
        metrics.add({"policy_loss": 2.0})
    assert first.take() == second.take() == {"policy_loss": 1.5, "learning_rate": 0.5}


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        ([], "Expected `object`, got `array`"),
        ({"policy_loss": 1.0}, "Expected `array`, got `float`"),
        ({"policy_loss": [1.0]}, "Expected `array` of length 2"),
        ({"policy_loss": ["1", 1]}, "Expected `float`, got `str`"),
        ({"policy_loss": [1.0, 0]}, "Expected `int` >= 1"),
        ({"zeal": [1.0, 1]}, "unknown metrics: ['zeal']"),
    ],
)
def test_other_sums_are_refused(sums: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        MetricsSinceRow().load_state(sums)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_reports_metrics_of_the_schema(name: str) -> None:
    reported = ALGORITHMS[name].learner_type.metrics
    assert reported
    assert set(reported) <= METRICS.keys() - set(RUN_METRICS)


def test_every_metric_is_described() -> None:
    for metric in METRICS.values():
        assert metric.label
        assert metric.meaning
        assert metric.group in ("rollout", "train", "time")
        assert metric.merge == "mean" or metric.name not in ("timesteps", "episodes")
