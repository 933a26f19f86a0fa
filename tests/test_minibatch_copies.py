"""Forward passes of minibatches: the rows of a minibatch are copied once, to the tape that records them."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import pgfast
from pgfast.algos import advantages
from pgfast.reduce import ALONE
from pgfast.sampling.batch import Batch
from pgfast.sampling.minibatches import Minibatches
from pgfast.sampling.replay import Replay
from test_observations import SpaceEnv

IMAGE = spaces.Box(0, 255, (12, 10, 3), np.uint8)
VECTOR = spaces.Box(-1.0, 1.0, (2, 3), np.float32)
SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 10, "hidden_sizes": (8,), "preset": None}


def trained(space: spaces.Space[Any], **settings: Any) -> tuple[pgfast.PPO, Batch]:
    """Returns an agent after an update, and the batch of that update."""
    agent = pgfast.PPO(partial(SpaceEnv, space), **{**SMALL, **settings}).learn(40)
    learner, rollout = agent.learner, agent.sampler.rollout
    statistics = learner.normalizers.after(rollout, ALONE)
    batch = advantages.estimate(
        rollout, statistics, learner.value_function, agent.settings, ALONE, all_rows=True, normalize_all=False
    )
    return agent, batch


@pytest.mark.parametrize(
    "space",
    [VECTOR, IMAGE, spaces.Dict(image=IMAGE, vector=VECTOR, code=spaces.Discrete(4))],
    ids=["vector", "image", "leaves"],
)
def test_the_rows_of_a_minibatch_are_on_the_tape(space: spaces.Space[Any]) -> None:
    agent, batch = trained(space, network="mlp")
    policy = agent.learner.policy
    replay = Replay(policy)
    minibatches = Minibatches(batch, len(batch), 7, 0, ALONE).shuffled(0)
    assert len(minibatches) > 3
    for minibatch, rows in zip(minibatches, replay.take(batch, minibatches), strict=True):
        np.testing.assert_array_equal(rows.observations, batch.observations[minibatch.index])
        tape = replay.record(rows)
        assert np.shares_memory(rows.observations, tape.inputs(rows.observations.dtype))
        np.testing.assert_array_equal(tape.outputs[: len(rows)], policy.network.forward(rows.observations))


def test_a_minibatch_of_all_rows_is_the_batch() -> None:
    agent, batch = trained(VECTOR)
    (rows,) = Replay(agent.learner.policy).take(batch, Minibatches(batch, len(batch), None, 0, ALONE).shuffled(0))
    assert rows is batch


def test_an_update_allocates_no_observations() -> None:
    wide = spaces.Box(-1.0, 1.0, (20_000,), np.float32)
    agent, batch = trained(wide, hidden_sizes=(1,), minibatch_size=20, num_epochs=2)
    tracemalloc.start()
    agent.learner.update(agent.sampler.rollout, ALONE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < batch.observations.nbytes / 2  # those of a minibatch
