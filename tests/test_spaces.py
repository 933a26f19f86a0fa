"""Descriptions of spaces: conversion of actions, and validation of files."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector.utils import batch_space, iterate

from pgfast.distributions.joint import join_actions
from pgfast.envs.actions import ActionInfo
from pgfast.envs.spaces import SpaceInfo
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
    "box without axes": spaces.Box(-3.0, 9.0, (), np.float32),
    "box of half precision": spaces.Box(-np.inf, np.inf, (2,), np.float16),
    "dict": spaces.Dict(button=spaces.Discrete(3, start=1), move=spaces.Box(0.0, 512.0, (2,))),
    "tuple": spaces.Tuple([spaces.MultiBinary(3), spaces.Box(-1.0, 1.0, (2,), np.float64), spaces.Discrete(2)]),
    "nested": spaces.Dict(
        a=spaces.Tuple([spaces.Discrete(4), spaces.Dict(c=spaces.MultiDiscrete([2, 3], start=[5, 0]))]),
        b=spaces.Box(-np.inf, 1.0, (), np.float32),
    ),
    "dict of one": spaces.Dict(only=spaces.Discrete(5)),
}


def deep(levels: int) -> spaces.Space:
    space: spaces.Space = spaces.Discrete(2)
    for level in range(levels + 1):
        space = spaces.Dict(a=space) if level % 2 else spaces.Tuple([space])
    return space


def as_sampled(space: spaces.Space, action: Any) -> Any:
    """An action with arrays where samples of the space have them."""
    if isinstance(space, spaces.Dict):
        return {key: as_sampled(part, action[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(as_sampled(part, value) for part, value in zip(space.spaces, action, strict=True))
    return action if isinstance(space, spaces.Discrete) else np.asarray(action)


every_space = pytest.mark.parametrize("space", ACTIONS.values(), ids=list(ACTIONS))


@every_space
def test_a_policys_actions_are_converted_to_the_space(space: spaces.Space, rng: np.random.Generator) -> None:
    info = ActionInfo.of(space)
    parts: list[np.ndarray] = []
    for component, family in zip(info.components, family_of(info).components, strict=True):
        if component.kind == "box":
            rows = 10.0 ** rng.uniform(-3, 6) * rng.standard_normal((40, component.size), np.float32)
        else:
            rows = rng.integers(0, component.sizes, (40, component.size))
        parts.append(rows.astype(family.action_dtype(np.float32)).reshape(40, *family.action_shape))
    actions = join_actions(parts) if len(parts) > 1 else parts[0]
    for action_scaling in (False, True):
        batch = info.to_environment(actions, action_scaling=action_scaling)
        assert batch_space(space, 40).contains(batch)
        for row, action in enumerate(iterate(batch_space(space, 40), batch)):
            one = info.to_environment(actions[row : row + 1], action_scaling=action_scaling, single=True)
            assert space.contains(one)
            assert data_equivalence(one, as_sampled(space, action))


@every_space
def test_spaces_survive_json(space: spaces.Space) -> None:
    info = SpaceInfo.of(OBSERVATION, space)
    assert msgspec.convert(json.loads(json.dumps(asdict(info), allow_nan=False)), SpaceInfo) == info


def test_numbers_are_clipped_to_a_box() -> None:
    info = ActionInfo.of(ACTIONS["box"])
    actions = np.array([[-3.0, -9.0], [3.0, 9.0]], np.float32)
    assert info.to_environment(actions, action_scaling=False).tolist() == [[-1.0, -9.0], [0.5, 2.0]]


def test_scaling_maps_onto_two_finite_bounds() -> None:
    low, high = [0.0, -np.inf, -1.0, -np.inf, -1.0, -1e308], [512.0, np.inf, np.inf, 2.0, 1.0, 1e308]
    info = ActionInfo.of(spaces.Box(np.array(low), np.array(high), dtype=np.float64))
    actions = np.repeat(np.array([[-1.0], [0.0], [0.5], [1.0], [-7.0], [7.0], [3e38]], np.float32), 6, axis=1)
    scaled = info.to_environment(actions, action_scaling=True)
    assert scaled[:, 0].tolist() == [0.0, 256.0, 384.0, 512.0, 0.0, 512.0, 512.0]
    assert scaled[:, 5].tolist() == [-1e308, 0.0, 5e307, 1e308, -1e308, 1e308, 1e308]
    np.testing.assert_array_equal(scaled[:, 1:5], info.to_environment(actions, action_scaling=False)[:, 1:5])


def test_bounds_of_minus_1_and_1_are_left_alone() -> None:
    assert not ActionInfo.of(spaces.Box(-1.0, 1.0, (2,))).is_scalable
    assert not ActionInfo.of(ACTIONS["box of half precision"]).is_scalable
    assert not ActionInfo.of(ACTIONS["multi_discrete"]).is_scalable
    assert ActionInfo.of(ACTIONS["dict"]).is_scalable


def test_invalid_actions_raise() -> None:
    def convert(name: str, *parts: np.ndarray) -> None:
        actions = join_actions(parts) if len(parts) > 1 else parts[0]
        ActionInfo.of(ACTIONS[name]).to_environment(actions, action_scaling=True)

    with pytest.raises(ValueError, match=r"^the action of environment 1 is not finite: \[ 0. nan\]"):
        convert("box", np.array([[0.0, 0.0], [0.0, np.nan]], np.float32))
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=r"^actions must be at least 0 and below \(4,\), got \["):
            convert("discrete", np.array([0, wrong]))
    with pytest.raises(ValueError, match=r"below \(2, 3, 5\)"):
        convert("multi_discrete", np.array([[1, 2, 5]]))
    with pytest.raises(ValueError, match=r'^the action "move" of environment 0 is not finite: \[inf  0.\]'):
        convert("dict", np.array([0]), np.array([[np.inf, 0.0]], np.float32))
    with pytest.raises(ValueError, match=r'^actions "a/1/c" must be at least 0 and below \(2, 3\), got \[\[1, 3\]\]'):
        convert("nested", np.array([0]), np.array([[1, 3]]), np.array([[0.0]], np.float32))


def test_unsupported_spaces_are_refused() -> None:
    for action, text in (
        (spaces.Text(3), "the action space must be Discrete, MultiDiscrete, MultiBinary, a Box of floats, or a Dict"),
        (spaces.Dict(a=spaces.Tuple([spaces.Text(3)])), 'action "a/0" must be Discrete,'),
        (spaces.Box(0, 9, (2,), np.int64), r"must not be a Box of int64; make it MultiDiscrete\(\[10, 10\], start=\["),
        (spaces.Dict(a=spaces.Box(0, 1, (2,), np.bool_)), 'action "a" must not be a Box of bool; make it MultiBinary'),
        (spaces.Box(-1, 1, (2,), np.longdouble), r"Box of \w+; its dtype must be float16, float32 or float64"),
        (spaces.Tuple([]), "the action space must not be an empty Tuple"),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Dict({})), 'action "b" must not be an empty Dict'),
        (spaces.Dict({1: spaces.Discrete(2)}), r"must be a Dict with strings as keys, got \[1\]"),
        (spaces.Tuple([spaces.Discrete(2)] * 257), "actions need 1 to 256 components, got 257"),
        (spaces.Tuple([spaces.Discrete(60_000)] * 2), "components of an action have more than 100000 choices"),
        (deep(16), "the keys of an action must be short and at most 16"),
    ):
        with pytest.raises(ValueError, match=text):
            SpaceInfo.of(OBSERVATION, action)
    assert len(ActionInfo.of(deep(15)).components) == 1
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
    (component,) = asdict(ActionInfo.of(ACTIONS["multi_discrete"]))["components"]
    with pytest.raises(ValueError, match=r"supported|needs|Expected|Invalid"):
        msgspec.convert({"components": [{**component, **change}]}, ActionInfo).check()


@pytest.mark.parametrize(
    "paths",
    [
        [(), ()],
        [("a",), ("a",)],
        [("a",), ("a", "b")],
        [("a", "b"), ("a",)],
        [(), ("a",)],
        [("a",), (0,)],
        [(1,), (2,)],
        [(1,), (0,)],
        [(-1,), (0,)],
        [("a", 0), ("a", 2)],
        [("a",), ("x" * 201,)],
        [("a",) * 17],
        [],
    ],
)
def test_files_with_impossible_nests_are_refused(paths: list[tuple[str | int, ...]]) -> None:
    (component,) = asdict(ActionInfo.of(ACTIONS["discrete"]))["components"]
    described = {"components": [{**component, "path": path} for path in paths]}
    with pytest.raises(ValueError, match=r"different paths|named or numbered|the keys of an action|actions need 1 to"):
        msgspec.convert(described, ActionInfo).check()
