"""An update that raises leaves nothing of itself: an exception at every call that an update makes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from pgfast import profiling, state
from pgfast.agent import ALGORITHMS, Agent
from pgfast.algos import natural
from pgfast.metrics import Metrics
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 6, "hidden_sizes": (4,), "preset": None, "seed": 1}
NORMALIZED = {"normalize_observations": True, "normalize_rewards": True}
APART: dict[str, Any] = {"value_epochs": 1, "value_batch_size": 8}
SECOND_ORDER: dict[str, Any] = {**APART, "cg_iterations": 2}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("a2c", {}),
    ("vpg", APART),
    ("vpg", {"baseline": "linear", "max_grad_norm": 0.5, "normalize_gradient": True}),
    ("vpg", {"baseline": "time"}),
    ("npg", SECOND_ORDER),
    ("npg", {**SECOND_ORDER, "solver": "cholesky", "fisher_subsample": 2}),
    ("npg", {**SECOND_ORDER, "solver": "woodbury"}),
    ("trpo", SECOND_ORDER),
    ("trpo", {**SECOND_ORDER, "damping": 1e-6, "max_kl": 0.1, "line_search_steps": 3}),  # some candidates are rejected
]


class InjectedError(FloatingPointError):
    """As a number that is not finite raises it."""


class RaiseAt:
    """Raises :class:`InjectedError` at call number ``call`` of the interpreter, of a Python or a native function.

    Left out are the timers of a profile, which do nothing here, and the end of a block that restores what it changed:
    no block can be restored if that fails.
    """

    def __init__(self, call: int) -> None:
        self.left = call

    def __enter__(self) -> None:
        sys.setprofile(self)

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        timer = code.co_filename == profiling.__file__
        restoring = code.co_filename in (state.__file__, natural.__file__) and code.co_name == "__exit__"
        own = code.co_filename == __file__ or argument is sys.setprofile
        if event in ("call", "c_call") and not (timer or restoring or own):
            self.left -= 1
            if self.left < 0:
                raise InjectedError(f"at a call in {code.co_qualname}, line {frame.f_lineno}")


def snapshot(agent: Agent) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, values = state.flatten(agent.state())
    return {path: array.copy() for path, array in arrays.items()}, values


def assert_same(found: Any, expected: Any, message: str) -> None:
    assert found[1] == expected[1], message
    assert found[0].keys() == expected[0].keys(), message
    for path, array in expected[0].items():
        np.testing.assert_array_equal(found[0][path], array, err_msg=f"{path}, {message}")


def raising(agent: Agent, call: int) -> Callable[[Rollout, Reduce], Metrics]:
    """The agent's update, that raises at a call and is compared with what it left."""
    update = agent.learner.update

    def checked(rollout: Rollout, reduce: Reduce) -> Metrics:
        before = snapshot(agent)
        try:
            with RaiseAt(call):
                return update(rollout, reduce)
        except InjectedError as error:
            assert_same(snapshot(agent), before, f"{call}: {error}")
            raise

    return checked


@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
@pytest.mark.parametrize(("name", "chosen"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_an_update_that_raises_leaves_nothing(name: str, chosen: dict[str, Any], on_nonfinite: str) -> None:
    agent = ALGORITHMS[name]("pgfast/Point-v0", **SMALL, **NORMALIZED, **chosen, on_nonfinite=on_nonfinite)
    agent.learn(24)
    update = agent.learner.update
    told: list[str] = []
    calls = 0
    while True:
        agent.learner.update = raising(agent, calls)  # type: ignore[method-assign]
        skipped = agent.updates_skipped
        try:
            agent.advance(told.append)
        except InjectedError:
            assert on_nonfinite == "raise"
            agent.start_environments()
        else:
            if agent.updates_skipped == skipped:
                break  # the update makes fewer calls than that
            assert "Injected" not in told[-1]
            assert "at a call in" in told[-1]
        agent.learner.update = update  # type: ignore[method-assign]
        before, updates = agent.policy.parameters.copy(), agent.updates
        agent.advance(told.append)
        assert agent.updates == updates + 1
        assert (agent.policy.parameters != before).any() or agent.learner.failed_updates > 0
        calls += 1
    assert calls > 100
    assert np.isfinite(agent.policy.parameters).all()
    agent.close()
