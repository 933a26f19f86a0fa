"""PPO: its gradient against A2C's and the reference, its epochs, and its settings."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

import pgfast
from counting_env import CountingEnv
from masked_env import MaskedEnv
from pgfast import kernels, losses
from pgfast.agent import Agent
from pgfast.policies import PolicyTape
from pgfast.reduce import ALONE
from pgfast.reference import categorical, network, optim
from pgfast.reference import losses as reference
from pgfast.reference.returns import gae
from pgfast.sampling.batch import Batch
from pgfast.sampling.minibatches import Minibatches
from pgfast.sampling.rollout import Rollout
from pgfast.state import flatten
from states import assert_equal_states
from test_recurrent_agents import MODES, shaken, vector
from test_training import resume_to, without_times

SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 6, "hidden_sizes": (8,), "preset": None, "seed": 3}
EQUAL: dict[str, Any] = {
    "learning_rate": 1e-2,
    "gae_lambda": 0.9,
    "optimizer": "adam",
    "max_grad_norm": 0.5,
    "entropy_coef": 0.01,
    "value_coef": 0.5,
    "normalize_advantages": False,
}
AS_A2C: dict[str, Any] = {"num_epochs": 1, "minibatch_size": None}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every call of ``losses.ppo_gradient`` from now on, and what it returned as ``losses``."""
    found: list[dict[str, Any]] = []
    original = losses.ppo_gradient

    def noted(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        arguments = inspect.signature(original).bind(*args, **kwargs).arguments
        found.append({**arguments, "losses": result[0]})
        return result

    monkeypatch.setattr(losses, "ppo_gradient", noted)
    return found


def collected(agent: Agent) -> Rollout:
    """The next rollout of the agent, without an update."""
    if agent.updates == 0:
        agent.start_environments()
    return agent.sampler.collect(agent.timesteps, agent.updates)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "discrete": ("CartPole-v1", {}),
    "box": ("Pendulum-v1", {"normalize_observations": True, "normalize_rewards": True}),
    "normalized advantages": ("CartPole-v1", {"normalize_advantages": True, "optimizer": "rmsprop"}),
    "gru": (lambda: CountingEnv(4), {"memory": "gru", "memory_size": 5}),
    "lstm of two networks": (
        lambda: CountingEnv(4),
        {"memory": "lstm", "memory_size": 5, "separate_value_network": True},
    ),
    "two networks": ("CartPole-v1", {"separate_value_network": True, "value_learning_rate": 3e-3, "optimizer": "sgd"}),
    "masks": (MaskedEnv, {"action_mask": "info", "normalize_advantages": True}),
    "other lambda": (
        "CartPole-v1",
        {"value_gae_lambda": 1.0, "learning_rate_schedule": "linear", "schedule_timesteps": 99},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_epoch_of_one_minibatch_is_a2c_bit_for_bit(case: str) -> None:
    env, chosen = CASES[case]
    a2c = pgfast.A2C(env, **{**SMALL, **EQUAL, **chosen})
    ppo = pgfast.PPO(env, **{**SMALL, **EQUAL, **chosen, **AS_A2C})
    for update in range(1, 4):
        for agent in (a2c, ppo):
            agent.learn(24)
        np.testing.assert_array_equal(ppo.learner._gradient, a2c.learner._gradient)
        np.testing.assert_array_equal(ppo.policy.parameters, a2c.policy.parameters)
        assert a2c.learner._gradient.any()
        assert a2c.updates == update
    found, expected = (flatten(agent.learner.state()) for agent in (ppo, a2c))
    assert_equal_states(found, expected)


def test_an_update_matches_the_float64_reference() -> None:
    """Two epochs of three minibatches: forward passes, losses with both clippings, gradients and Adam."""
    chosen = {"gae_lambda": 0.9, "learning_rate": 0.02, "num_epochs": 2, "minibatch_size": 8, "clip_range": 0.05}
    agent = shaken(pgfast.PPO("CartPole-v1", **SMALL, **chosen, entropy_coef=0.01, value_clip_range=0.1))
    rollout, before = collected(agent), agent.policy.parameters.astype(np.float64)
    metrics = agent.learner.update(rollout, ALONE)

    layers = [("dense", 8, 0, 1, "tanh"), ("dense", 3, 0, 1, "identity")]
    x = rollout.observations.reshape(-1, 4).astype(np.float64)
    outputs = network.forward(layers, before, x)
    old_values = outputs[:, 2].reshape(7, 4)
    flags = (rollout.terminated, rollout.truncated)
    advantages, returns = gae(rollout.rewards, old_values[:-1], old_values[1:], *flags, 0.99, 0.9)
    actions = rollout.actions.reshape(-1)
    old_log_prob = categorical.log_prob(outputs[:24, :2], actions)
    batch = Batch.of_all_rows(rollout, rollout.rewards, rollout.rewards, rollout.values)  # type: ignore[arg-type]
    minibatches = Minibatches(batch, len(batch), 8, SMALL["seed"], ALONE)
    parameters, mean, square, found = before, np.zeros_like(before), np.zeros_like(before), []
    for epoch in range(2):
        for minibatch in minibatches.shuffled(epoch):
            rows = minibatch.counted
            outputs = network.forward(layers, parameters, x[rows])
            a = advantages.reshape(-1)[rows]
            terms, (dlog_prob, dentropy, dvalues) = reference.ppo_gradient(
                categorical.log_prob(outputs[:, :2], actions[rows]),
                old_log_prob[rows],
                (a - a.mean()) / a.std(),
                categorical.entropy(outputs[:, :2]),
                returns.reshape(-1)[rows],
                outputs[:, 2],
                0.05,
                0.01,
                0.5,
                old_values=old_values.reshape(-1)[rows],
                value_clip_range=0.1,
            )
            dlogits = categorical.gradient(outputs[:, :2], actions[rows], dlog_prob, dentropy)
            gradient = network.vjp(layers, parameters, x[rows], np.column_stack([dlogits, dvalues]))
            gradient *= min(1.0, 0.5 / np.linalg.norm(gradient))
            found.append(terms)
            parameters, mean, square = optim.adam(
                parameters, gradient, mean, square, len(found), 0.02, 0.9, 0.999, 1e-5
            )
    np.testing.assert_allclose(agent.policy.parameters, parameters, atol=1e-4)
    assert np.abs(parameters - before).max() > 0.05
    policy_loss, value_loss, _, clip_fraction, _ = np.mean(found, axis=0)
    expected = {"policy_loss": policy_loss, "value_loss": value_loss, "clip_fraction": clip_fraction, "epochs": 2}
    expected["approx_kl"] = np.mean([terms[4] for terms in found[3:]])
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    assert 0 < clip_fraction < 1


@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("case", CASES)
def test_the_loss_compares_with_the_numbers_of_the_rollout(case: str, size: int | None, calls: list[Any]) -> None:
    """The ratios of a first minibatch are exactly 1, and its values exactly those of the rollout."""
    env, chosen = CASES[case]
    ranges = {"num_epochs": 1, "minibatch_size": size, "value_clip_range": 0.1}
    agent = pgfast.PPO(env, **{**SMALL, **EQUAL, **chosen, **ranges}).learn(24)
    rollout = collected(agent)
    calls.clear()
    metrics = agent.learner.update(rollout, ALONE)
    first = calls[0]
    np.testing.assert_array_equal(first["log_prob"], first["old_log_prob"])
    np.testing.assert_array_equal(first["values"], first["old_values"])
    assert first["losses"][3:] == (0.0, 0.0)  # clip_fraction, approx_kl
    recorded = (rollout.log_prob, rollout.values[:-1])  # type: ignore[index]
    for name, expected in zip(("old_log_prob", "old_values"), recorded, strict=True):
        found = np.concatenate([call[name][slice(None) if call["valid"] is None else call["valid"]] for call in calls])
        np.testing.assert_array_equal(np.sort(found), np.sort(expected[rollout.valid]), err_msg=name)
    if size is None:
        assert (metrics["approx_kl"], metrics["clip_fraction"]) == (0.0, 0.0)
        assert np.shares_memory(first["old_log_prob"], rollout.log_prob)


def test_log_probabilities_are_recorded_and_not_computed_again() -> None:
    agent = pgfast.PPO("CartPole-v1", **SMALL, **AS_A2C)
    rollout = collected(agent)
    rollout.log_prob -= 0.25
    metrics = agent.learner.update(rollout, ALONE)
    assert metrics["approx_kl"] == pytest.approx(np.exp(0.25) - 1.25, rel=1e-5)
    assert metrics["clip_fraction"] == 1.0


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"num_epochs": 1, "minibatch_size": None}, 0),
        ({"num_epochs": 1, "minibatch_size": 24}, 0),
        ({"num_epochs": 3, "minibatch_size": None}, 2),
        ({"num_epochs": 3, "minibatch_size": None, "recompute_advantages": True}, 4),
        ({"num_epochs": 2, "minibatch_size": 12}, 4),
    ],
    ids=str,
)
def test_a_first_epoch_of_one_minibatch_has_the_forward_passes_of_the_rollout(
    chosen: dict[str, Any], expected: int, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = pgfast.PPO("CartPole-v1", **SMALL, **chosen, memory=memory, memory_size=5)
    rollout, recorded = collected(agent), 0
    record = PolicyTape.record

    def counted(tape: PolicyTape, *args: Any) -> None:
        nonlocal recorded
        recorded += 1
        record(tape, *args)

    monkeypatch.setattr(PolicyTape, "record", counted)
    agent.learner.update(rollout, ALONE)
    assert recorded == expected


@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_no_step_follows_a_minibatch_that_exceeds_target_kl(memory: Any, calls: list[Any]) -> None:
    chosen: dict[str, Any] = {**SMALL, **EQUAL, "num_epochs": 4, "minibatch_size": 8, "memory": memory}

    def run(target_kl: float | None) -> tuple[Agent, dict[str, Any]]:
        calls.clear()
        agent = pgfast.PPO("CartPole-v1", **chosen, target_kl=target_kl)
        return agent, agent.learner.update(collected(agent), ALONE)

    free, metrics = run(None)
    assert (free.optimizer.steps, metrics["epochs"]) == (12, 4)
    divergences = [call["losses"][4] for call in calls]
    stop = int(np.argmax(divergences))
    assert stop > 3
    stopped, metrics = run((max(divergences[:stop]) + divergences[stop]) / 2)
    assert stopped.optimizer.steps == stop
    assert [call["losses"][4] for call in calls] == divergences[: stop + 1]
    assert metrics["epochs"] == pytest.approx(stop / 3)
    assert metrics["approx_kl"] == pytest.approx(np.mean(divergences[stop - 2 : stop + 1]))
    assert not np.array_equal(stopped.policy.parameters, free.policy.parameters)


def estimates_by_hand(agent: Agent, rollout: Rollout, parameters: NDArray[np.float32]) -> tuple[Any, Any]:
    """Advantages and returns with the values under these parameters, computed step by step."""
    policy, state = agent.policy, rollout.initial_state
    kept = policy.parameters.copy()
    policy.parameters[:] = parameters

    def step(observations: Any, starts: Any, before: Any) -> tuple[Any, Any]:
        if not policy.has_memory:
            return policy.values(observations), before
        _, values, after = policy.step(observations, before, starts)
        return values, after

    values, states = [], []
    for observations, starts in zip(rollout.observations, rollout.time == 0, strict=True):
        of_step, state = step(observations, starts, state)
        values.append(of_step)
        states.append(state)
    next_values = np.array(values[1:])
    for t, n, last in rollout.final_observations:
        next_values[t, n] = step(last[np.newaxis], None, states[t][n : n + 1])[0][0]
    policy.parameters[:] = kept
    flags = (rollout.terminated, rollout.truncated)
    return kernels.gae(rollout.rewards, np.array(values[:-1]), next_values, *flags, 0.9, 0.8)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_advantages_are_those_of_the_parameters_before_each_epoch(
    mode: AutoresetMode, memory: Any, recompute: bool, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over episodes that end, are truncated and, with SAME_STEP, are followed by others at once."""
    chosen: dict[str, Any] = {"discount": 0.9, "gae_lambda": 0.8, "learning_rate": 0.05, "n_steps": 6}
    chosen |= {"num_epochs": 3, "minibatch_size": None, "normalize_advantages": False, "value_clip_range": 0.2}
    agent = pgfast.PPO(vector(mode), **{**SMALL, **chosen}, memory=memory, recompute_advantages=recompute)
    collected(agent)  # so that the next rollout begins within episodes
    rollout = agent.sampler.collect(24, 1)
    if mode is AutoresetMode.SAME_STEP:
        assert {t for t, _, _ in rollout.final_observations} == {2, 3, 5}  # also after the last step
    parameters = []
    evaluate = PolicyTape.evaluate

    def noted(tape: PolicyTape, *args: Any) -> Any:
        parameters.append(agent.policy.parameters.copy())
        return evaluate(tape, *args)

    monkeypatch.setattr(PolicyTape, "evaluate", noted)
    metrics = agent.learner.update(rollout, ALONE)
    assert len(calls) == len(parameters) == 3
    returns, values = (calls[0][name].reshape(6, 4)[rollout.valid] for name in ("returns", "old_values"))
    assert metrics["explained_variance"] == pytest.approx(1.0 - (returns - values).var() / returns.var(), rel=1e-4)
    for call, of_epoch in zip(calls, parameters, strict=True):
        expected = estimates_by_hand(agent, rollout, of_epoch if recompute else parameters[0])
        for name, array in zip(("advantages", "returns"), expected, strict=True):
            np.testing.assert_array_equal(call[name].reshape(6, 4)[rollout.valid], array[rollout.valid], err_msg=name)
        np.testing.assert_array_equal(call["old_values"], rollout.values[:-1].reshape(-1))  # type: ignore[index]
    assert recompute != np.array_equal(calls[0]["advantages"], calls[2]["advantages"])


def test_each_minibatch_is_normalized(calls: list[Any]) -> None:
    chosen: dict[str, Any] = {**SMALL, "num_epochs": 2, "minibatch_size": 8}
    for normalized in (True, False):
        calls.clear()
        agent = pgfast.PPO("CartPole-v1", **chosen, normalize_advantages=normalized)
        agent.learner.update(collected(agent), ALONE)
        assert len(calls) == 6
        for call in calls:
            assert (abs(call["advantages"].mean()) < 1e-6) == normalized
            assert (abs(call["advantages"].std() - 1.0) < 1e-5) == normalized


def test_each_update_and_epoch_draws_new_minibatches(calls: list[Any]) -> None:
    agent = pgfast.PPO("CartPole-v1", **SMALL, num_epochs=3, minibatch_size=8)
    rollout = collected(agent)
    drawn = []
    for rollout.update in (0, 1, 0):
        calls.clear()
        agent.learner.update(rollout, ALONE)
        drawn.append([call["old_log_prob"].tobytes() for call in calls])
    assert len({*drawn[0], *drawn[1]}) == 2 * 3 * 3
    assert drawn[2] == drawn[0]


def test_a_sequence_of_invalid_rows_has_no_part_in_an_update() -> None:
    """With NEXT_STEP and one step per rollout, a step that resets is a whole sequence."""
    env = SyncVectorEnv([lambda length=length: CountingEnv(length) for length in (2, 3, 5, 7)])
    agent = pgfast.PPO(env, **{**SMALL, "n_steps": 1}, minibatch_size=1, memory="gru").learn(60)
    assert np.isfinite(agent.policy.parameters).all()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.4, 0.3, 0.2, 0.1]),
        ("cosine", [0.2 * (1.0 + np.cos(np.pi * done)) for done in (0.0, 0.25, 0.5, 0.75)]),
        (lambda done: 1.0 - done / 2.0, [0.4, 0.35, 0.3, 0.25]),
    ],
    ids=str,
)
def test_the_clip_range_follows_its_schedule(schedule: Any, expected: list[float], calls: list[Any]) -> None:
    chosen: dict[str, Any] = {**SMALL, **AS_A2C, "clip_range": 0.4, "schedule_timesteps": 96}
    agent = pgfast.PPO("CartPole-v1", **chosen, clip_range_schedule=schedule).learn(96)
    np.testing.assert_allclose([call["clip_range"] for call in calls], expected, rtol=1e-12)
    assert agent.settings.clip_range == 0.4


def test_values_stay_near_the_old_ones_with_a_value_clip_range() -> None:
    def change(value_clip_range: float | None) -> float:
        chosen: dict[str, Any] = {**SMALL, **EQUAL, "num_epochs": 10, "minibatch_size": None}
        agent = pgfast.PPO("CartPole-v1", **chosen, value_clip_range=value_clip_range)
        rollout = collected(agent)
        agent.learner.update(rollout, ALONE)
        observations = rollout.observations[:-1].reshape(-1, 4)
        assert rollout.values is not None
        return float(np.abs(agent.policy.values(observations) - rollout.values[:-1].reshape(-1)).max())

    assert change(1e-3) < change(1e-1) < change(None)


@pytest.mark.parametrize(
    "chosen",
    [
        {"recompute_advantages": True, "target_kl": 0.01, "clip_range_schedule": "linear", "schedule_timesteps": 900},
        {"memory": "gru", "memory_size": 5, "value_clip_range": 0.2},
        {"separate_value_network": True, "value_learning_rate": 3e-3, "value_gae_lambda": 1.0},
    ],
    ids=["recomputed", "memory", "separate"],
)
def test_resuming_between_minibatches_of_updates_is_exact(chosen: dict[str, Any], tmp_path: Path) -> None:
    def make() -> Agent:
        sizes = {"n_steps": 10, "minibatch_size": 12, "num_epochs": 3, "report_every": 40, "sync_every": 200}
        return pgfast.PPO("Pendulum-v1", **{**SMALL, **sizes, **chosen, "normalize_rewards": True})

    whole = make().learn(600, run_dir=tmp_path / "whole")
    make().learn(200, run_dir=tmp_path / "part")
    resumed, messages = resume_to(tmp_path / "part", 600)
    assert messages[-1].endswith("exactly")
    assert_equal_states(flatten(resumed.state()), flatten(whole.state()))
    assert without_times(tmp_path / "part" / "progress.csv") == without_times(tmp_path / "whole" / "progress.csv")


@pytest.mark.parametrize("size", [None, 8])
def test_an_update_that_fails_after_its_first_step_leaves_no_trace(size: int | None, calls: list[Any]) -> None:
    agent = pgfast.PPO("CartPole-v1", **SMALL, minibatch_size=size).learn(24)
    agent.settings = agent.learner.settings = replace(agent.settings, learning_rate=1e30)
    rollout = collected(agent)
    arrays, values = flatten(agent.learner.state())
    before = {name: array.copy() for name, array in arrays.items()}, values
    calls.clear()
    with pytest.raises(FloatingPointError, match="finite"):
        agent.learner.update(rollout, ALONE)
    assert calls
    assert_equal_states(flatten(agent.learner.state()), before)
