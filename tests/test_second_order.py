"""NPG and TRPO: steps follow the equations, stay in the trust region, and restore the parameters if they fail."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import pgfast
from pgfast import kernels
from pgfast.agent import Agent
from pgfast.algos import natural
from pgfast.losses import trpo_surrogate
from pgfast.policies import Policy
from pgfast.reduce import ALONE
from pgfast.sampling.batch import Batch
from pgfast.sampling.rollout import Rollout
from rollouts import random_rollout, rows_of

ACTIONS: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
}
SOLVERS = ["cholesky", "woodbury", "cg"]
ALGORITHMS: list[tuple[type[Agent], dict[str, Any]]] = [
    (pgfast.TRPO, {}),
    *((pgfast.NPG, {"solver": solver}) for solver in SOLVERS),
]
every_algorithm = pytest.mark.parametrize(("algorithm", "chosen"), ALGORITHMS, ids=["trpo", *SOLVERS])


class Still(gymnasium.Env):
    """A placeholder environment; only its spaces are used."""

    def __init__(self, action_space: spaces.Space) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(3, np.float32), 1.0, False, False, {}


def make(algorithm: type[Agent], kind: str = "discrete", **chosen: Any) -> Agent:
    """Returns an agent whose advantages are the rewards of its rollouts."""
    plain = {"baseline": "zero", "whole_episodes": False, "discount": 0.0, "normalize_advantages": False}
    chosen = {"hidden_sizes": (5,), "num_envs": 2, "seed": 3} | plain | chosen
    return algorithm(lambda: Still(ACTIONS[kind]), preset=None, **chosen)


def make_rollout(agent: Agent, rng: np.random.Generator, rows: int = 40) -> Rollout:
    num_envs = min(rows, 2)
    rollout = random_rollout(agent, np.random.default_rng(0), rows // num_envs, num_envs)
    observations, actions, rewards = rows_of(rollout)
    observations[:] = rng.standard_normal((rows, 3), dtype=np.float32)
    actions[:], _ = agent.policy.act(observations, 5)
    rewards[:] = rng.standard_normal(rows, dtype=np.float32)
    return rollout


def take_step(agent: Agent, rollout: Rollout) -> dict[str, Any]:
    return agent.learner.update(rollout, ALONE)


def all_rows(rollout: Rollout) -> Batch:
    rewards = rollout.rewards
    return Batch.of_valid_rows(rollout, rewards, rewards, np.zeros(rollout.time.shape, np.float32))


def exact_fisher(policy: Policy, observations: np.ndarray) -> np.ndarray:
    """Returns the exact Fisher matrix, column by column."""
    operator = policy.fisher_operator(observations)
    return np.stack([operator(column) for column in np.eye(policy.parameters.size, dtype=np.float32)])


def mean_kl(agent: Agent, rollout: Rollout, before: np.ndarray, after: np.ndarray) -> float:
    observations, _, _ = rows_of(rollout)
    agent.policy.parameters[:] = before
    old = agent.policy.distribution(observations)
    agent.policy.parameters[:] = after
    return float(old.kl(agent.policy.distribution(observations)).mean(dtype=np.float64))


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_natural_step_follows_the_equations(kind: str, solver: str, rng: np.random.Generator) -> None:
    """theta + sqrt(2 max_kl / x'Fx) x with x = (F + damping I)^-1 g; F is exact for "cg", else from scores."""
    damping, max_kl = 0.05, 1e-3
    agent = make(pgfast.NPG, kind, solver=solver, damping=damping, max_kl=max_kl, cg_iterations=200)
    rollout = make_rollout(agent, rng)
    observations, actions, advantages = rows_of(rollout)
    before = agent.policy.parameters.astype(np.float64)
    scores = agent.policy.scores(observations, actions).astype(np.float64)
    if solver == "cg":
        fisher = exact_fisher(agent.policy, observations).astype(np.float64)
    else:
        fisher = sum(np.outer(score, score) for score in scores) / len(scores)
    g = (scores * advantages[:, None]).mean(axis=0)
    x = np.linalg.solve(fisher + damping * np.eye(g.size), g)
    expected = before + math.sqrt(2 * max_kl / (x @ fisher @ x)) * x
    metrics = take_step(agent, rollout)
    np.testing.assert_allclose(agent.policy.parameters, expected, atol=2e-5)
    assert metrics["kl"] == pytest.approx(
        mean_kl(agent, rollout, before.astype(np.float32), agent.policy.parameters.copy())
    )
    assert metrics["kl"] == pytest.approx(max_kl, rel=0.5)
    assert metrics["improvement"] > 0


@every_algorithm
def test_the_subsample_affects_only_the_fisher_matrix(
    algorithm: type[Agent], chosen: dict[str, Any], rng: np.random.Generator
) -> None:
    """With a third of the rows, the direction follows from F over these rows and g over all rows."""
    agent = make(algorithm, fisher_subsample=3, damping=0.1, cg_iterations=200, **chosen)
    rollout = make_rollout(agent, rng)
    observations, actions, advantages = rows_of(rollout)
    before = agent.policy.parameters.copy()
    rows = natural.fisher_rows(all_rows(rollout), 3, agent.settings.seed, rollout.update, ALONE)
    assert rows.count == len(np.unique(rows.observations, axis=0)) == 14  # of 40
    if chosen.get("solver", "cg") == "cg":
        fisher = exact_fisher(agent.policy, rows.observations)
    else:
        scores = agent.policy.scores(rows.observations, rows.actions)
        fisher = scores.T @ scores / len(scores)
    g = (agent.policy.scores(observations, actions) * advantages[:, None]).mean(axis=0)
    x = np.linalg.solve(fisher + 0.1 * np.eye(g.size), g)
    take_step(agent, rollout)
    moved = agent.policy.parameters - before
    np.testing.assert_allclose(moved / np.linalg.norm(moved), x / np.linalg.norm(x), atol=1e-3)


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_exact_kl_of_a_small_step_is_max_kl(kind: str, rng: np.random.Generator) -> None:
    agent = make(pgfast.NPG, kind, damping=1e-4, max_kl=1e-5, cg_iterations=200)
    assert take_step(agent, make_rollout(agent, rng, 400))["kl"] == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_trust_region_step_improves_within_the_radius(kind: str, rng: np.random.Generator) -> None:
    agent = make(pgfast.TRPO, kind, max_kl=0.02)
    rollout = make_rollout(agent, rng)
    before = agent.policy.parameters.copy()
    metrics = take_step(agent, rollout)
    after = agent.policy.parameters.copy()
    assert 0.002 < mean_kl(agent, rollout, before, after) <= 0.02
    assert metrics["kl"] == mean_kl(agent, rollout, before, after)
    observations, actions, advantages = rows_of(rollout)
    agent.policy.parameters[:] = before
    old = agent.policy.distribution(observations)
    agent.policy.parameters[:] = after
    new = agent.policy.distribution(observations)
    gain = np.mean(new.likelihood_ratio(old, actions) * advantages) - np.mean(advantages)
    assert metrics["improvement"] == pytest.approx(gain, rel=1e-3)
    assert metrics["improvement"] > 0
    assert metrics["cg_residual"] < 0.1


@every_algorithm
def test_a_zero_gradient_makes_no_step_and_is_no_failure(
    algorithm: type[Agent], chosen: dict[str, Any], rng: np.random.Generator
) -> None:
    agent = make(algorithm, **chosen)
    rollout = make_rollout(agent, rng)
    rollout.rewards[:] = 0.0
    before = agent.policy.parameters.copy()
    assert take_step(agent, rollout)["step_size"] == 0.0
    np.testing.assert_array_equal(agent.policy.parameters, before)
    assert agent.learner.failed_updates == 0


def test_a_step_that_does_not_improve_the_surrogate_is_not_taken(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good actions lie close to the mean; a step within this radius leads far past them."""
    chosen: dict[str, Any] = {"hidden_sizes": (), "max_kl": 1e4, "damping": 1e-6, "cg_iterations": 200}
    agent = make(pgfast.TRPO, "box", line_search_steps=1, **chosen)
    agent.policy.parameters[:-2] = 0.0
    rollout = make_rollout(agent, rng)
    rollout.rewards[:] = rollout.actions[..., 0]
    observations, actions, advantages = rows_of(rollout)
    before = agent.policy.parameters.copy()

    def solve_for_the_means(*arguments: Any, **keywords: Any) -> kernels.ConjugateGradientResult:
        solved = kernels.conjugate_gradient(*arguments, **keywords)
        solved.solution[-2:] = 0.0  # for the means alone the quadratic model of the KL divergence is exact
        return solved

    tried = []

    def evaluate(*arguments: Any) -> natural.Candidate:
        tried.append(original(*arguments))
        return tried[-1]

    original = natural.evaluate
    monkeypatch.setattr("pgfast.algos.trpo.conjugate_gradient", solve_for_the_means)
    monkeypatch.setattr(natural, "evaluate", evaluate)
    monkeypatch.setattr(natural, "step_size", lambda *args: math.sqrt(0.99) * kernels.natural_step_size(*args))
    assert take_step(agent, rollout)["step_size"] == 0.0
    np.testing.assert_array_equal(agent.policy.parameters, before)
    old = agent.policy.distribution(observations)
    (candidate,) = tried
    assert candidate.kl <= 1e4
    assert candidate.loss >= trpo_surrogate(old, old, actions, advantages)


def test_a_failed_line_search_restores_every_bit(rng: np.random.Generator) -> None:
    # For so large a step, the KL divergence of a Gaussian is exponential in log_std, not quadratic.
    agent = make(pgfast.TRPO, "box", max_kl=100.0, damping=1e-6, line_search_steps=3, backtrack_ratio=0.999)
    rollout = make_rollout(agent, rng)
    before = agent.policy.parameters.copy()
    metrics = take_step(agent, rollout)
    np.testing.assert_array_equal(agent.policy.parameters, before)
    assert agent.learner.failed_updates == metrics["failed_updates"] == 1
    assert (metrics["kl"], metrics["step_size"], metrics["line_search_steps"]) == (0.0, 0.0, 3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_natural_step_that_overflows_restores_every_bit(solver: str, rng: np.random.Generator) -> None:
    agent = make(pgfast.NPG, solver=solver, max_kl=1e80)
    rollout = make_rollout(agent, rng)
    before = agent.policy.parameters.copy()
    assert take_step(agent, rollout)["step_size"] == 0.0
    np.testing.assert_array_equal(agent.policy.parameters, before)
    assert agent.learner.failed_updates == 1


@pytest.mark.parametrize("algorithm", [pgfast.NPG, pgfast.TRPO])
def test_an_exception_during_a_step_restores_every_bit(
    algorithm: type[Agent], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(algorithm)
    rollout = make_rollout(agent, rng)
    before = agent.policy.parameters.copy()

    def interrupt(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pgfast.algos.natural.trpo_surrogate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        take_step(agent, rollout)
    np.testing.assert_array_equal(agent.policy.parameters, before)


@every_algorithm
@settings(max_examples=80)
@given(data=st.data())
def test_no_batch_breaks_the_policy(algorithm: type[Agent], chosen: dict[str, Any], data: st.DataObject) -> None:
    """Tries few or repeated rows (a rank-deficient Fisher matrix), constant or huge advantages, and extreme outputs."""
    kind = data.draw(st.sampled_from(sorted(ACTIONS)), label="actions")
    max_kl = data.draw(st.sampled_from([1e-6, 0.01, 1.0]), label="max_kl")
    damping = data.draw(st.sampled_from([1e-8, 1e-3, 10.0]), label="damping")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    hidden = data.draw(st.sampled_from([(), (5,)]), label="hidden_sizes")
    agent = make(algorithm, kind, max_kl=max_kl, damping=damping, hidden_sizes=hidden, **chosen)
    scale = data.draw(st.sampled_from([1.0, 1e3, 1e12, 1e30]), label="scale of the weights")
    network = agent.policy.network.parameters
    network *= np.float32(scale)
    try:
        rollout = make_rollout(agent, rng, data.draw(st.sampled_from([1, 2, 60]), label="rows"))
    except ValueError as error:  # the policy's outputs overflow
        assert "finite" in str(error)  # noqa: PT017
        return
    change = data.draw(st.sampled_from(["none", "constant", "one", "huge", "repeated"]), label="change")
    if change == "constant":
        rollout.rewards[:] = 1.0
    elif change == "one":
        rollout.rewards.reshape(-1)[1:] = 0.0
    elif change == "huge":
        rollout.rewards[:] *= np.float32(1e30)
    elif change == "repeated":
        rollout.observations[:] = rollout.observations[0, 0]
    before = agent.policy.parameters.copy()
    try:
        metrics = take_step(agent, rollout)
    except (ValueError, FloatingPointError) as error:  # the error names the non-finite number
        assert "finite" in str(error)  # noqa: PT017
        np.testing.assert_array_equal(agent.policy.parameters, before)
        return
    after = agent.policy.parameters
    assert np.isfinite(after).all()
    assert all(value is None or math.isfinite(value) for value in metrics.values())
    if metrics["step_size"] == 0.0:
        np.testing.assert_array_equal(after, before)
    elif algorithm is pgfast.TRPO:
        assert mean_kl(agent, rollout, before, after.copy()) <= max_kl
        assert metrics["improvement"] > 0
    else:
        assert mean_kl(agent, rollout, before, after.copy()) == pytest.approx(metrics["kl"])


@every_algorithm
def test_constant_rewards_leave_the_policy_finite(algorithm: type[Agent], chosen: dict[str, Any]) -> None:
    agent = make(algorithm, n_steps=8, **chosen)
    agent.learn(64)
    assert agent.updates == 4
    assert np.isfinite(agent.policy.parameters).all()


@every_algorithm
@pytest.mark.parametrize("kind", ACTIONS)
def test_a_step_does_not_depend_on_thread_count(
    algorithm: type[Agent], chosen: dict[str, Any], kind: str, num_threads
) -> None:
    results = []
    for threads in (1, 2, 3):
        num_threads(threads)
        agent = make(algorithm, kind, **chosen)
        rollout = make_rollout(agent, np.random.default_rng(0), 3000)
        take_step(agent, rollout)
        results.append(agent.policy.parameters.copy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
