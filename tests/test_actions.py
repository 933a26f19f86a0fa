"""Action spaces of every kind in trainings: the environment itself asserts that each action lies in its space."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space, iterate
from gymnasium.wrappers import TransformAction
from hypothesis import given, settings
from hypothesis import strategies as st

import pgfast
from action_envs import ActionEnv, same
from pgfast.algorithms import ALGORITHMS

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 6, "hidden_sizes": (3,), "preset": None}
INF = np.inf
MIXED = spaces.Dict(
    buttons=spaces.MultiBinary([2, 2]),
    gear=spaces.Discrete(3, start=-1),
    joystick=spaces.Tuple([spaces.Box(0.0, 512.0, (2,)), spaces.Box(-INF, 1.0, (), np.float64)]),
    menu=spaces.Dict(page=spaces.MultiDiscrete([2, 3], start=[5, 0])),
)
SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=4),
    "multi-discrete of two axes": spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[0, -3], [9, 1]]),
    "multi-discrete without axes": spaces.MultiDiscrete(np.array(4), start=np.array(2)),
    "multi-binary": spaces.MultiBinary(3),
    "box": spaces.Box(np.array([-2.0, -INF, 0.0]), np.array([5.0, INF, INF]), dtype=np.float64),
    "box without axes": spaces.Box(0.0, 512.0, ()),
    "box of two axes, half precision": spaces.Box(-INF, INF, (2, 2), np.float16),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(5, start=1)]),
    "tuple of one": spaces.Tuple([spaces.Box(-1.0, 3.0, (2,))]),
    "mixed": MIXED,
}


def check_agent(algo: str, space: spaces.Space[Any], folder: Path, **chosen: Any) -> None:
    """Trains a few steps, predicts, evaluates, saves and loads."""
    make = partial(ActionEnv, space)
    agent = ALGORITHMS[algo](make, **{**SMALL, **chosen})
    before = agent.policy.parameters.copy()
    assert agent.learn(36).timesteps >= 36
    can_learn = agent.policy.family.num_outputs > len(agent.space.action.choices)  # not if every choice is the only one
    assert not can_learn or not np.array_equal(agent.policy.parameters, before)
    assert agent.evaluate(2).lengths.tolist() == [5, 5]
    agent.save(folder / "model.safetensors")
    loaded = pgfast.load(folder / "model.safetensors", env=make)
    assert (loaded.space, loaded.settings) == (agent.space, agent.settings)
    np.testing.assert_array_equal(loaded.policy.parameters, agent.policy.parameters)
    observations = np.array([[0.1, -0.4], [0.5, 0.9], [0.0, 0.0]])
    for deterministic in (False, True):
        one = loaded.predict(observations[0], deterministic)
        assert space.contains(one)
        batch = loaded.predict(observations, deterministic)
        assert batch_space(space, 3).contains(batch)
    assert same(next(iter(iterate(batch_space(space, 3), batch))), one)
    evaluated = [one.evaluate(2, deterministic=True).returns.tolist() for one in (agent, loaded)]
    assert evaluated[0] == evaluated[1]


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("name", SPACES)
def test_every_algorithm_acts_in_every_space(algo: str, name: str, tmp_path: Path) -> None:
    check_agent(algo, SPACES[name], tmp_path)


class Robot(ActionEnv):
    """Observes an image and a vector, and takes a choice and numbers."""

    observation_space: Any = spaces.Dict(camera=spaces.Box(0, 255, (8, 8, 3), np.uint8), joints=spaces.Box(-1, 1, (2,)))

    def __init__(self) -> None:
        super().__init__(spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 10, (3,))]))

    def _observe(self) -> Any:
        camera = self.np_random.integers(0, 256, (8, 8, 3), np.uint8)
        return {"camera": camera, "joints": super()._observe()}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_image_and_a_vector_as_observation_and_a_tuple_as_action(algo: str, tmp_path: Path) -> None:
    agent = ALGORITHMS[algo](Robot, **SMALL).learn(36)
    assert agent.evaluate(2).lengths.tolist() == [5, 5]
    agent.save(tmp_path / "model.safetensors")
    loaded = pgfast.load(tmp_path / "model.safetensors", env=Robot)
    observation, _ = Robot().reset(seed=1)
    for deterministic in (False, True):
        action = loaded.predict(observation, deterministic)
        assert loaded.source.spaces()[1].contains(action)
    assert same(agent.predict(observation, True), action)
    evaluated = [one.evaluate(2, deterministic=True).returns.tolist() for one in (agent, loaded)]
    assert evaluated[0] == evaluated[1]


bounds = st.sampled_from([(-1.0, 1.0), (0.0, 512.0), (-3.0, 0.5), (-INF, INF), (-INF, 2.0), (-2.0, INF), (1.0, 1.0)])


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    count = int(np.prod(shape))
    low, high = np.array(draw(st.lists(bounds, min_size=count, max_size=count))).T.reshape(2, *shape)
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    shape = tuple(draw(st.lists(st.integers(1, 2), max_size=3)))
    count = int(np.prod(shape))
    sizes = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    start = draw(st.lists(st.integers(-9, 9), min_size=count, max_size=count))
    dtype = draw(st.sampled_from([np.int64, np.int32, np.int8]))
    return spaces.MultiDiscrete(np.reshape(sizes, shape), dtype, start=np.reshape(start, shape))


components = st.one_of(
    boxes(),
    multi_discretes(),
    st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-5, 5)),
    st.lists(st.integers(1, 3), max_size=2).map(spaces.MultiBinary),
)
nests = st.recursive(
    components,
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from(["a", "b", "a/b", "0", ""]), part, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("algo", ALGORITHMS)
@settings(deadline=None, max_examples=8)
@given(
    space=nests, action_scaling=st.booleans(), state_dependent_std=st.booleans(), log_std_init=st.sampled_from([0, 9])
)
def test_any_space(algo: str, space: spaces.Space[Any], **chosen: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_agent(algo, space, Path(folder), **chosen)


def test_one_part_of_a_nest_learns_as_it_does_alone() -> None:
    box = spaces.Box(0.0, 512.0, (2,))
    alone = pgfast.A2C(partial(ActionEnv, box), **SMALL).learn(36)
    nested = pgfast.A2C(partial(ActionEnv, spaces.Dict(a=spaces.Tuple([box]))), **SMALL).learn(36)
    np.testing.assert_array_equal(alone.policy.parameters, nested.policy.parameters)


@pytest.mark.parametrize("solver", ["cholesky", "woodbury", "cg"])
def test_natural_gradients_of_mixed_actions_for_any_number_of_threads(solver: str) -> None:
    parameters = []
    for threads in (1, 2):
        pgfast.set_num_threads(threads)
        agent = pgfast.NPG(partial(ActionEnv, MIXED), **SMALL, solver=solver).learn(36)
        parameters.append(agent.policy.parameters)
    np.testing.assert_array_equal(*parameters)


@pytest.mark.parametrize("kind", ["workers", "sync", "async", *AutoresetMode])
def test_every_vector_environment_takes_nested_actions(kind: Any) -> None:
    # Without a part that has no axes, of which Gymnasium's own classes make scalars that the space warns of.
    make = partial(ActionEnv, spaces.Tuple([MIXED["joystick"][0], MIXED["gear"], MIXED["menu"]]))
    env: Any = make
    if isinstance(kind, AutoresetMode):
        env = SyncVectorEnv([make] * 2, autoreset_mode=kind)
    elif kind == "async":
        env = AsyncVectorEnv([make] * 2)
    agent = pgfast.A2C(env, **SMALL, vectorization="async" if kind == "workers" else "auto").learn(36)
    assert agent.sampler.rollout.truncated.any()
    agent.close()
    if env is not make:
        env.close()


def test_worker_processes_train_like_this_process() -> None:
    agents = [pgfast.VPG(partial(ActionEnv, MIXED), **SMALL, vectorization=kind) for kind in ("sync", "async")]
    one, other = (agent.learn(36) for agent in agents)
    np.testing.assert_array_equal(one.policy.parameters, other.policy.parameters)
    other.close()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 9, (2,), np.int64),
        spaces.Box(np.array([[-3, 0]]), np.array([[4, 250]]), dtype=np.int16),
        spaces.Box(0, 255, (3, 4), np.uint8),
        spaces.Box(-(2**31), 2**31 - 1, (2,), np.int32),
        spaces.Box(0, 1, (2, 2), np.bool_),
        spaces.Box(0, 1, (), np.bool_),
    ],
    ids=str,
)
def test_the_cure_for_a_box_of_integers_works(space: spaces.Box) -> None:
    with pytest.raises(ValueError, match="the action space must not be a Box of") as caught:
        pgfast.A2C(partial(ActionEnv, space), **SMALL)
    made, wrapped = str(caught.value).split("; make it ")[1].split(", by gymnasium.wrappers.")
    names = {**vars(spaces), "numpy": np, "TransformAction": TransformAction}

    def make() -> gymnasium.Env[Any, Any]:
        env = ActionEnv(space)
        action_space = eval(made, {**names, "env": env})
        cured: gymnasium.Env[Any, Any] = eval(wrapped, {**names, "env": env, "action_space": action_space})
        return cured

    assert pgfast.A2C(make, **SMALL, log_std_init=3.0).learn(36).timesteps == 36


def test_a_model_of_other_actions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    pgfast.A2C(partial(ActionEnv, MIXED), **SMALL).save(path)
    with pytest.raises(ValueError, match=r"the model is of .* menu/page: multi_discrete \(2,\) int64 of \[2, 3\] "):
        pgfast.A2C(partial(ActionEnv, SPACES["tuple"]), **SMALL, init_from=path)
    with pytest.raises(ValueError, match=r"^evaluate: the environment has .* the agent .* gear: discrete"):
        pgfast.load(path).evaluate(1, env=partial(ActionEnv, SPACES["tuple"]))
    start = pgfast.A2C(partial(ActionEnv, MIXED), **SMALL, init_from=path)
    assert same(start.predict([0.0, 0.0], True), pgfast.load(path).predict([0.0, 0.0], True))
