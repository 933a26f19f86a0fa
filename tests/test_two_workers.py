"""Two workers that share an update compute what one worker computes with the rollouts of both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from pgfast import kernels, losses, nn
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.algos import advantages, natural
from pgfast.algos.acktr import make_optimizer
from pgfast.envs.observations import ObservationRows
from pgfast.learning.networks import policy_spec
from pgfast.metrics import Metrics
from pgfast.optim import KFAC
from pgfast.policies import Policy, family_of
from pgfast.reduce import ALONE, Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.replay import Replay
from pgfast.sampling.rollout import Rollout
from pgfast.state import flatten
from pgfast.value_functions import MLPValues, SharedValues
from rollouts import of_environments, random_rollout
from states import assert_equal_states
from two_workers import run_workers

SMALL: dict[str, Any] = {"n_steps": 15, "num_envs": 6, "hidden_sizes": (8,), "preset": None, "seed": 2}
NORMALIZED = {"normalize_observations": True, "normalize_rewards": True, "normalize_advantages": True}
HALVES = (slice(0, 2), slice(2, 6))  # the environments of each worker
ENVIRONMENTS = ["CartPole-v1", "Pendulum-v1"]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("a2c", {}),
    ("a2c", {"optimizer": "adam", "learning_rate_schedule": "linear", "schedule_timesteps": 1000}),
    ("acktr", {"inverse_every": 2, "target_kl": 1e-3}),
    ("acktr", {"separate_value_network": True, "momentum": 0.0, "factor_steps": 2}),
    ("vpg", {"value_epochs": 3}),
    ("vpg", {"baseline": "zero", "max_grad_norm": 0.1, "entropy_coef": 0.01}),
    ("vpg", {"baseline": "time", "normalize_gradient": True}),
    ("vpg", {"baseline": "linear"}),
    ("a2c", {"memory": "gru", "memory_size": 8}),
    ("vpg", {"baseline": "zero", "memory": "lstm", "memory_size": 8}),
    ("npg", {"value_epochs": 3}),
    ("npg", {"solver": "cholesky", "fisher_subsample": 3}),
    ("trpo", {"value_epochs": 3}),
    ("trpo", {"max_kl": 0.05, "cg_iterations": 5}),  # the line search tries several candidates
    ("ppo", {"num_epochs": 2, "minibatch_size": 10, "value_clip_range": 0.1}),
    ("ppo", {"num_epochs": 3, "minibatch_size": None, "recompute_advantages": True, "separate_value_network": True}),
    ("ppo", {"num_epochs": 4, "minibatch_size": 7, "target_kl": 1e-4, "value_gae_lambda": 1.0}),
    ("ppo", {"num_epochs": 3, "minibatch_size": 40, "recompute_advantages": True, "memory": "gru", "memory_size": 8}),
]


def in_float64(agent: Agent) -> Agent:
    """Gives the agent float64 networks, which no setting offers, so sums differ only by float64 rounding."""
    learner, space = agent.learner, agent.space
    (leaf,) = learner.rows.leaves
    learner.rows = ObservationRows(space.observation, [leaf], np.float64)
    inputs, head = leaf.size, learner.policy.has_value_head
    family = family_of(space.action)
    spec, outputs = policy_spec(agent.settings, (leaf,)), (family.num_outputs, int(head))
    network = nn.Network(spec, (leaf,), outputs, dtype=np.float64, seed=3)
    learner.policy = Policy(network, family, value_head=head)
    if hasattr(learner, "_replay"):
        learner._replay = Replay(learner.policy)
    if head:
        learner.value_function = SharedValues(learner.policy)
        learner._gradient = np.zeros_like(learner.policy.parameters)
        if isinstance(learner.optimizer, KFAC):
            learner.optimizer = make_optimizer(agent.settings, network)
    elif isinstance(learner.value_function, MLPValues):
        values = nn.mlp(inputs, 1, hidden_sizes=(8,), dtype=np.float64, seed=4)
        learner.value_function = MLPValues(values, learning_rate=1e-3, epochs=3, batch_size=64, seed=2)
    return agent


class Group:
    """An agent with all environments, and equal agents with a part of the environments each."""

    def __init__(self, name: str, env_id: str, chosen: dict[str, Any], dtype: type) -> None:
        def make(num_envs: int) -> Agent:
            agent = ALGORITHMS[name](env_id, **{**SMALL, **NORMALIZED, **chosen, "num_envs": num_envs})
            return in_float64(agent) if dtype is np.float64 else agent

        self.whole = make(6)
        self.workers = [make(len(range(6)[part])) for part in HALVES]

    def update(self, rollout: Rollout) -> tuple[Metrics, list[Metrics]]:
        """Returns the metrics of the whole agent and those of the workers."""
        parts = [of_environments(a, rollout, part) for a, part in zip(self.workers, HALVES, strict=True)]
        updates = [partial(agent.learner.update, part) for agent, part in zip(self.workers, parts, strict=True)]
        return self.whole.learner.update(rollout, ALONE), run_workers(updates)


def unequal_rollout(agent: Agent, seed: int) -> Rollout:
    """Draws a rollout in which the workers have different numbers of valid rows."""
    rollout = random_rollout(agent, np.random.default_rng(seed), 15, 6, invalid=0.3)
    parts = [np.count_nonzero(rollout.valid[:, part]) for part in HALVES]
    assert parts[0] != parts[1]
    return rollout


def assert_equal_workers(agents: list[Agent]) -> None:
    """Asserts that the workers have equal states bit for bit, except for the running returns of their environments."""
    states = []
    for agent in agents:
        arrays, values = flatten(agent.learner.state())
        states.append(({path: array for path, array in arrays.items() if not path.endswith("running")}, values))
    first, second = states
    assert_equal_states(second, first)


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
@pytest.mark.parametrize(("name", "chosen"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_two_workers_update_as_one(name: str, chosen: dict[str, Any], env_id: str, dtype: Any) -> None:
    if dtype is np.float64 and chosen.get("baseline", "mlp") != "mlp":
        pytest.skip("values by time and of linear features are float32")
    group = Group(name, env_id, chosen, dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for seed in range(3):
        metrics, by_workers = group.update(unequal_rollout(group.whole, seed))
        assert by_workers[0] == by_workers[1]
        assert_equal_workers(group.workers)
        found, expected = (flatten(agent.learner.state())[0] for agent in (group.workers[0], group.whole))
        for path in (path for path in expected if not path.endswith("running")):
            np.testing.assert_allclose(found[path], expected[path], rtol=tolerance, atol=tolerance, err_msg=path)
        for key, value in metrics.items():
            if dtype == np.float32 and key.startswith("cg_"):
                continue  # rounding decides whether there is one more iteration
            assert by_workers[0][key] == pytest.approx(value, rel=1e-4 if dtype == np.float32 else 1e-9, abs=1e-6), key


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_worker_without_a_valid_row_adds_nothing(name: str) -> None:
    group = Group(name, "CartPole-v1", {}, np.float64)
    rollout = unequal_rollout(group.whole, 0)
    rollout.valid[:, HALVES[0]] = False
    group.update(rollout)
    assert_equal_workers(group.workers)
    parameters = group.workers[0].policy.parameters
    np.testing.assert_allclose(parameters, group.whole.policy.parameters, rtol=1e-12, atol=1e-12)
    rollout.valid[:] = False
    before = parameters.copy()
    assert group.update(rollout) == ({}, [{}, {}])
    np.testing.assert_array_equal(parameters, before)


def test_rows_are_numbered_as_in_one_rollout() -> None:
    group = Group("vpg", "CartPole-v1", {}, np.float32)
    rollout = unequal_rollout(group.whole, 0)

    def number(agent: Agent, part: Rollout, reduce: Reduce) -> tuple[Any, int]:
        zeros = np.zeros_like(part.rewards)
        batch = Batch.of_valid_rows(part, zeros, zeros, np.zeros(part.time.shape, np.float32))
        return batch.numbering(reduce)

    numbers, count = number(group.whole, rollout, ALONE)
    np.testing.assert_array_equal(numbers, np.arange(np.count_nonzero(rollout.valid)))
    where = np.full(rollout.valid.shape, -1)
    where[rollout.valid] = numbers
    parts = [of_environments(agent, rollout, part) for agent, part in zip(group.workers, HALVES, strict=True)]
    found = run_workers([partial(number, agent, part) for agent, part in zip(group.workers, parts, strict=True)])
    for (numbers_of_part, total), part in zip(found, HALVES, strict=True):
        assert total == count
        np.testing.assert_array_equal(numbers_of_part, where[:, part][rollout.valid[:, part]])


def test_woodbury_is_refused_with_two_workers() -> None:
    with pytest.raises(ValueError, match='solver "woodbury" would pair the rows of different workers'):
        ALGORITHMS["npg"]("CartPole-v1", solver="woodbury", num_workers=2)


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_losses_gradients_and_fisher_products_equal_those_of_one_worker(env_id: str, dtype: Any) -> None:
    """Checks each quantity separately, which locates a difference between whole updates."""
    agent = Group("trpo", env_id, {}, dtype).whole
    rollout = unequal_rollout(agent, 7)
    policy = agent.policy
    v = np.random.default_rng(0).standard_normal(policy.parameters.size).astype(dtype)

    def compute(part: Rollout) -> Callable[[Reduce], dict[str, Any]]:
        def run(reduce: Reduce) -> dict[str, Any]:
            moments = agent.learner.normalizers.statistics
            batch = advantages.estimate(part, moments, agent.value_function, agent.settings, reduce)
            count = reduce.sum(len(batch))
            old = policy.distribution(batch.observations)
            loss, rows = losses.trpo_surrogate_gradient(
                old, old, batch.actions, batch.advantages, batch.valid, count=count
            )
            fisher_rows = natural.fisher_rows(batch, 1, 0, 0, reduce)
            scores = natural.scores(policy, fisher_rows)
            return {
                "loss": reduce.sum(loss),
                "gradient": reduce.sum(policy.gradient(batch.observations, batch.actions, rows)),
                "kl": moved_kl(policy, batch, count, reduce),
                "fisher product": natural.fisher_operator(policy, fisher_rows, reduce)(v),
                "fisher matrix": reduce.sum(kernels.fisher_matrix(scores, count=count)),
                "v'Fv": natural.mean_square(scores, v, fisher_rows, reduce),
                "explained variance": advantages.explained_variance(batch, count, reduce),
                "value loss": advantages.describe(0.0, old.entropy(), batch, count, reduce)["value_loss"],
            }

        return run

    def moved_kl(policy: Policy, batch: Batch, count: int, reduce: Reduce) -> Any:
        columns = policy.family.num_outputs
        network = nn.mlp(batch.observations.shape[1], columns, hidden_sizes=(8,), dtype=dtype, seed=9)
        elsewhere = Policy(network, policy.family)
        return natural.evaluate(policy, elsewhere.distribution(batch.observations), batch, count, reduce)

    whole = compute(rollout)(ALONE)
    by_workers = run_workers([compute(of_environments(agent, rollout, part)) for part in HALVES])
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for name, expected in whole.items():
        np.testing.assert_array_equal(by_workers[0][name], by_workers[1][name], err_msg=name)
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(by_workers[0][name], expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)
