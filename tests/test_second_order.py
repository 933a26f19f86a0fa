"""NPG and TRPO: their steps are the equations, stay in the trust region, and never leave a trace where they fail."""

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
from pgfast.algos.policy_agent import Batch
from pgfast.algos.second_order import SecondOrderAgent
from pgfast.losses import trpo_surrogate

ACTIONS: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
}
SOLVERS = ["cholesky", "woodbury", "cg"]
ALGORITHMS: list[tuple[type[SecondOrderAgent], dict[str, Any]]] = [
    (pgfast.TRPO, {}),
    *((pgfast.NPG, {"solver": solver}) for solver in SOLVERS),
]
every_algorithm = pytest.mark.parametrize(("algorithm", "chosen"), ALGORITHMS, ids=["trpo", *SOLVERS])


class Still(gymnasium.Env):
    """An environment for its spaces alone."""

    def __init__(self, action_space: spaces.Space) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(3, np.float32), 1.0, False, False, {}


def make(algorithm: type[SecondOrderAgent], kind: str = "discrete", **chosen: Any) -> SecondOrderAgent:
    chosen = {"hidden_sizes": (5,), "num_envs": 2, "seed": 3} | chosen
    return algorithm(lambda: Still(ACTIONS[kind]), **chosen)


def make_batch(agent: SecondOrderAgent, rng: np.random.Generator, rows: int = 40) -> Batch:
    observations = rng.standard_normal((rows, 3), dtype=np.float32)
    actions, _ = agent.policy.act(observations, 5)
    advantages = rng.standard_normal(rows, dtype=np.float32)
    return Batch(observations, np.zeros(rows, np.int64), actions, advantages, advantages)


def take_step(agent: SecondOrderAgent, batch: Batch) -> dict[str, float]:
    old = agent.policy.distribution(batch.observations)
    return agent.step(batch, old, trpo_surrogate(old, old, batch.actions, batch.advantages))


def mean_kl(agent: SecondOrderAgent, batch: Batch, before: np.ndarray, after: np.ndarray) -> float:
    agent.policy.parameters[:] = before
    old = agent.policy.distribution(batch.observations)
    agent.policy.parameters[:] = after
    return float(old.kl(agent.policy.distribution(batch.observations)).mean(dtype=np.float64))


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_natural_step_is_the_equations(kind: str, solver: str, rng: np.random.Generator) -> None:
    """theta + sqrt(2 max_kl / x'Fx) x with x = (F + damping I)^-1 g, from the outer products of the course."""
    damping, max_kl = 0.05, 1e-3
    agent = make(pgfast.NPG, kind, solver=solver, damping=damping, max_kl=max_kl, cg_iterations=200)
    batch = make_batch(agent, rng)
    before = agent.policy.parameters.astype(np.float64)
    scores = agent.policy.scores(batch.observations, batch.actions).astype(np.float64)
    if solver == "cg":  # the exact Fisher matrix, column by column
        operator = agent.policy.fisher_operator(batch.observations)
        fisher = np.stack([operator(column) for column in np.eye(before.size, dtype=np.float32)]).astype(np.float64)
    else:
        fisher = sum(np.outer(score, score) for score in scores) / len(scores)
    g = (scores * batch.advantages[:, None]).mean(axis=0)
    x = np.linalg.solve(fisher + damping * np.eye(g.size), g)
    expected = before + math.sqrt(2 * max_kl / (x @ fisher @ x)) * x
    figures = take_step(agent, batch)
    np.testing.assert_allclose(agent.policy.parameters, expected, atol=2e-5)
    assert figures["kl"] == pytest.approx(
        mean_kl(agent, batch, before.astype(np.float32), agent.policy.parameters.copy())
    )
    assert figures["kl"] == pytest.approx(max_kl, rel=0.5)
    assert figures["improvement"] > 0


@every_algorithm
def test_a_subsample_is_of_the_fisher_matrix_alone(
    algorithm: type[SecondOrderAgent], chosen: dict[str, Any], rng: np.random.Generator
) -> None:
    """A third of the rows: the direction is that of F over these rows and of g over all."""
    agent = make(algorithm, fisher_subsample=3, damping=0.1, cg_iterations=200, **chosen)
    batch = make_batch(agent, rng)
    before = agent.policy.parameters.copy()
    chosen_rows = agent.fisher_rows(batch)
    assert len(np.unique(chosen_rows)) == 14  # of 40
    rows = batch.observations[chosen_rows]
    if chosen.get("solver", "cg") == "cg":
        operator = agent.policy.fisher_operator(rows)
        fisher = np.stack([operator(column) for column in np.eye(before.size, dtype=np.float32)])
    else:
        scores = agent.policy.scores(rows, batch.actions[chosen_rows])
        fisher = scores.T @ scores / len(scores)
    g = (agent.policy.scores(batch.observations, batch.actions) * batch.advantages[:, None]).mean(axis=0)
    x = np.linalg.solve(fisher + 0.1 * np.eye(g.size), g)
    take_step(agent, batch)
    moved = agent.policy.parameters - before
    np.testing.assert_allclose(moved / np.linalg.norm(moved), x / np.linalg.norm(x), atol=1e-3)


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_exact_kl_comes_to_the_radius_as_steps_become_small(kind: str, rng: np.random.Generator) -> None:
    agent = make(pgfast.NPG, kind, damping=1e-4, max_kl=1e-5, cg_iterations=200)
    assert take_step(agent, make_batch(agent, rng, 400))["kl"] == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_trust_region_step_improves_within_the_radius(kind: str, rng: np.random.Generator) -> None:
    agent = make(pgfast.TRPO, kind, max_kl=0.02)
    batch = make_batch(agent, rng)
    before = agent.policy.parameters.copy()
    figures = take_step(agent, batch)
    after = agent.policy.parameters.copy()
    assert 0.002 < mean_kl(agent, batch, before, after) <= 0.02
    assert figures["kl"] == mean_kl(agent, batch, before, after)
    agent.policy.parameters[:] = before
    old = agent.policy.distribution(batch.observations)
    agent.policy.parameters[:] = after
    new = agent.policy.distribution(batch.observations)
    gain = np.mean(new.likelihood_ratio(old, batch.actions) * batch.advantages) - np.mean(batch.advantages)
    assert figures["improvement"] == pytest.approx(gain, rel=1e-3)
    assert figures["improvement"] > 0
    assert figures["cg_residual"] < 0.1


@every_algorithm
def test_a_zero_gradient_makes_no_step_and_is_no_failure(
    algorithm: type[SecondOrderAgent], chosen: dict[str, Any], rng: np.random.Generator
) -> None:
    agent = make(algorithm, **chosen)
    batch = make_batch(agent, rng)
    batch.advantages[:] = 0.0
    before = agent.policy.parameters.copy()
    assert take_step(agent, batch)["step_size"] == 0.0
    np.testing.assert_array_equal(agent.policy.parameters, before)
    assert agent.failed_updates == 0


def test_a_step_that_does_not_improve_the_surrogate_is_not_taken(rng: np.random.Generator) -> None:
    """Good actions lie close to the mean: a step of this radius, which is never exceeded, leads far past them."""
    chosen: dict[str, Any] = {"hidden_sizes": (), "max_kl": 1e4, "damping": 1e-6, "cg_iterations": 200}
    agent = make(pgfast.TRPO, "box", line_search_steps=1, **chosen)
    batch = make_batch(agent, rng)
    batch.advantages[:] = batch.actions[:, 0]
    agent.policy.parameters[:-2] = 0.0
    old = agent.policy.distribution(batch.observations)
    loss = trpo_surrogate(old, old, batch.actions, batch.advantages)
    before = agent.policy.parameters.copy()
    direction = agent.conjugate_direction(batch, agent.surrogate_gradient(batch))
    assert direction is not None
    direction.x[-2:] = 0.0  # the means alone, for which the quadratic model of the KL divergence is exact
    candidate = agent.try_step(direction, math.sqrt(2.0 * 0.99e4 / direction.curvature), batch, old)
    assert candidate is not None
    assert candidate.kl <= 1e4
    assert candidate.loss >= loss
    agent.policy.parameters[:] = before
    agent.conjugate_direction = lambda *_: direction  # type: ignore[method-assign]
    assert take_step(agent, batch)["step_size"] == 0.0
    np.testing.assert_array_equal(agent.policy.parameters, before)


def test_a_failed_line_search_restores_every_bit(rng: np.random.Generator) -> None:
    # So far out the KL divergence of a Gaussian is exponential in the log standard deviation, not quadratic.
    agent = make(pgfast.TRPO, "box", max_kl=100.0, damping=1e-6, line_search_steps=3, backtrack_ratio=0.999)
    batch = make_batch(agent, rng)
    before = agent.policy.parameters.copy()
    figures = take_step(agent, batch)
    np.testing.assert_array_equal(agent.policy.parameters, before)
    assert agent.failed_updates == agent.figures()["failed_updates"] == 1
    assert (figures["kl"], figures["step_size"], figures["line_search_steps"]) == (0.0, 0.0, 3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_natural_step_out_of_range_restores_every_bit(solver: str, rng: np.random.Generator) -> None:
    agent = make(pgfast.NPG, solver=solver, max_kl=1e80)
    batch = make_batch(agent, rng)
    before = agent.policy.parameters.copy()
    assert take_step(agent, batch)["step_size"] == 0.0
    np.testing.assert_array_equal(agent.policy.parameters, before)
    assert agent.failed_updates == 1


@pytest.mark.parametrize("algorithm", [pgfast.NPG, pgfast.TRPO])
def test_an_exception_in_the_middle_restores_every_bit(
    algorithm: type[SecondOrderAgent], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(algorithm)
    batch = make_batch(agent, rng)
    before = agent.policy.parameters.copy()

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    old = agent.policy.distribution(batch.observations)
    monkeypatch.setattr("pgfast.algos.second_order.trpo_surrogate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        agent.step(batch, old, 0.0)
    np.testing.assert_array_equal(agent.policy.parameters, before)


@every_algorithm
@settings(max_examples=80)
@given(data=st.data())
def test_whatever_the_batch_the_policy_stays_whole(
    algorithm: type[SecondOrderAgent], chosen: dict[str, Any], data: st.DataObject
) -> None:
    """Few or repeated rows (a Fisher matrix without full rank), constant or huge advantages, extreme outputs."""
    kind = data.draw(st.sampled_from(sorted(ACTIONS)), label="actions")
    max_kl = data.draw(st.sampled_from([1e-6, 0.01, 1.0]), label="max_kl")
    damping = data.draw(st.sampled_from([1e-8, 1e-3, 10.0]), label="damping")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    hidden = data.draw(st.sampled_from([(), (5,)]), label="hidden_sizes")
    agent = make(algorithm, kind, max_kl=max_kl, damping=damping, hidden_sizes=hidden, **chosen)
    scale = data.draw(st.sampled_from([1.0, 1e3, 1e12, 1e30]), label="scale of the weights")
    network = agent.policy.network.parameters
    network *= np.float32(scale)
    batch = make_batch(agent, rng, data.draw(st.sampled_from([1, 2, 60]), label="rows"))
    change = data.draw(st.sampled_from(["none", "constant", "one", "huge", "repeated"]), label="change")
    if change == "constant":
        batch.advantages[:] = 1.0
    elif change == "one":
        batch.advantages[1:] = 0.0
    elif change == "huge":
        batch.advantages[:] *= np.float32(1e30)
    elif change == "repeated":
        batch.observations[:] = batch.observations[0]
    before = agent.policy.parameters.copy()
    try:
        figures = take_step(agent, batch)
    except (ValueError, FloatingPointError) as error:  # a number that is not finite, named where it came up
        assert "finite" in str(error)  # noqa: PT017
        np.testing.assert_array_equal(agent.policy.parameters, before)
        return
    after = agent.policy.parameters
    assert np.isfinite(after).all()
    assert all(math.isfinite(value) for value in figures.values())
    if figures["step_size"] == 0.0:
        np.testing.assert_array_equal(after, before)
    elif algorithm is pgfast.TRPO:
        assert mean_kl(agent, batch, before, after.copy()) <= max_kl
        assert figures["improvement"] > 0
    else:
        assert mean_kl(agent, batch, before, after.copy()) == pytest.approx(figures["kl"])


@every_algorithm
def test_constant_rewards_teach_nothing_and_break_nothing(
    algorithm: type[SecondOrderAgent], chosen: dict[str, Any]
) -> None:
    agent = make(algorithm, n_steps=8, **chosen)
    agent.learn(64)
    assert agent.updates == 4
    assert np.isfinite(agent.policy.parameters).all()


@every_algorithm
@pytest.mark.parametrize("kind", ACTIONS)
def test_threads_change_no_bit(
    algorithm: type[SecondOrderAgent], chosen: dict[str, Any], kind: str, num_threads
) -> None:
    results = []
    for threads in (1, 2, 3):
        num_threads(threads)
        agent = make(algorithm, kind, **chosen)
        batch = make_batch(agent, np.random.default_rng(0), 3000)
        take_step(agent, batch)
        results.append(agent.policy.parameters.copy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
