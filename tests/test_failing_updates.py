"""An update that raises leaves the agent unchanged, whichever of its calls raises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from pgfast import profiling, state
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.algos import natural
from pgfast.metrics import Metrics
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout
from states import FlatState, assert_equal_states

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 6, "hidden_sizes": (4,), "preset": None, "seed": 1}
NORMALIZED = {"normalize_observations": True, "normalize_rewards": True}
VALUE_FIT: dict[str, Any] = {"value_epochs": 1, "value_batch_size": 8}
SECOND_ORDER: dict[str, Any] = {**VALUE_FIT, "cg_iterations": 2}
QUICK = (0, 1, 9, 10)  # the others are slow
CASES: list[tuple[str, dict[str, Any]]] = [
    ("a2c", {}),
    ("acktr", {"inverse_every": 2, "target_kl": 1e-4}),
    ("vpg", VALUE_FIT),
    ("vpg", {"baseline": "linear", "max_grad_norm": 0.5, "normalize_gradient": True}),
    ("vpg", {"baseline": "time"}),
    ("npg", SECOND_ORDER),
    ("npg", {**SECOND_ORDER, "solver": "cholesky", "fisher_subsample": 2}),
    ("npg", {**SECOND_ORDER, "solver": "woodbury"}),
    ("ppo", {"num_epochs": 2, "minibatch_size": None, "memory": "gru", "memory_size": 3}),
    ("ppo", {"num_epochs": 2, "minibatch_size": 6, "recompute_advantages": True}),
    ("trpo", SECOND_ORDER),
    ("trpo", {**SECOND_ORDER, "damping": 1e-6, "max_kl": 0.1, "line_search_steps": 3}),  # some candidates are rejected
]


class InjectedError(FloatingPointError):
    """Stands in for the error that a non-finite number raises."""


class RaiseAt:
    """Raises :class:`InjectedError` at call number ``call``, counting calls of Python and native functions from 0.

    Profiling timers, which do nothing here, do not count. Nor does the exit of a block that restores what it changed:
    nothing could be restored if that failed.
    """

    def __init__(self, call: int) -> None:
        self.remaining = call

    def __enter__(self) -> None:
        sys.setprofile(self)

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        timer = code.co_filename == profiling.__file__
        restoring = code.co_filename in (state.__file__, natural.__file__) and code.co_name == "__exit__"
        harness = code.co_filename == __file__ or argument is sys.setprofile
        if event in ("call", "c_call") and not (timer or restoring or harness):
            self.remaining -= 1
            if self.remaining < 0:
                raise InjectedError(f"at a call in {code.co_qualname}, line {frame.f_lineno}")


def snapshot(agent: Agent) -> FlatState:
    arrays, values = state.flatten(agent.state())
    return {path: array.copy() for path, array in arrays.items()}, values


def raising(agent: Agent, call: int) -> Callable[[Rollout, Reduce], Metrics]:
    """Returns the agent's update, made to raise at ``call`` and checked to leave the agent unchanged."""
    update = agent.learner.update

    def checked(rollout: Rollout, reduce: Reduce) -> Metrics:
        before = snapshot(agent)
        try:
            with RaiseAt(call):
                return update(rollout, reduce)
        except InjectedError as error:
            assert_equal_states(snapshot(agent), before, f"{call}: {error}")
            raise

    return checked


MARKED = [
    pytest.param(name, chosen, id=f"{name}-{number}", marks=[] if number in QUICK else pytest.mark.slow)
    for number, (name, chosen) in enumerate(CASES)
]


@pytest.mark.parametrize("on_nonfinite", ["raise", pytest.param("skip", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "chosen"), MARKED)
def test_an_update_that_raises_leaves_the_agent_unchanged(name: str, chosen: dict[str, Any], on_nonfinite: str) -> None:
    agent = ALGORITHMS[name]("pgfast/Point-v0", **SMALL, **NORMALIZED, **chosen, on_nonfinite=on_nonfinite)
    agent.learn(24)
    update = agent.learner.update
    messages: list[str] = []
    calls = 0
    while True:
        agent.learner.update = raising(agent, calls)  # type: ignore[method-assign]
        skipped = agent.updates_skipped
        try:
            agent.advance(messages.append)
        except InjectedError:
            assert on_nonfinite == "raise"
            agent.start_environments()
        else:
            if agent.updates_skipped == skipped:
                break  # the update makes no more calls than this
            assert "Injected" not in messages[-1]
            assert "at a call in" in messages[-1]
        agent.learner.update = update  # type: ignore[method-assign]
        before, updates = agent.policy.parameters.copy(), agent.updates
        agent.advance(messages.append)
        assert agent.updates == updates + 1
        assert (agent.policy.parameters != before).any() or agent.learner.failed_updates > 0
        calls += 1
    assert calls > 100
    assert np.isfinite(agent.policy.parameters).all()
    agent.close()
