"""The results of a benchmark, one per case: goals, JSON file and table."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["LOW_PEER", "Result", "case_goals", "header", "load_goals", "missed_goals", "read", "row", "write"]

LOW_PEER = 0.85  # a peer below this fraction of its reference speed is flagged: it may be set up wrongly
GOALS_FILE = Path(__file__).parent / "goals.toml"
WIDTHS = (40, 15, 44, 23, 9)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one case.

    ``ratio`` and ``of_limit`` above 1 mean that pgfast is faster, ``of_reference`` above 1 that the peer is faster than
    its reference, whatever the unit.
    """

    subject: str
    case: str
    unit: str
    higher_is_better: bool
    threads: int
    rounds: int
    ours: float
    """Median of the rounds, like ``peer_value`` and ``limit``."""
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    """Median of the rounds' ratios; the next two are the least and the largest of them."""
    ratio_low: float | None = None
    ratio_high: float | None = None
    limit: float | None = None
    of_limit: float | None = None
    """Median of the rounds' fractions of the limit."""
    reference: float | None = None
    """The value that the peer reached on another day."""
    of_reference: float | None = None
    goals: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    note: str = ""


def load_goals() -> dict[str, dict[str, dict[str, Any]]]:
    """Returns goals and the peer's reference value by subject and case; the case "*" stands for all unnamed cases."""
    return tomllib.loads(GOALS_FILE.read_text(encoding="utf-8"))


def case_goals(subject: str, case: str) -> dict[str, Any]:
    """Returns the entry of one case. Raises ``KeyError`` if goals.toml has none."""
    cases = load_goals()[subject]
    if case not in cases and "*" not in cases:
        raise KeyError(f'goals.toml: no case "{case}" of {subject}; it has {", ".join(cases)}')
    return dict(cases.get(case, cases.get("*", {})))


def missed_goals(goals: dict[str, Any], ours: float, ratio: float | None, of_limit: float | None) -> list[str]:
    """Returns the names of the goals that were not reached. Raises ``KeyError`` for an unknown goal."""

    def met(name: str, goal: Any) -> bool:
        if name == "ratio":
            return ratio is not None and ratio >= goal
        if name == "of_limit":
            return of_limit is not None and of_limit >= goal
        if name == "faster_on_two_threads":  # the peer is pgfast on one thread
            return ratio is not None and ratio > 1.0
        if name == "size_mb":
            return bool(ours <= goal)
        raise KeyError(f"goals.toml: unknown goal {name}")

    return [name for name, goal in goals.items() if not met(name, goal)]


def write(path: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """Writes the JSON file of a run."""
    content = {"machine": machine, "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """Returns the machine and the results from the JSON file of a run."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["machine"], [Result(**result) for result in content["results"]]


def number(value: float) -> str:
    """Formats a value with three or more digits and without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def columns(cells: Sequence[str], widths: Sequence[int] = WIDTHS) -> str:
    """Returns one line of a table; cells beyond ``widths`` are not padded."""
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)]
    return " ".join([*padded, *cells[len(widths) :]]).rstrip()


def header() -> str:
    """Returns the names of the columns."""
    return columns(("case", "ours", "peer (% of reference)", "ratio (least to most)", "of limit", "goals"))


def row(result: Result) -> str:
    """Returns the table's line of a result."""
    peer = ratio = of_limit = ""
    if result.peer is not None and result.peer_value is not None:
        peer = f"{number(result.peer_value)} {result.peer}"
        if result.of_reference is not None:
            flag = ", LOW" if result.of_reference < LOW_PEER else ""
            peer += f" ({result.of_reference:.0%}{flag})"
        ratio = f"{result.ratio:.2f} ({result.ratio_low:.2f} to {result.ratio_high:.2f})"
    if result.of_limit is not None:
        of_limit = f"{result.of_limit:.2f}"
    goals = [
        f"{name}{'' if goal is True else f' {goal}'} {'MISSED' if name in result.missed else 'met'}"
        for name, goal in result.goals.items()
    ]
    ending = "; ".join([*goals, *([f"[{result.note}]"] if result.note else [])])
    return columns((result.case, f"{number(result.ours)} {result.unit}", peer, ratio, of_limit, ending))
