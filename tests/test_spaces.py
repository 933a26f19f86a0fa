"""Descriptions of spaces: conversion of actions, and validation of files."""

from __future__ import annotations

import json
from dataclasses import asdict

import msgspec
import numpy as np
import pytest
from gymnasium import spaces

from pgfast.envs.spaces import ActionInfo, SpaceInfo
from pgfast.policies import family_of

OBSERVATION = spaces.Box(-1.0, 1.0, (3,), np.float32)
ACTIONS = {
    "discrete": spaces.Discrete(4, start=-2),
    "multi_discrete": spaces.MultiDiscrete([2, 3, 5], start=[0, 7, -1]),
    "multi_discrete of two axes": spaces.MultiDiscrete([[2, 3], [4, 5]]),
    "multi_binary": spaces.MultiBinary(4),
    "multi_binary of two axes": spaces.MultiBinary([2, 3]),
    "box": spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([0.5, 2.0], np.float32)),
    "box of two axes": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
}
every_space = pytest.mark.parametrize("space", ACTIONS.values(), ids=list(ACTIONS))


@every_space
def test_a_policys_actions_are_converted_to_the_space(space: spaces.Space, rng: np.random.Generator) -> None:
    info = ActionInfo.of(space)
    info.check()
    if info.kind == "box":
        rows = rng.standard_normal((40, info.components), np.float32)
    else:
        rows = rng.integers(0, info.sizes, (40, info.components))
    converted = info.to_environment(rows.reshape(40, *family_of(info).action_shape))
    assert converted.dtype == space.dtype
    assert all(space.contains(action) for action in converted)


@every_space
def test_spaces_survive_json(space: spaces.Space) -> None:
    info = SpaceInfo.of(OBSERVATION, space)
    assert msgspec.convert(json.loads(json.dumps(asdict(info), allow_nan=False)), SpaceInfo) == info


def test_numbers_are_clipped_to_a_box() -> None:
    info = ActionInfo.of(ACTIONS["box"])
    assert info.to_environment(np.array([[-3.0, -9.0], [3.0, 9.0]], np.float32)).tolist() == [[-1.0, -9.0], [0.5, 2.0]]


def test_invalid_actions_raise() -> None:
    with pytest.raises(ValueError, match=r"the action of environment 1 is not finite: \[ 0. nan\]"):
        ActionInfo.of(ACTIONS["box"]).to_environment(np.array([[0.0, 0.0], [0.0, np.nan]], np.float32))
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=r"actions must be at least 0 and below \(4,\), got \["):
            ActionInfo.of(ACTIONS["discrete"]).to_environment(np.array([0, wrong]))
    with pytest.raises(ValueError, match=r"below \(2, 3, 5\)"):
        ActionInfo.of(ACTIONS["multi_discrete"]).to_environment(np.array([[1, 2, 5]]))


def test_unsupported_spaces_are_refused() -> None:
    for action in (spaces.Text(3), spaces.Tuple([spaces.Discrete(2)]), spaces.Box(0, 9, (2,), np.int64)):
        with pytest.raises(ValueError, match="the action space must be"):
            SpaceInfo.of(OBSERVATION, action)
    with pytest.raises(ValueError, match="observations must be made of Box"):
        SpaceInfo.of(spaces.Text(3), ACTIONS["box"])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dict"},
        {"dtype": "object"},
        {"shape": (2,)},
        {"shape": ()},
        {"shape": (10**6,)},
        {"sizes": (2, 3)},
        {"sizes": (2, 3, 0)},
        {"sizes": (2, 3, 2.5)},
        {"first": ("a", "b", "c")},
        {"low": (0.0, 0.0, 0.0)},
    ],
)
def test_files_with_impossible_actions_are_refused(change: dict[str, object]) -> None:
    described = {**asdict(ActionInfo.of(ACTIONS["multi_discrete"])), **change}
    with pytest.raises(ValueError, match=r"supported|needs|Expected|Invalid"):
        msgspec.convert(described, ActionInfo).check()
