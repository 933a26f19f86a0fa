"""VPG and A2C with memory: rollouts, gradients through time, and acting with a state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

import pgfast
from counting_env import CountingEnv
from pgfast.agent import Agent
from pgfast.nn import Layer, NetworkSpec
from pgfast.policies import Policy
from pgfast.reduce import ALONE
from pgfast.reference import categorical, graph, losses
from pgfast.reference.memory import Sequences
from pgfast.reference.returns import gae
from pgfast.reporting.video import record_video
from pgfast.sampling.rollout import Rollout
from sequences import Kind, each_kind

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
SMALL: dict[str, Any] = {"preset": None, "hidden_sizes": (6,), "memory_size": 5, "seed": 4}


class Noisy(CountingEnv):
    """Observes noise, so that an output depends on which observations came before."""

    def _observe(self) -> NDArray[np.float32]:
        return np.random.default_rng(1000 * self.episode + self.time).standard_normal(2, np.float32)


def vector(mode: AutoresetMode) -> SyncVectorEnv:
    """Two environments whose episodes are cut off, one whose episodes end, and one with an episode of many rollouts."""
    lengths = ((3, True), (5, True), (4, False), (30, True))
    make = [lambda length=length, truncate=truncate: Noisy(length, truncate) for length, truncate in lengths]
    return SyncVectorEnv(make, autoreset_mode=mode)


def shaken(agent: Agent) -> Agent:
    """The agent with parameters far from the initial ones, under which every policy is nearly uniform."""
    parameters = agent.policy.parameters
    parameters += np.random.default_rng(0).normal(0.0, 0.5, parameters.size).astype(np.float32)
    return agent


def two_rollouts(agent: Agent) -> list[Rollout]:
    """The rows of two rollouts in a row of the same policy."""
    agent.start_environments()
    return [agent.sampler.collect(0, 0), agent.sampler.collect(agent.sampler.rollout.rows, 1)]


@pytest.mark.parametrize("separate", [False, True])
@each_mode
@each_kind
def test_a_rollout_is_that_of_stepping_the_policy_by_hand(kind: Kind, mode: AutoresetMode, separate: bool) -> None:
    agent = shaken(pgfast.A2C(vector(mode), n_steps=7, memory=kind, separate_value_network=separate, **SMALL))
    policy, size = agent.policy, agent.policy.network.state_size
    assert size == 5 * (2 if kind == "lstm" else 1) * (2 if separate else 1)
    state = policy.network.initial_state(4)
    agent.start_environments()
    for update in range(3):
        rollout = agent.sampler.collect(28 * update, update)
        np.testing.assert_array_equal(rollout.initial_state, state)
        assert state.any() == (update > 0)
        assert rollout.values is not None
        next_values = rollout.next_values(rollout.values, agent.value_function.values_at)
        last = {(t, n): observation for t, n, observation in rollout.final_observations}
        assert (len(last) > 0) == (mode is not AutoresetMode.NEXT_STEP)
        for t in range(8):
            distribution, values, after = policy.step(rollout.observations[t], state, rollout.time[t] == 0)
            np.testing.assert_array_equal(rollout.values[t], values)
            if t == 7:
                break
            np.testing.assert_array_equal(rollout.log_prob[t], distribution.log_prob(rollout.actions[t]))
            state = after
            for n in np.flatnonzero(rollout.truncated[t]):
                row, before = rollout.observations[t + 1, n : n + 1], state[n : n + 1]
                if mode is not AutoresetMode.NEXT_STEP:
                    row = last[t, n][np.newaxis]
                successor = policy.step(row, before).values
                assert successor is not None
                np.testing.assert_array_equal(next_values[t, n], successor[0])


def reference_gradient(policy: Policy, rollout: Rollout, parameters: NDArray[np.float64], vpg: bool) -> NDArray[Any]:
    """The gradient of the loss of A2C, or of VPG without a baseline, in plain NumPy over all sequences."""
    nodes, steps, num_envs = policy.network.graph.nodes, rollout.steps, rollout.num_envs
    x = rollout.observations.reshape(-1, 2).astype(np.float64)
    starts, held = (rollout.time == 0).reshape(-1), np.zeros(len(x), np.bool_)
    initial = rollout.initial_state.astype(np.float64)
    rows = rollout.rows
    actions, valid = rollout.actions.reshape(-1), rollout.valid.reshape(-1)

    def run(until: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return graph.forward_sequence(nodes, parameters, [x[:until]], Sequences(initial, starts[:until], held[:until]))

    outputs, _ = run(len(x))
    values = np.zeros((steps + 1, num_envs)) if vpg else outputs[:, 3].reshape(steps + 1, num_envs)
    next_values = values[1:].copy()
    for t, n, last in rollout.final_observations:
        if not vpg:
            _, states = run((t + 1) * num_envs)
            alone = Sequences(states[n : n + 1], np.zeros(1, np.bool_), np.zeros(1, np.bool_))
            y, _ = graph.forward_sequence(nodes, parameters, [last[np.newaxis].astype(np.float64)], alone)
            next_values[t, n] = y[0, 3]
    advantages, returns = gae(
        rollout.rewards.astype(np.float64),
        values[:-1],
        next_values,
        rollout.terminated,
        rollout.truncated,
        0.9,
        0.8,
    )
    logits = outputs[:rows, :3]
    log_prob, entropy = categorical.log_prob(logits, actions), categorical.entropy(logits)
    if vpg:
        _, (dlog_prob, dentropy, _) = losses.policy_gradient_gradient(
            log_prob, advantages.reshape(-1), valid, entropy, 0.01
        )
        dy = categorical.gradient(logits, actions, dlog_prob, dentropy)
    else:
        _, (dlog_prob, dentropy, dvalues) = losses.a2c_gradient(
            log_prob, advantages.reshape(-1), entropy, returns.reshape(-1), outputs[:rows, 3], 0.01, 0.5, valid
        )
        dy = np.column_stack([categorical.gradient(logits, actions, dlog_prob, dentropy), dvalues])
    return graph.vjp_sequence(nodes, parameters, [x[:rows]], dy, Sequences(initial, starts[:rows], held[:rows]))[0]


def check_an_update(agent: Agent) -> None:
    """Compares the step of plain SGD with learning rate 1 of a second rollout with the reference."""
    policy = shaken(agent).policy
    _, rollout = two_rollouts(agent)
    assert rollout.initial_state.any() != agent.settings.collects_whole_episodes
    assert (rollout.truncated | rollout.terminated).any()
    before = policy.parameters.copy()
    expected = reference_gradient(policy, rollout, before.astype(np.float64), agent.name == "vpg")
    agent.learner.update(rollout, ALONE)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(before - policy.parameters, expected, atol=2e-5 * np.abs(expected).max())


EXACT: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "max_grad_norm": 1e9,
    "entropy_coef": 0.01,
    "discount": 0.9,
    "gae_lambda": 0.8,
}


@pytest.mark.parametrize("separate", [False, True])
@each_mode
@each_kind
def test_the_gradient_of_a2c_goes_back_through_the_rollout(kind: Kind, mode: AutoresetMode, separate: bool) -> None:
    """Over ends, truncations and, with NEXT_STEP, rows that are not valid; it stops where episodes start."""
    check_an_update(pgfast.A2C(vector(mode), n_steps=7, memory=kind, separate_value_network=separate, **EXACT, **SMALL))


@pytest.mark.parametrize("whole", [False, True])
@each_mode
@each_kind
def test_the_gradient_of_vpg_goes_back_through_the_rollout(kind: Kind, mode: AutoresetMode, whole: bool) -> None:
    settings = {"baseline": "zero", "whole_episodes": whole, "normalize_advantages": False}
    check_an_update(pgfast.VPG(vector(mode), n_steps=7, memory=kind, **settings, **EXACT, **SMALL))


@pytest.mark.parametrize("baseline", ["zero", "time", "linear", "mlp"])
def test_baselines_have_no_memory(baseline: Any) -> None:
    agent = pgfast.VPG("CartPole-v1", memory="gru", baseline=baseline, num_envs=3, n_steps=8, **SMALL)
    plain = pgfast.VPG("CartPole-v1", baseline=baseline, num_envs=3, n_steps=8, preset=None, hidden_sizes=(6,))
    arrays, expected = ({n: a.shape for n, a in x.learner.model().items() if "policy" not in n} for x in (agent, plain))
    assert arrays == expected
    agent.learn(100)
    assert np.isfinite(agent.policy.parameters).all()


@pytest.mark.parametrize(("algorithm", "kind"), [(pgfast.A2C, "gru"), (pgfast.PPO, "lstm"), (pgfast.VPG, "lstm")])
def test_a_training_does_not_depend_on_the_number_of_threads(
    algorithm: type[Agent], kind: Kind, num_threads: Callable[[int], None]
) -> None:
    found = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        agent = algorithm("CartPole-v1", preset=None, memory=kind, memory_size=70, num_envs=20, n_steps=12)
        found.append(agent.learn(20 * 12 * 5).policy.parameters)
    for parameters in found[1:]:
        np.testing.assert_array_equal(parameters, found[0])


def test_observations_of_several_leaves_and_normalizers_come_before_the_memory() -> None:
    class Nested(Noisy):
        def __init__(self) -> None:
            super().__init__(5)
            self.numbers = self.observation_space
            self.observation_space = spaces.Dict(numbers=self.numbers, code=spaces.Discrete(3))

        def _observe(self) -> Any:
            return {"numbers": super()._observe(), "code": self.time % 3}

    settings: dict[str, Any] = {"normalize_observations": True, "normalize_rewards": True, "n_steps": 7, "num_envs": 3}
    for algorithm in (pgfast.A2C, pgfast.PPO, pgfast.VPG):
        agent = algorithm(Nested, memory="gru", **settings, **SMALL).learn(100)
        assert agent.evaluate(2).lengths.tolist() == [5, 5]
        assert agent.predict({"numbers": np.zeros(2), "code": 1})[1].shape == (5,)


def acted(agent: Agent, mode: AutoresetMode, episodes: int) -> list[list[int]]:
    """The actions that two environments were given in an evaluation."""
    env = SyncVectorEnv([lambda: Noisy(6)] * 2, autoreset_mode=mode)
    assert agent.evaluate(episodes, deterministic=True, env=env).lengths.tolist() == [6] * episodes
    return [single.actions for single in env.envs]  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", [pgfast.A2C, pgfast.VPG])
@each_mode
@each_kind
def test_a_loop_with_predict_takes_the_actions_of_evaluate(
    kind: Kind, mode: AutoresetMode, algorithm: type[Agent]
) -> None:
    agent = shaken(algorithm(Noisy, num_envs=2, memory=kind, **SMALL))
    agent.policy.parameters[:] *= 3.0  # so that the best action changes within an episode
    first, second = acted(agent, mode, 6)
    assert first == second
    envs, state, taken, forgetful = [Noisy(6), Noisy(6)], None, [], []
    for episode in range(3):
        observations = np.stack([env.reset()[0] for env in envs])
        for t in range(6):
            starts = np.full(2, t == 0) if episode else None
            forgetful.append(int(agent.predict(observations, deterministic=True)[0][0]))
            actions, state = agent.predict(observations, deterministic=True, state=state, episode_start=starts)
            observations = np.stack([env.step(a)[0] for env, a in zip(envs, actions, strict=True)])
            taken.append(int(actions[0]))
    assert taken == first
    assert forgetful != first


@each_kind
def test_a_single_observation_has_a_state_of_its_own(kind: Kind) -> None:
    agent = shaken(pgfast.A2C("CartPole-v1", num_envs=2, memory=kind, **SMALL))
    observations = np.random.default_rng(3).standard_normal((4, 2, 4))
    one, batch = None, None
    for row in observations:
        action, one = agent.predict(row[0], deterministic=True, state=one)
        actions, batch = agent.predict(row, deterministic=True, state=batch)
        assert action == actions[0]
        np.testing.assert_allclose(one, batch[0], rtol=1e-5, atol=1e-6)
    assert one is not None
    assert one.shape == (agent.policy.network.state_size,)
    row = observations[0, 0]
    probabilities = agent.distribution(row, state=one).probabilities()
    np.testing.assert_array_equal(agent.distribution([row, row], state=batch).probabilities()[0], probabilities[0])
    fresh = agent.distribution(row).probabilities()
    assert np.abs(fresh - probabilities).max() > 1e-3
    np.testing.assert_array_equal(agent.distribution(row, state=one, episode_start=True).probabilities(), fresh)
    values = agent.values([row, row], state=batch, episode_start=[True, False])
    np.testing.assert_array_equal(values[:1], agent.values(row))
    assert values[1] != values[0]


def test_wrong_states_are_explained() -> None:
    agent = pgfast.A2C("CartPole-v1", num_envs=2, memory="gru", **SMALL)
    obs = np.zeros((2, 4))
    for calls in (agent.predict, agent.distribution, agent.values):
        name = calls.__name__
        with pytest.raises(
            ValueError, match=rf"^{name}: state must have shape \(B, state_size\) = \(2, 5\), got \(5,\)"
        ):
            calls(obs, state=np.zeros(5))
        with pytest.raises(ValueError, match=f"^{name}: state must be finite"):
            calls(obs, state=np.full((2, 5), np.nan))
        with pytest.raises(TypeError, match=f"^{name}: episode_start must be bool, got float64"):
            calls(obs, state=np.zeros((2, 5)), episode_start=[1.0, 0.0])
        with pytest.raises(ValueError, match=rf"^{name}: episode_start must have shape \(\) or \(B,\) = \(2,\)"):
            calls(obs, episode_start=[True])
    plain = pgfast.A2C("CartPole-v1", num_envs=2, preset=None)
    with pytest.raises(TypeError, match=r"^predict: this agent has no memory; leave out state and episode_start"):
        plain.predict(obs, state=np.zeros((2, 5)))
    with pytest.raises(TypeError, match=r"^values: this agent has no memory"):
        plain.values(obs, episode_start=True)


def test_a_video_shows_the_episode_of_evaluate(tmp_path: Path) -> None:
    agent = shaken(pgfast.A2C("CartPole-v1", num_envs=2, memory="lstm", **SMALL))
    result = record_video(agent, tmp_path / "video.mp4", seed=1)
    assert result.episode_return == agent.evaluate(1, seed=1).returns[0]


def test_memory_is_a_part_of_the_model(tmp_path: Path) -> None:
    model, other = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    agent = shaken(pgfast.A2C("CartPole-v1", num_envs=2, memory="gru", **SMALL))
    agent.save(model)
    loaded, obs = pgfast.load(model), np.ones((1, 4))
    assert (loaded.settings.memory, loaded.settings.memory_size) == ("gru", 5)
    for ours, theirs in zip(loaded.predict(obs, True), agent.predict(obs, True), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    warm = pgfast.A2C("CartPole-v1", num_envs=2, memory="gru", init_from=model, **SMALL)
    np.testing.assert_array_equal(warm.policy.parameters, agent.policy.parameters)
    plain = {name: value for name, value in SMALL.items() if name != "memory_size"}
    for settings, text in (
        ({}, "the model has memory gru, this agent none"),
        ({"memory": "lstm", "memory_size": 5}, "the model has memory gru, this agent lstm"),
        ({"memory": "gru"}, "the model has memory_size 5, this agent 128"),
    ):
        with pytest.raises(ValueError, match=text):
            pgfast.A2C("CartPole-v1", num_envs=2, init_from=model, **settings, **plain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the model has memory gru, this agent none"):
        pgfast.TRPO("CartPole-v1", num_envs=2, init_from=model, **plain)
    pgfast.TRPO("CartPole-v1", num_envs=2, **plain).save(other)
    with pytest.raises(ValueError, match="the model has memory none, this agent lstm"):
        pgfast.VPG("CartPole-v1", num_envs=2, memory="lstm", init_from=other, **plain)


def test_a_network_specification_may_have_memory(tmp_path: Path) -> None:
    critic = NetworkSpec(trunk=(Layer("dense", 4),), memory="lstm", memory_size=3)
    for spec in (
        NetworkSpec(memory="gru", memory_size=4, value=(Layer("dense", 3),)),
        NetworkSpec(trunk=(Layer("dense", 8, activation="tanh"),), value=critic),
    ):
        agent = pgfast.A2C("CartPole-v1", network=spec, preset=None, num_envs=2, n_steps=5).learn(50)
        agent.save(tmp_path / "model.safetensors")
        assert pgfast.load(tmp_path / "model.safetensors").predict(np.zeros(4))[1].shape in ((4,), (6,))
    recurrent = NetworkSpec(memory="gru", memory_size=4)
    agent = pgfast.VPG("CartPole-v1", network=recurrent, preset=None, num_envs=2, n_steps=8).learn(50)
    assert agent.policy.network.state_size == 4
    with pytest.raises(ValueError, match='memory "lstm" cannot be added to a NetworkSpec'):
        pgfast.A2C("CartPole-v1", network=recurrent, memory="lstm")
    for algorithm in (pgfast.NPG, pgfast.TRPO):
        with pytest.raises(ValueError, match='the memory "gru", which steps along the natural gradient do not support'):
            algorithm("CartPole-v1", network=recurrent)
        with pytest.raises(TypeError, match="has no setting memory"):
            algorithm("CartPole-v1", memory="gru")
