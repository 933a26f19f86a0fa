"""Replays of a rollout are the forward passes of its policy, bit for bit, as long as the parameters are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import pgfast
from pgfast.agent import Agent
from pgfast.reduce import ALONE
from pgfast.sampling.batch import Batch
from pgfast.sampling.minibatches import Minibatches
from pgfast.sampling.replay import Replay
from pgfast.sampling.rollout import Rollout
from test_recurrent_agents import SMALL, each_mode, shaken, vector

each_memory = pytest.mark.parametrize("memory", ["none", "gru", "lstm"])


def second_rollout(mode: AutoresetMode, memory: Any) -> tuple[Agent, Rollout, Batch]:
    """A rollout that begins within episodes, and after which one of them has just started."""
    agent = shaken(pgfast.PPO(vector(mode), n_steps=6, memory=memory, **SMALL))
    agent.start_environments()
    agent.sampler.collect(0, 0)
    rollout = agent.sampler.collect(24, 1)
    assert (rollout.time[0] > 0).any()
    assert (rollout.time[-1] == 0).any()
    assert rollout.values is not None
    return agent, rollout, Batch.of_all_rows(rollout, rollout.rewards, rollout.rewards, rollout.values)


@each_memory
@each_mode
def test_the_values_of_a_rollout_are_those_at_its_time(mode: AutoresetMode, memory: Any) -> None:
    agent, rollout, batch = second_rollout(mode, memory)
    tape = Replay(agent.policy).record(batch)
    np.testing.assert_array_equal(rollout.values_with(tape, agent.value_function.values_at), rollout.values)
    agent.policy.parameters[:] *= 0.5
    tape = Replay(agent.policy).record(batch)
    assert not np.allclose(rollout.values_with(tape, agent.value_function.values_at), rollout.values)


@pytest.mark.parametrize("size", [1, 5, 12, None])
@each_memory
@each_mode
def test_each_minibatch_has_the_numbers_of_the_rollout(mode: AutoresetMode, memory: Any, size: int | None) -> None:
    """One tape serves batches of different sizes."""
    agent, _, batch = second_rollout(mode, memory)
    replay = Replay(agent.policy)
    for epoch in range(2):
        for rows in replay.take(batch, Minibatches(batch, len(batch), size, 0, ALONE).shuffled(epoch)):
            tape, number = replay.record(rows), len(rows.time)
            log_prob = tape.distribution(number).log_prob(rows.actions)
            np.testing.assert_array_equal(rows.used(log_prob), rows.used(rows.log_prob))
            np.testing.assert_array_equal(tape.outputs[:number, -1], rows.values)


@pytest.mark.slow
def test_minibatches_of_images_do_not_depend_on_thread_count(num_threads: Callable[[int], None]) -> None:
    found = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        agent = pgfast.PPO(
            "BreakoutNoFrameskip-v4",
            preset=None,
            network="origin_cnn",
            num_envs=8,
            n_steps=16,
            minibatch_size=13,
            num_epochs=2,
        )
        found.append(agent.learn(256).policy.parameters)
        agent.close()
    for parameters in found[1:]:
        np.testing.assert_array_equal(parameters, found[0])
