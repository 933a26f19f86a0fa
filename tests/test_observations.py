"""Observation spaces of every kind: as data, as rows of a network's inputs, and in trainings."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.envs.observations import ObservationInfo, ObservationRows
from pgfast.learning.networks import network_leaves
from pgfast.learning.settings import Settings
from pgfast.nn import Layer, NetworkSpec
from pgfast.state import flatten
from states import assert_equal_states
from test_training import without_times

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 12, "hidden_sizes": (8,), "preset": None}


class SpaceEnv(gymnasium.Env[Any, Any]):
    """Observes samples of any space; rewards the action 1."""

    def __init__(self, space: spaces.Space[Any], length: int = 5) -> None:
        self.observation_space, self.action_space, self.length = space, spaces.Discrete(3), length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.observation_space.sample(), float(action == 1), False, self.time == self.length, {}


BYTES = spaces.Box(0, 255, (12, 10, 3), np.uint8)
SPACES: dict[str, spaces.Space[Any]] = {
    "number": spaces.Box(-1.0, 1.0, (), np.float32),
    "doubles": spaces.Box(-np.inf, np.inf, (4,), np.float64),
    "four axes": spaces.Box(-1.0, 1.0, (2, 3, 1, 2), np.float32),
    "ints": spaces.Box(-3, 9, (4,), np.int32),
    "bools": spaces.Box(0, 1, (3,), np.bool_),
    "bytes": spaces.Box(0, 10, (6,), np.uint8),
    "image": BYTES,
    "channels first": spaces.Box(0, 255, (2, 12, 10), np.uint8),
    "discrete": spaces.Discrete(5, start=-2),
    "multi-discrete": spaces.MultiDiscrete([3, 2, 4], start=[0, 5, -1]),
    "multi-discrete of two axes": spaces.MultiDiscrete([[3, 2], [4, 2]]),
    "multi-binary": spaces.MultiBinary([2, 2]),
    "dict": spaces.Dict(image=BYTES, vector=spaces.Box(-1.0, 1.0, (3,)), kind=spaces.Discrete(4, start=1)),
    "tuple": spaces.Tuple([spaces.Discrete(3), spaces.Box(-5.0, 5.0, (2, 2)), spaces.MultiBinary(3)]),
    "nested": spaces.Dict(
        a=spaces.Tuple([spaces.Box(0.0, 1.0, ()), spaces.Dict(b=spaces.MultiDiscrete([2, 3]))]),
        c=spaces.Box(0, 255, (3,), np.uint8),
    ),
    "dict of one": spaces.Dict(only=spaces.Box(-1.0, 1.0, (3,))),
}
each_space = pytest.mark.parametrize("name", SPACES)


@each_space
def test_a_space_survives_json(name: str) -> None:
    info = ObservationInfo.of(SPACES[name])
    assert msgspec.convert(json.loads(json.dumps(asdict(info), allow_nan=False)), ObservationInfo) == info


@pytest.mark.parametrize("algo", ALGORITHMS)
@each_space
def test_every_algorithm_learns_from_every_space(algo: str, name: str, tmp_path: Path) -> None:
    agent = ALGORITHMS[algo](lambda: SpaceEnv(SPACES[name]), **SMALL, normalize_observations=name != "discrete")
    before = agent.policy.parameters.copy()
    agent.learn(72, run_dir=tmp_path / "run")
    assert not np.array_equal(agent.policy.parameters, before)
    observation = SPACES[name].sample()
    action = agent.predict(observation, deterministic=True)
    assert agent.evaluate(2).lengths.tolist() == [5, 5]
    agent.save(tmp_path / "model.safetensors")
    loaded = pgfast.load(tmp_path / "model.safetensors")
    assert loaded.predict(observation, deterministic=True) == action
    np.testing.assert_array_equal(loaded.policy.parameters, agent.policy.parameters)
    resumed = pgfast.resume(tmp_path / "run", env=lambda: SpaceEnv(SPACES[name]))
    assert resumed.learn(24).timesteps == 96


def nested_env() -> SpaceEnv:
    """Observes bytes, numbers and choices, with random numbers of its own."""
    return SpaceEnv(copy.deepcopy(SPACES["dict"]))


BITS: dict[str, Any] = {
    **SMALL,
    "normalize_observations": True,
    "normalize_rewards": True,
    "network": NetworkSpec(
        {"image": (Layer("conv2d", 4, 4, 4, "relu"),)},
        trunk=(Layer("dense", 24), Layer("layer_norm", activation="tanh"), Layer("dense", 16, activation="tanh")),
    ),
}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_training_on_a_dict_does_not_depend_on_thread_count(algo: str, num_threads: Callable[[int], None]) -> None:
    states = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        agent = ALGORITHMS[algo](nested_env, **{**BITS, "num_envs": 4, "n_steps": 40})
        states.append(flatten(agent.learn(480).state()))
    for state in states[1:]:
        assert_equal_states(state, states[0])


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_training_on_a_dict_resumes_exactly(algo: str, tmp_path: Path) -> None:
    def make() -> pgfast.agent.Agent:
        return ALGORITHMS[algo](nested_env, **BITS, sync_every=240, report_every=48)

    whole = make().learn(720, run_dir=tmp_path / "whole")
    make().learn(480, run_dir=tmp_path / "part")
    resumed = pgfast.resume(tmp_path / "part", env=nested_env).learn(240)
    assert_equal_states(flatten(resumed.state()), flatten(whole.state()))
    assert without_times(tmp_path / "part" / "progress.csv") == without_times(tmp_path / "whole" / "progress.csv")


@each_space
def test_a_batch_is_predicted_like_its_observations(name: str) -> None:
    space = SPACES[name]
    agent = pgfast.A2C(lambda: SpaceEnv(space), **SMALL)
    observations = [space.sample() for _ in range(3)]
    batched = gymnasium.vector.utils.concatenate(
        space, observations, gymnasium.vector.utils.create_empty_array(space, 3)
    )
    one_by_one = [agent.predict(observation, deterministic=True) for observation in observations]
    assert agent.predict(batched, deterministic=True).tolist() == one_by_one


@pytest.mark.parametrize("mode", gymnasium.vector.AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", ["dict", "nested", "discrete"])
def test_every_autoreset_mode_gives_the_same_training(name: str, mode: gymnasium.vector.AutoresetMode) -> None:
    def vector(mode: gymnasium.vector.AutoresetMode) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        return gymnasium.vector.SyncVectorEnv([lambda: SpaceEnv(SPACES[name])] * 2, autoreset_mode=mode)

    agent = pgfast.A2C(vector(mode), **{**SMALL, "num_envs": 2})
    agent.learn(24)
    rollout = agent.sampler.rollout
    assert rollout.truncated.sum() >= 2
    assert (len(rollout.final_observations) > 0) == (mode is not gymnasium.vector.AutoresetMode.NEXT_STEP)


def leaves_of(space: spaces.Space[Any], **chosen: Any) -> Any:
    return network_leaves(ObservationInfo.of(space), Settings(**chosen))


def test_bytes_are_scaled_by_the_bounds_of_their_space() -> None:
    (leaf,) = leaves_of(SPACES["bytes"])
    assert (leaf.kind, leaf.low, leaf.high) == ("bytes", 0, 10)
    agent = pgfast.A2C(lambda: SpaceEnv(SPACES["bytes"]), **{**SMALL, "hidden_sizes": ()})
    agent.policy.parameters[:] = 0.0
    agent.policy.parameters[:24:4] = 1.0  # the first logit is the sum of the inputs
    logits = agent.distribution(np.array([0, 5, 10, 0, 0, 0], np.uint8)).logits  # type: ignore[attr-defined]
    assert logits[0, 0] == pytest.approx(1.5)


def test_the_channels_of_an_image() -> None:
    assert leaves_of(SPACES["image"])[0].channels_last
    assert not leaves_of(SPACES["channels first"])[0].channels_last
    tie = spaces.Box(0, 255, (8, 9, 8), np.uint8)
    with pytest.raises(ValueError, match=r"do not tell which axis .* set image_channels"):
        leaves_of(tie)
    assert leaves_of(tie, image_channels="last")[0].channels_last
    assert leaves_of(tie, network="mlp")[0].shape == (8 * 9 * 8,)


@pytest.mark.parametrize(
    ("shape", "read_as", "channels_last"),
    [
        ((9, 12), (1, 9, 12), False),  # gray, without an axis of channels
        ((4, 9, 12), (4, 9, 12), False),  # a stack of such frames
        ((4, 9, 12, 3), (9, 12, 12), True),  # a stack of color frames
        ((4, 3, 9, 12), (12, 9, 12), False),
    ],
)
def test_gray_images_and_stacks_of_frames_are_images(
    shape: tuple[int, ...], read_as: tuple[int, ...], channels_last: bool
) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    info = ObservationInfo.of(space)
    (leaf,) = leaves = network_leaves(info, Settings())
    assert (leaf.shape, leaf.channels_last) == (read_as, channels_last)
    packing = ObservationRows(info, leaves, np.float32)
    raw, rows = np.stack([space.sample() for _ in range(2)]), packing.zeros(2)
    packing.pack(raw, rows)
    expected = raw.reshape(2, *read_as)
    if channels_last:
        expected = np.concatenate([raw[:, frame] for frame in range(4)], axis=-1)
    np.testing.assert_array_equal(rows, expected)
    agent = pgfast.A2C(lambda: SpaceEnv(space), **SMALL).learn(24)
    assert agent.policy.layout[0].name == "conv0.weight"
    assert "an image" in agent.describe_network()
    assert agent.predict(space.sample()) in (0, 1, 2)


def test_a_table_of_bytes_is_no_image() -> None:
    assert leaves_of(spaces.Box(0, 255, (20, 4), np.uint8))[0].shape == (80,)


def test_an_image_gets_convolutions_that_fit_it() -> None:
    for size, kind in ((7, 3), (16, 3), (40, 3), (63, 3), (84, 8), (96, 8)):
        agent = pgfast.A2C(lambda size=size: SpaceEnv(spaces.Box(0, 255, (size, size, 3), np.uint8)), **SMALL)
        first = agent.policy.layout[0]
        assert (first.name, first.shape[0]) == ("conv0.weight", kind)
        assert agent.policy.parameters.size < 2_300_000
    with pytest.raises(ValueError, match=r'small_cnn needs images of at least 7 x 7 pixels, got 6 x 9; network "mlp"'):
        pgfast.A2C(lambda: SpaceEnv(spaces.Box(0, 255, (6, 9, 3), np.uint8)), **SMALL)
    with pytest.raises(ValueError, match="network nature_cnn needs an image, a Box with three axes"):
        pgfast.A2C(lambda: SpaceEnv(SPACES["doubles"]), network="nature_cnn", **SMALL)


def test_a_separate_value_network_cannot_be_added_to_a_description() -> None:
    with pytest.raises(
        ValueError, match=r"separate_value_network cannot be added to a NetworkSpec; .* value=NetworkSpec"
    ):
        pgfast.A2C("CartPole-v1", network=NetworkSpec(), separate_value_network=True)


def test_codes_in_bytes_may_be_taken_one_hot_or_normalized() -> None:
    (leaf,) = leaves_of(SPACES["bytes"], one_hot_observations=True)
    assert (leaf.kind, leaf.choices) == ("codes", (11,) * 6)
    (shifted,) = leaves_of(SPACES["ints"], one_hot_observations=True)
    assert shifted.choices == (13,) * 4
    (normalized,) = leaves_of(SPACES["bytes"], normalize_observations=True)
    assert normalized.kind == "numbers"
    of_dict = leaves_of(SPACES["dict"], normalize_observations=True)
    assert [leaf.kind for leaf in of_dict] == ["bytes", "numbers", "codes"]
    agent = pgfast.A2C(lambda: SpaceEnv(SPACES["ints"]), one_hot_observations=True, **SMALL).learn(48)
    assert agent.policy.layout[0].shape == (52, 8)
    with pytest.raises(ValueError, match=r"3,145,728 inputs of the observation, 12,288 codes of 256; at most 2\^18"):
        leaves_of(spaces.Box(0, 255, (64, 64, 3), np.uint8), one_hot_observations=True)


def test_a_description_of_the_network_is_a_setting(tmp_path: Path) -> None:
    spec = NetworkSpec(
        {"image": (Layer("conv2d", 4, 3, 2, "relu"), Layer("dense", 8, activation="relu"))},
        trunk=(Layer("dense", 8), Layer("layer_norm", activation="tanh")),
        value=(Layer("dense", 4, activation="tanh"),),
    )
    agent = pgfast.A2C(lambda: SpaceEnv(SPACES["dict"]), **{**SMALL, "network": spec})
    agent.learn(24, run_dir=tmp_path)
    assert pgfast.load(tmp_path).settings.network == spec
    np.testing.assert_array_equal(pgfast.load(tmp_path).policy.parameters, agent.policy.parameters)


@pytest.mark.parametrize("algo", ["a2c", "ppo", "trpo"])
def test_layer_norm_and_separate_networks(algo: str) -> None:
    chosen = {} if algo == "trpo" else {"separate_value_network": True}
    agent = ALGORITHMS[algo](lambda: SpaceEnv(SPACES["dict"]), layer_norm=True, **chosen, **SMALL).learn(48)
    names = [block.name for block in agent.policy.layout]
    assert any("norm" in name for name in names)
    assert any(name.startswith("value.") for name in names) == (algo != "trpo")


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.Text(4), "observations must be made of Box, Discrete"),
        (
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Text(4)),
            r'leaf "b" is Text.*; gymnasium\.wrappers\.FilterObservation leaves it out$',
        ),
        (spaces.Dict({"a.b": spaces.Discrete(2), "c": spaces.Discrete(2)}), "keys must be short and have no dot"),
        (spaces.Dict({}), "observations need 1 to 256 leaves, got 0"),
    ],
)
def test_spaces_that_are_refused(space: spaces.Space[Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ObservationInfo.of(space)


@pytest.mark.parametrize(
    ("obs", "text"),
    [
        ({"image": BYTES.sample(), "vector": np.zeros(3)}, r'predict: the observation has no leaf "kind"'),
        (
            {"image": BYTES.sample(), "vector": np.zeros(2), "kind": 1},
            r'or a batch of it in leaf "vector"',
        ),
        ({"image": BYTES.sample().astype(float), "vector": np.zeros(3), "kind": 1}, "obs must be uint8"),
        ({"image": BYTES.sample(), "vector": np.full(3, np.nan), "kind": 1}, "obs must be finite"),
        ({"image": BYTES.sample(), "vector": np.zeros(3), "kind": 0}, r"must hold integers in \[0, 4\)"),
        (np.zeros(3), r'predict: the observation has no leaf "image"'),
    ],
)
def test_observations_that_do_not_fit(obs: Any, text: str) -> None:
    agent = pgfast.A2C(lambda: SpaceEnv(SPACES["dict"]), **SMALL)
    with pytest.raises((TypeError, ValueError), match=text):
        agent.predict(obs)


boxes = st.builds(
    lambda shape, dtype: spaces.Box(0, 1 if dtype == np.bool_ else 9, shape, dtype),
    st.lists(st.integers(1, 3), max_size=4).map(tuple),
    st.sampled_from([np.float32, np.float64, np.int64, np.int8, np.uint8, np.bool_]),
)
leaves = st.one_of(
    boxes,
    st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-5, 5)),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 4).map(spaces.MultiBinary),
)
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from("abcd"), part, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(trees, st.booleans())
def test_any_space_becomes_rows_and_a_policy(space: spaces.Space[Any], one_hot: bool) -> None:
    info = ObservationInfo.of(space)
    read = network_leaves(info, Settings(network="mlp", one_hot_observations=one_hot))
    packing = ObservationRows(info, read, np.float32)
    raw, single = info.batch(space.sample())
    rows = packing.zeros(1)
    packing.pack(raw, rows)
    assert single
    assert all(np.isfinite(field).all() for field in packing.fields(rows).values())
    network = pgfast.nn.Network(NetworkSpec(trunk=(Layer("dense", 4),)), read, 2)
    assert np.isfinite(network.forward(rows)).all()
