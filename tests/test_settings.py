"""Settings: bounds, conversions, descriptions and groups, for every field of every algorithm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest

from pgfast.algorithms import ALGORITHMS
from pgfast.learning.bounds import bounds, describe, documentation, field_types
from pgfast.learning.settings import Settings, setting_groups

every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def settings_of(name: str) -> Settings:
    return ALGORITHMS[name].learner_type.settings_type()


def bounded_fields(settings: Settings) -> Iterator[tuple[str, Any]]:
    """(name, bounds) of each field that has a bound."""
    for name, kind in field_types(type(settings)).items():
        parts = [part for part in (kind, *get_args(kind)) if get_origin(part) is Annotated]
        if parts:
            yield name, parts[0].__metadata__[0]


@every_algorithm
def test_each_bound_is_the_last_value_allowed(name: str) -> None:
    settings, count = settings_of(name), 0
    for field, meta in bounded_fields(settings):
        step = 1 if isinstance(getattr(settings, field) or 0, (int, tuple)) else 1e-6

        def accepts(value: float, field: str = field) -> bool:
            wrapped = (value,) if isinstance(getattr(settings, field), tuple) else value
            try:
                replace(settings, **{field: wrapped})
            except ValueError as error:
                return not str(error).startswith(f"{field} must be ")
            return True

        for bound, is_open, outward in (
            *((meta.ge, False, -step), (meta.gt, True, -step)),
            *((meta.le, False, step), (meta.lt, True, step)),
        ):
            if bound is not None:
                count += 1
                assert accepts(bound - outward if is_open else bound), field
                assert not accepts(bound if is_open else bound + outward), field
    assert count > 10


def test_a_float_that_is_whole_is_an_int() -> None:
    settings = replace(settings_of("a2c"), sync_every=1e6, checkpoint_every=np.float32(2e5), learning_rate=1)
    assert (settings.sync_every, settings.checkpoint_every, settings.learning_rate) == (1_000_000, 200_000, 1.0)
    assert [type(value) for value in (settings.sync_every, settings.checkpoint_every)] == [int, int]
    assert type(settings.learning_rate) is float
    with pytest.raises(TypeError, match=r"^sync_every must be an int of at least 1, got 1\.5$"):
        replace(settings, sync_every=1.5)


@every_algorithm
def test_no_number_may_be_nan_or_infinite(name: str) -> None:
    settings = settings_of(name)
    floats = [field.name for field in fields(settings) if isinstance(getattr(settings, field.name), float)]
    for field in floats:
        for bad in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match=f"^{field} must be "):
                replace(settings, **{field: bad})
    assert "discount" in floats


@every_algorithm
def test_each_field_has_a_description_and_one_group(name: str) -> None:
    settings_type = type(settings_of(name))
    names = [field.name for field in fields(settings_type)]
    groups = setting_groups(settings_type)
    assert list(groups) == ["environment", "rollout", "network", "update", "run"]
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    described = documentation(settings_type)
    for field in names:
        assert described[field].endswith("."), field
        assert describe(field_types(settings_type)[field]), field


def test_groups_hold_what_a_user_looks_for_there() -> None:
    groups = setting_groups(type(settings_of("vpg")))
    assert {"num_envs", "vectorization"} <= set(groups["environment"])
    assert groups["rollout"] == ["n_steps", "whole_episodes"]
    assert {"learning_rate", "baseline", "normalize_gradient"} <= set(groups["update"])
    assert groups["run"][:3] == ["seed", "sync_every", "checkpoint_every"]


def test_numbers_of_numpy_and_lists_are_converted() -> None:
    settings = ALGORITHMS["a2c"].learner_type.settings_type(
        n_steps=np.int64(4), discount=1, hidden_sizes=[np.int32(8)], normalize_rewards=np.bool_(True)
    )
    assert (settings.n_steps, settings.discount, settings.hidden_sizes) == (4, 1.0, (8,))
    assert (type(settings.n_steps), type(settings.discount), type(settings.hidden_sizes[0])) == (int, float, int)
    assert settings.normalize_rewards is True


@pytest.mark.parametrize(
    ("field", "words", "text"),
    [
        ("num_envs", "in [1, 2^16]", "an int in [1, 2^16]"),
        ("seed", "in [0, 2^63 - 1]", "an int in [0, 2^63 - 1]"),
        ("discount", "in [0, 1]", "a float in [0, 1]"),
        ("backtrack_ratio", "in (0, 1)", "a float in (0, 1)"),
        ("env_timeout", "greater than 0", "a float greater than 0 or None"),
        ("hidden_sizes", "at least 1", "a tuple, each entry an int of at least 1"),
        ("activation", "", 'one of "tanh", "relu"'),
        ("init_from", "", "a str or None"),
    ],
)
def test_bounds_in_words(field: str, words: str, text: str) -> None:
    kind = field_types(type(settings_of("trpo")))[field]
    assert (bounds(kind), describe(kind)) == (words, text)
