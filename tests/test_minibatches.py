"""Minibatches: every valid row once per epoch, in random parts of nearly equal size, for any number of workers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import pgfast
from action_envs import ActionEnv
from masked_env import MaskedEnv
from pgfast._native import core
from pgfast.agent import Agent
from pgfast.reduce import ALONE, Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.minibatches import Minibatch, Minibatches
from pgfast.sampling.rollout import Rollout
from rollouts import of_environments, random_rollout
from two_workers import run_workers

STEPS, NUM_ENVS = 9, 5
ROWS = STEPS * NUM_ENVS
HALVES = (slice(0, 2), slice(2, 5))  # the environments of each worker
INVALID = pytest.mark.parametrize("invalid", [0.0, 0.3])
MEMORY = pytest.mark.parametrize("memory", ["none", "gru"])


def agent_of(memory: str = "none", num_envs: int = NUM_ENVS) -> Agent:
    return pgfast.PPO(
        "CartPole-v1", preset=None, num_envs=num_envs, n_steps=STEPS, memory=memory, memory_size=3, hidden_sizes=(4,)
    )


def rollout_of(agent: Agent, invalid: float = 0.0) -> Rollout:
    """A rollout whose rewards are the numbers of its rows."""
    rollout = random_rollout(agent, np.random.default_rng(1), STEPS, NUM_ENVS, invalid=invalid)
    rollout.rewards[:] = np.arange(ROWS).reshape(STEPS, NUM_ENVS)
    rollout.initial_state[:] = np.random.default_rng(2).standard_normal(rollout.initial_state.shape)
    return rollout


def batch_of(rollout: Rollout) -> Batch:
    """The batch, whose ``advantages`` are the rewards."""
    return Batch.of_all_rows(rollout, rollout.rewards, rollout.rewards, rollout.values)  # type: ignore[arg-type]


def taken(batch: Batch, minibatch: Minibatch) -> Batch:
    """The rows of a minibatch, as :meth:`pgfast.sampling.replay.Replay.take` returns them."""
    index = minibatch.index
    if index is None:
        return batch
    return batch.take(index, batch.observations[index], minibatch.valid, minibatch.state)


def rows_of(batch: Batch, minibatch: Minibatch) -> list[int]:
    """The numbers of the valid rows."""
    rows = taken(batch, minibatch)
    numbers = rows.used(rows.advantages).astype(int).tolist()
    assert numbers == batch.advantages[minibatch.counted].astype(int).tolist()
    return numbers


def drawn(rollout: Rollout, size: int | None, epoch: int = 0, seed: int = 0) -> list[list[int]]:
    batch = batch_of(rollout)
    minibatches = Minibatches(batch, len(batch), size, seed, ALONE)
    found = minibatches.shuffled(epoch)
    assert len(found) == minibatches.number
    numbers = [rows_of(batch, minibatch) for minibatch in found]
    assert [minibatch.count for minibatch in found] == [len(rows) for rows in numbers]
    return numbers


@INVALID
@pytest.mark.parametrize("size", [1, 7, 10, 44])
def test_every_valid_row_is_in_one_minibatch(size: int, invalid: float) -> None:
    rollout = rollout_of(agent_of(), invalid)
    valid = np.flatnonzero(rollout.valid).tolist()
    for epoch in range(3):
        found = drawn(rollout, size, epoch)
        assert sorted(row for rows in found for row in rows) == valid
        assert all(rows == sorted(rows) for rows in found)
        sizes = [len(rows) for rows in found]
        assert max(sizes) <= size
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-len(valid) // size)


def test_an_epoch_and_a_seed_determine_the_minibatches() -> None:
    rollout = rollout_of(agent_of())
    first = drawn(rollout, 7)
    assert drawn(rollout, 7) == first
    assert drawn(rollout, 7, epoch=1) != first
    assert drawn(rollout, 7, seed=1) != first
    assert drawn(rollout, 7, epoch=1) == drawn(rollout, 7, epoch=1)


def test_every_row_is_as_often_in_each_minibatch() -> None:
    rollout = rollout_of(agent_of())
    counts = np.zeros((5, ROWS), int)
    for epoch in range(500):
        for count, rows in zip(counts, drawn(rollout, 9, epoch), strict=True):
            count[rows] += 1
    assert (np.abs(counts - 100) < 5 * np.sqrt(500 * 0.2 * 0.8)).all()


@pytest.mark.parametrize("size", [None, ROWS, 1000])
@MEMORY
def test_a_minibatch_of_all_rows_has_no_index(size: int | None, memory: str) -> None:
    batch = batch_of(rollout_of(agent_of(memory), 0.3))
    (minibatch,) = Minibatches(batch, len(batch), size, 0, ALONE).shuffled(0)
    assert minibatch.index is None
    assert minibatch.count == len(batch)


def test_a_minibatch_has_the_columns_of_its_rows() -> None:
    batch = batch_of(rollout_of(agent_of(), 0.3))
    for minibatch in Minibatches(batch, len(batch), 8, 0, ALONE).shuffled(0):
        rows = taken(batch, minibatch)
        index = rows.advantages.astype(int)
        for name in ("observations", "step", "time", "actions", "log_prob", "returns", "values"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(batch, name)[index], err_msg=name)
        assert rows.valid is rows.mask is rows.state is None


@INVALID
@pytest.mark.parametrize("size", [1, 9, 18, 25])
def test_with_memory_sequences_stay_whole(size: int, invalid: float) -> None:
    rollout = rollout_of(agent_of("gru"), invalid)
    batch = batch_of(rollout)
    orders = set()
    for epoch in range(5):
        found = []
        for minibatch in Minibatches(batch, len(batch), size, 0, ALONE).shuffled(epoch):
            rows = taken(batch, minibatch)
            assert rows.state is not None
            environments = rows.advantages[: len(rows.state)].astype(int)
            numbers = np.arange(STEPS)[:, np.newaxis] * NUM_ENVS + environments
            np.testing.assert_array_equal(rows.advantages, numbers.reshape(-1))
            np.testing.assert_array_equal(rows.state, rollout.initial_state[environments])
            np.testing.assert_array_equal(rows.valid, rollout.valid[:, environments].reshape(-1))
            assert minibatch.count == len(rows)
            found.append(tuple(environments.tolist()))
        assert sorted(environment for environments in found for environment in environments) == list(range(NUM_ENVS))
        assert len(found) == min(-(-len(batch) // size), NUM_ENVS) > 1
        assert max(map(len, found)) - min(map(len, found)) <= 1
        orders.add(tuple(found))
    assert len(orders) > 1


def test_a_sequence_without_a_valid_row_is_in_no_minibatch() -> None:
    rollout = rollout_of(agent_of("gru"))
    rollout.valid[:, [0, 3]] = False
    batch = batch_of(rollout)
    found = Minibatches(batch, len(batch), 1, 0, ALONE).shuffled(0)
    environments = [taken(batch, minibatch).advantages[0] for minibatch in found]
    assert sorted(environments) == [1, 2, 4]
    assert [minibatch.count for minibatch in found] == [STEPS] * 3


@pytest.mark.parametrize("alone", [False, True], ids=["both", "second alone"])
@MEMORY
@pytest.mark.parametrize("size", [3, 10, 15])
def test_the_minibatches_of_workers_are_those_of_one(size: int, memory: str, alone: bool) -> None:
    """A worker without rows of a minibatch has one there that does not count."""
    rollout = rollout_of(agent_of(memory), 0.3)
    if alone:
        rollout.valid[:, HALVES[0]] = False
    whole = batch_of(rollout)
    count = len(whole)

    def work(half: slice, reduce: Reduce) -> list[tuple[int, list[int]]]:
        batch = batch_of(of_environments(agent_of(memory, len(range(NUM_ENVS)[half])), rollout, half))
        drawn = Minibatches(batch, reduce.sum(len(batch)), size, 4, reduce).shuffled(6)
        assert all(len(taken(batch, minibatch).time) >= 1 for minibatch in drawn)
        return [(minibatch.count, rows_of(batch, minibatch)) for minibatch in drawn]

    first, second = run_workers([partial(work, half) for half in HALVES])
    expected = Minibatches(whole, count, size, 4, ALONE).shuffled(6)
    assert len(first) == len(second) == len(expected) > 1
    for (count, rows), (same_count, others), minibatch in zip(first, second, expected, strict=True):
        assert count == same_count == minibatch.count
        assert sorted([*rows, *others]) == rows_of(whole, minibatch)
    if alone:
        assert not any(rows for _, rows in first)


def columns(batch: Batch) -> list[NDArray[Any]]:
    return [batch.observations, batch.actions, batch.advantages]


def test_a_batch_is_not_changed_by_its_minibatches() -> None:
    batch = batch_of(rollout_of(agent_of()))
    before = [column.copy() for column in columns(batch)]
    for minibatch in Minibatches(batch, len(batch), 8, 0, ALONE).shuffled(0):
        for column in columns(taken(batch, minibatch)):
            column[:] = 0
    for column, copy in zip(columns(batch), before, strict=True):
        np.testing.assert_array_equal(column, copy)


@pytest.mark.parametrize("memory", ["none", "lstm"])
@pytest.mark.parametrize(
    ("env", "place"),
    [
        (partial(MaskedEnv, "info", "multi_discrete"), "info"),
        (partial(ActionEnv, spaces.Dict(choice=spaces.Discrete(3), numbers=spaces.Box(-1, 1, (2,)))), "none"),
    ],
    ids=["masks", "nested"],
)
def test_minibatches_of_any_actions_and_masks(env: Any, place: Any, memory: Any) -> None:
    chosen: dict[str, Any] = {"num_envs": 4, "n_steps": 6, "minibatch_size": 7, "num_epochs": 2, "hidden_sizes": (4,)}
    agent = pgfast.PPO(env, preset=None, action_mask=place, memory=memory, **chosen).learn(48)
    rollout = agent.sampler.rollout
    numbers = np.arange(24, dtype=np.float32).reshape(6, 4)
    batch = Batch.of_all_rows(rollout, numbers, numbers, np.zeros((7, 4), np.float32))
    for minibatch in Minibatches(batch, len(batch), 7, 0, ALONE).shuffled(0):
        rows = taken(batch, minibatch)
        index = rows.advantages.astype(int)
        np.testing.assert_array_equal(rows.actions, batch.actions[index])
        assert (rows.mask is None) == (place == "none")
        if rows.mask is not None and batch.mask is not None:
            np.testing.assert_array_equal(rows.mask, batch.mask[index])


@pytest.mark.parametrize(("units", "groups"), [(1, 1), (7, 7), (50, 3), (1000, 16), (4096, 1)])
def test_units_are_drawn_in_the_order_of_their_keys(units: int, groups: int, rng: np.random.Generator) -> None:
    """As by a stable sort: equal keys keep their order, keys in few places too."""
    rows = rng.integers(0, units, 2 * units)
    largest = np.nextafter(1.0, 0.0)
    for keys in (rng.random(units), np.zeros(units), rng.integers(0, 5, units) / 5, np.full(units, largest)):
        group_of = np.empty(units, np.int64)
        group_of[np.argsort(keys, kind="stable")] = np.arange(units) * groups // units
        order, ends = core.draw_groups(keys, groups, rows)
        np.testing.assert_array_equal(order, np.argsort(group_of[rows], kind="stable"))
        np.testing.assert_array_equal(ends, np.cumsum(np.bincount(group_of[rows], minlength=groups)))


def test_keys_and_units_out_of_range_are_refused() -> None:
    keys, units = np.array([0.5, 0.25]), np.array([0, 1, 1])
    with pytest.raises(ValueError, match=r"^draw_groups: units must be in \[0, 2\), got 2 at row 1$"):
        core.draw_groups(keys, 2, np.array([0, 2]))
    with pytest.raises(ValueError, match=r"^draw_groups: groups must be in \[1, 2\], got 3$"):
        core.draw_groups(keys, 3, units)
    for wrong in (1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"^draw_groups: keys must be in \[0, 1\), got "):
            core.draw_groups(np.array([0.5, wrong]), 2, units)
    x, sizes, means = np.zeros(3), np.array([1, 1]), np.zeros(2)
    with pytest.raises(ValueError, match=r"^part_squares: index must be in \[0, 3\), got 3 at row 1$"):
        core.part_squares(x, np.array([0, 3]), sizes, means)
    for wrong_sizes in ([1, 0], [1, 2], [-1, 3]):
        with pytest.raises(ValueError, match=r"^part_moments: sizes must add up to the number of indices$"):
            core.part_moments(x, np.array([0, 1]), np.array(wrong_sizes))
