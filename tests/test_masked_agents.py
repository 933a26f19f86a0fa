"""Agents take no action that a mask forbids, wherever the mask comes from, and learn from the masked distribution."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import pgfast
from masked_env import SPACES, MaskedEnv
from pgfast.algorithms import ALGORITHMS
from pgfast.envs.failures import EnvironmentFailure
from pgfast.reduce import ALONE
from pgfast.reporting.video import record_video
from rollouts import of_environments
from two_workers import run_workers

SMALL: dict[str, Any] = {"n_steps": 12, "hidden_sizes": (8,), "preset": None}
PLACES = ["info", "observation", "method"]
every_place = pytest.mark.parametrize("place", PLACES)
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def agent_of(name: str, place: str, env: Any = None, **settings: Any) -> Any:
    return ALGORITHMS[name](env or partial(MaskedEnv, place), action_mask=place, **{**SMALL, "num_envs": 3, **settings})


def given(make: Any, mode: AutoresetMode, num_envs: int = 3) -> SyncVectorEnv:
    return SyncVectorEnv([make] * num_envs, autoreset_mode=mode)


@pytest.fixture
def registered() -> Any:
    gymnasium.register("Masked-v0", MaskedEnv)
    yield "Masked-v0"
    del gymnasium.registry["Masked-v0"]


@every_place
@every_algorithm
@pytest.mark.parametrize("mode", [None, *AutoresetMode], ids=lambda mode: mode.name if mode else "made")
def test_no_training_takes_a_forbidden_action(name: str, place: str, mode: AutoresetMode | None) -> None:
    env = None if mode is None else given(partial(MaskedEnv, place, last="nothing"), mode)
    with closing(agent_of(name, place, env)) as agent:
        agent.learn(144)
        rollout = agent.sampler.rollout
        assert agent.sampler.statistics.row()["episodes"] > 20
        allowed = np.take_along_axis(rollout.masks[:-1], rollout.actions[..., np.newaxis], axis=2)[..., 0]
        assert allowed[rollout.valid].all()
        assert not rollout.masks[:-1][rollout.valid].all(axis=1).all()


def test_the_environment_notices_a_training_without_masks() -> None:
    with pytest.raises(EnvironmentFailure, match="is forbidden by"):
        agent_of("a2c", "none", MaskedEnv).learn(144)


@every_place
@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("form", ["flat", "tuple"])
def test_the_masks_of_all_groups_may_be_given_in_one_array_or_in_several(place: str, kind: str, form: str) -> None:
    if place == "observation" and form == "tuple":
        pytest.skip("an observation has the shape of its space")
    for whole in (False, True):
        agent = agent_of("trpo", place, partial(MaskedEnv, place, kind, form), whole_episodes=whole)
        agent.learn(72).evaluate(5)


class Nested(MaskedEnv):
    """Has an observation whose mask is a tuple."""

    def __init__(self) -> None:
        super().__init__("observation", "multi_discrete", "tuple")
        masks = spaces.Tuple([spaces.MultiBinary(size) for size in self.sizes])
        self.observation_space = spaces.Dict({**self.observation_space.spaces, "action_mask": masks})


def test_the_mask_of_an_observation_may_be_a_tuple() -> None:
    agent_of("a2c", "observation", Nested).learn(72).evaluate(3)


class Mixed(MaskedEnv):
    """Has actions of several parts, and masks of the same structure, or in one array."""

    def __init__(self, place: Any, form: str, parts: type) -> None:
        super().__init__(place, "multi_binary", form, "missing")
        self.parts = parts
        of_parts = {"kind": spaces.Discrete(2), "move": spaces.Box(-1, 1, (2,)), "tools": spaces.MultiBinary(2)}
        self.action_space = spaces.Dict(of_parts) if parts is dict else spaces.Tuple(of_parts.values())

    def step(self, action: Any) -> Any:
        kind, _, tools = action.values() if self.parts is dict else action
        return super().step(np.hstack([kind, tools]))

    def _given(self) -> Any:
        given = super()._given()
        if self.form == "flat":
            return given
        kind, tools = given[0], np.concatenate(given[1:])
        return {"kind": kind, "tools": tools} if self.parts is dict else (kind, None, tools)


@pytest.mark.parametrize("place", ["info", "method"])
@pytest.mark.parametrize("form", ["flat", "tuple"])
@pytest.mark.parametrize("parts", [dict, tuple])
def test_masks_of_mixed_actions(place: str, form: str, parts: type) -> None:
    for vectorization in ("sync", "async"):
        make = partial(Mixed, place, form, parts)
        with closing(agent_of("trpo", place, make, vectorization=vectorization)) as agent:
            agent.learn(72).evaluate(3)
    env = make()
    observation, _ = env.reset(seed=1)
    mask = env._given()
    kinds = {
        int(next(iter(action.values() if parts is dict else action)))
        for action in (agent.predict(observation, action_mask=mask) for _ in range(50))
    }
    assert kinds == set(np.flatnonzero(env.mask[0]))
    if form == "tuple" and parts is dict:
        with pytest.raises(ValueError, match=r'^predict: action_mask has no part "tools"$'):
            agent.predict(observation, action_mask={"kind": mask["kind"]})


@every_place
@pytest.mark.parametrize("last", ["empty", "missing", "nothing"])
def test_masks_of_last_observations_are_ignored(place: str, last: str) -> None:
    agent_of("a2c", place, partial(MaskedEnv, place, last=last, truncate=False)).learn(72).evaluate(4)


@every_place
def test_worker_processes_return_masks(place: str) -> None:
    make = partial(MaskedEnv, place, last="missing")
    with closing(agent_of("a2c", place, make, vectorization="async", num_envs=2)) as agent:
        agent.learn(48)
        agent.evaluate(2)
        there = agent.sampler.rollout.masks
    with closing(agent_of("a2c", place, make, num_envs=2)) as agent:
        agent.learn(48)
        np.testing.assert_array_equal(agent.sampler.rollout.masks, there)


class Dying(MaskedEnv):
    """Raises once in a while."""

    def step(self, action: Any) -> Any:
        results = super().step(action)
        if self.np_random.random() < 0.1:
            raise RuntimeError("dies")
        return results


def test_a_replaced_worker_returns_the_mask_of_its_first_observation() -> None:
    settings = {"vectorization": "async", "num_envs": 2, "max_env_restarts": 100}
    with closing(agent_of("a2c", "method", partial(Dying, "method", last="missing"), **settings)) as agent:
        agent.learn(96)
        assert agent.sampler.statistics.env_restarts > 0


@every_place
def test_vector_environments_of_gymnasium_return_masks(place: str) -> None:
    make = partial(MaskedEnv, place, last="nothing")
    for env in (
        AsyncVectorEnv([make, make]),
        RecordEpisodeStatistics(SyncVectorEnv([lambda: gymnasium.wrappers.TimeLimit(make(), 3)] * 2)),
    ):
        agent_of("a2c", place, env, num_envs=2).learn(48)
        env.close()


class Given(MaskedEnv):
    """Never ends; returns the mask that it is given at its third step."""

    def __init__(self, place: Any, given: Any) -> None:
        super().__init__(place, form="tuple")
        self.given, self.steps = given, -1

    def _results(self) -> tuple[Any, dict[str, Any]]:
        self.left, self.steps = 9, self.steps + 1
        return super()._results()

    def _given(self) -> Any:
        return self.given if self.steps == 3 else super()._given()


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.zeros(5, np.int8), "allows no action"),
        (np.array([0, 1, 2, 0, 0]), "must hold 0 and 1 or bools, got [0, 1, 2, 0, 0]"),
        ([0, 1, float("nan"), 0, 0], "must hold 0 and 1 or bools, got [0.0, 1.0, nan, 0.0, 0.0]"),
        ([1, 1, 1, 1], "must have 5 entries, one for each choice, got 4"),
        (([1, 1], [1, 1, 1]), "must have 5 entries, one for each choice, got 2 + 3"),
        (None, "is missing"),
    ],
)
@pytest.mark.parametrize(("place", "where"), [("info", 'infos["action_mask"]'), ("method", "action_masks()")])
def test_a_wrong_mask_is_named_with_environment_and_step(place: str, where: str, mask: Any, text: str) -> None:
    env = SyncVectorEnv([partial(MaskedEnv, place, "discrete", "tuple", "nothing"), partial(Given, place, mask)])  # type: ignore[arg-type]
    with pytest.raises(EnvironmentFailure) as caught:
        agent_of("vpg", place, env, num_envs=2).learn(24)
    assert str(caught.value) == f"environment 1 failed at step 3: {where} {text}"


def test_masks_that_gymnasium_cannot_batch_are_named() -> None:
    env = given(partial(MaskedEnv, "info", last="empty"), AutoresetMode.NEXT_STEP)
    text = r"^environment \d failed at step \d: .*; an array in infos needs the same shape in all environments$"
    with pytest.raises(EnvironmentFailure, match=text):
        agent_of("a2c", "info", env).learn(72)


def test_an_array_of_masks_is_checked_as_a_whole() -> None:
    class AllForbidden(MaskedEnv):
        def _given(self) -> Any:
            return 0 * super()._given() if self.left < 4 else super()._given()

    with pytest.raises(
        EnvironmentFailure, match=r'^environment \d failed at step \d: infos\["action_mask"\] allows no'
    ):
        agent_of("a2c", "info", AllForbidden).learn(72)


@pytest.mark.parametrize(
    ("env", "place", "text"),
    [
        ("Pendulum-v1", "info", 'action_mask "info" is for choices, but the actions have none: box'),
        ("CartPole-v1", "method", 'action_mask "method" needs environments with a method action_masks()'),
        ("pgfast/Point-v0", "method", 'action_mask "method" is for choices, but the actions have none: box'),
        (
            "CartPole-v1",
            "observation",
            'action_mask "observation" needs a Dict observation with the key "action_mask" ',
        ),
        (MaskedEnv, "observation", 'action_mask "observation" needs a Dict observation with the key "action_mask" '),
    ],
)
def test_a_place_without_masks_is_refused_when_the_agent_is_made(env: Any, place: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        agent_of("a2c", place, env)


def test_infos_without_masks_are_refused_at_the_first_reset() -> None:
    text = 'environment 0 failed at step 0: infos["action_mask"] is missing'
    for env in ("CartPole-v1", "BreakoutNoFrameskip-v4"):
        with pytest.raises(EnvironmentFailure, match=f"^{re.escape(text)}$"):
            agent_of("a2c", "info", env).learn(36)


class WithoutFirst(MaskedEnv):
    """Never allows the first of its actions."""

    def _results(self) -> tuple[Any, dict[str, Any]]:
        observation, info = super()._results()
        self.mask[0][:2] = False, True
        return observation, {**info, "action_mask": self._given()}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a2c", {"optimizer": "adam", "entropy_coef": 0.1}),
        ("ppo", {"minibatch_size": 9, "num_epochs": 2, "entropy_coef": 0.1}),
        ("vpg", {"entropy_coef": 0.1}),
        ("npg", {"solver": "cg", "fisher_subsample": 2}),
        ("npg", {"solver": "cholesky"}),
        ("npg", {"solver": "woodbury", "fisher_subsample": 2}),
        ("trpo", {}),
        ("trpo", {"fisher_subsample": 3}),
    ],
    ids=str,
)
def test_updates_leave_the_weights_of_forbidden_actions_alone(name: str, settings: dict[str, Any]) -> None:
    with closing(agent_of(name, "info", WithoutFirst, **settings)) as agent:
        before = agent.policy.parameters.copy()
        agent.learn(108)
        weight, bias = agent.policy.network.output_layers[0]
        unchanged = agent.policy.parameters == before
        assert unchanged[weight.slice].reshape(weight.shape)[..., 0].all()
        assert not unchanged[weight.slice].reshape(weight.shape)[..., 1].all()
        assert unchanged[bias.slice][0]
        assert not unchanged[bias.slice][1]


@every_place
@every_algorithm
def test_a_saved_agent_evaluates_equal(name: str, place: str, tmp_path: Path) -> None:
    with closing(agent_of(name, place)) as agent:
        agent.learn(36).save(tmp_path / "m.safetensors")
        loaded = pgfast.load(tmp_path / "m.safetensors", env=partial(MaskedEnv, place))  # type: ignore[arg-type]
        assert loaded.settings.action_mask == place
        results = [some.evaluate(6, seed=3) for some in (agent, loaded)]
        np.testing.assert_array_equal(results[0].lengths, results[1].lengths)
        assert [leaf.name for leaf in loaded.space.observation.leaves] == ["observation" * (place == "observation")]


@every_algorithm
def test_bits_do_not_depend_on_threads_nor_on_a_resume(
    name: str, registered: str, tmp_path: Path, num_threads: Callable[[int], None]
) -> None:
    chosen = {**SMALL, "num_envs": 4, "n_steps": 50, "action_mask": "info", "sync_every": 200}
    parameters = []
    for threads in (1, 2, 3):
        num_threads(threads)
        parameters.append(ALGORITHMS[name](registered, **chosen).learn(800).policy.parameters)
    ALGORITHMS[name](registered, **chosen).learn(400, run_dir=tmp_path / "run")
    resumed = pgfast.resume(tmp_path / "run", exact=True)
    assert resumed.timesteps == 400
    parameters.append(resumed.learn(400).policy.parameters)
    for others in parameters[1:]:
        np.testing.assert_array_equal(others, parameters[0])


@every_algorithm
def test_two_workers_update_as_one_with_masks(name: str) -> None:
    chosen = {"minibatch_size": 20, "num_epochs": 2} if name == "ppo" else {}
    with closing(agent_of(name, "info", num_envs=6, **chosen)) as whole:
        whole.learn(72)
        rollout = whole.sampler.collect(whole.timesteps, whole.updates)
        workers = [agent_of(name, "info", num_envs=3, **chosen) for _ in range(2)]
        for worker in workers:
            worker.learner.load_state(whole.learner.state())
        parts = [of_environments(a, rollout, part) for a, part in zip(workers, (slice(3), slice(3, 6)), strict=True)]
        run_workers([partial(a.learner.update, part) for a, part in zip(workers, parts, strict=True)])
        whole.learner.update(rollout, ALONE)
        np.testing.assert_array_equal(workers[0].policy.parameters, workers[1].policy.parameters)
        np.testing.assert_allclose(workers[0].policy.parameters, whole.policy.parameters, rtol=1e-6, atol=1e-6)


def test_predictions_take_masks() -> None:
    agent = agent_of("a2c", "info")
    batch, one = np.zeros((50, 3), np.float32), np.zeros(3, np.float32)
    masks = np.tile(np.eye(5, dtype=np.int8), (10, 1))
    np.testing.assert_array_equal(agent.predict(batch, action_mask=masks), np.arange(50) % 5 - 2)
    assert agent.predict(one, deterministic=True, action_mask=[False, False, True, False, False]) == 0
    assert set(agent.predict(np.zeros((500, 3)))) == {-2, -1, 0, 1, 2}  # without a mask, all actions are allowed
    probabilities = agent.distribution(one, action_mask=masks[3]).probabilities()
    np.testing.assert_array_equal(probabilities, [[0, 0, 0, 1, 0]])
    grouped = agent_of("a2c", "info", partial(MaskedEnv, "info", "multi_discrete"))
    assert grouped.predict(one, action_mask=([0, 1, 0], [1], [0, 0, 0, 1])).tolist() == [1, 7, 2]
    assert grouped.predict(batch, action_mask=np.tile([0, 1, 0, 1, 0, 0, 0, 1], (50, 1))).tolist() == [[1, 7, 2]] * 50
    for mask, text in (
        (([0, 1, 0], [1], [0, 0, 0, 0]), "predict: action_mask allows no action of group 2"),
        ([1] * 7, "predict: action_mask must have 3 + 1 + 4 entries, one for each choice, got 7"),
        (
            ([1], [0, 1, 0], [1] * 4),
            "predict: action_mask must have 3 + 1 + 4 entries, one for each choice, got 1 + 3 + 4",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            grouped.predict(one, action_mask=mask)
    with pytest.raises(ValueError, match=r"^predict: action_mask must have a row for each of 50 observations, got 49$"):
        agent.predict(batch, action_mask=masks[1:])
    with pytest.raises(ValueError, match=r"^predict: action_mask of row 7 allows no action$"):
        agent.predict(batch, action_mask=masks * (np.arange(50) != 7)[:, np.newaxis])
    with pytest.raises(
        ValueError, match=r"^predict: action_mask must be None, because the actions have no choices: box "
    ):
        pgfast.A2C("Pendulum-v1").predict(one, action_mask=[1])


def test_predictions_take_the_mask_from_the_observation() -> None:
    agent = agent_of("a2c", "observation")
    for action in range(5):
        obs = {"observation": np.zeros(3, np.float32), "action_mask": np.eye(5, dtype=np.int8)[action]}
        assert agent.predict(obs) == action - 2
    obs = {"observation": np.zeros((5, 3), np.float32), "action_mask": np.eye(5, dtype=np.int8)}
    np.testing.assert_array_equal(agent.predict(obs), np.arange(5) - 2)
    with pytest.raises(ValueError, match=r'^predict: obs must hold the key "action_mask", or give action_mask=$'):
        agent.predict({"observation": np.zeros(3, np.float32)})


@every_place
def test_videos_take_masks(place: str, registered: str, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    make = partial(MaskedEnv, place, render_mode="rgb_array")  # type: ignore[arg-type]
    for env, chosen in ((make, {}), (registered, {"env_kwargs": {"place": place}})):
        with closing(agent_of("a2c", place, env, **chosen)) as agent:
            for seed in range(3):
                assert (
                    record_video(agent, tmp_path / "v.mp4", seed=seed).length == agent.evaluate(1, seed=seed).lengths[0]
                )


def test_a_rollout_without_masks_has_none() -> None:
    with closing(agent_of("a2c", "none", "CartPole-v1")) as agent:
        agent.learn(36)
        assert agent.sampler.rollout.masks is None
