"""One step of a training: a rollout and what is learned from it, or the decision to go on without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgfast.profiling import START

if TYPE_CHECKING:
    from pgfast.training.agent import Agent

__all__ = ["Skips", "advance"]

_MOST_IN_A_ROW = 10


class Skips:
    """Updates that were skipped for a number that is not finite: of the whole run, and since the last that was not."""

    def __init__(self) -> None:
        self.total = 0
        self.in_a_row = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state` gave. Raises ``KeyError``, ``TypeError``, ``ValueError`` for anything else."""
        self.total, self.in_a_row = int(state["total"]), int(state["in_a_row"])


def advance(agent: Agent, tell: Callable[[str], None]) -> dict[str, float]:
    """Collects a rollout and updates the agent from it; gives the figures to report.

    With ``on_nonfinite="skip"`` an update whose observations, rewards, loss or gradient are not finite is left out: the
    parameters stay, the environments start anew, ``tell`` is told why. The tenth in a row ends the training.

    Raises what collecting and updating raise; nothing of a failed update is in the agent then.
    """
    try:
        agent.collect()
        figures = agent.update()
    except FloatingPointError as error:
        if agent.settings.on_nonfinite == "raise":
            raise
        skips = agent.skips
        skips.total += 1
        skips.in_a_row += 1
        if skips.in_a_row == _MOST_IN_A_ROW:
            raise FloatingPointError(
                f"{skips.in_a_row} updates in a row were skipped, the last of them because of this: {error}"
            ) from error
        tell(f"skipped update {agent.updates} at {agent.timesteps:,} timesteps: {error}")
        _count(agent)
        with START:
            agent.start_environments()
        return {}
    agent.skips.in_a_row = 0
    _count(agent)
    return figures


def _count(agent: Agent) -> None:
    agent.timesteps += agent.collector.rollout.rows
    agent.updates += 1
