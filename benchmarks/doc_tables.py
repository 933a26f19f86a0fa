"""The results of a run as Markdown tables for the documentation."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from results import Result, number, read

__all__ = ["doc_tables"]

NOT_SHOWN = ("date", "commit", "pgfast")


def doc_tables(file: Path) -> str:
    """Returns a sentence about the machine, then one table per subject."""
    machine, results = read(file)
    versions = ", ".join(
        f"{name} {value}"
        for name, value in machine.items()
        if value is not None and name not in ("cpu", "cores", *NOT_SHOWN)
    )
    lines = [
        f"Measured on {machine['date'][:10]} on {machine['cores']} cores of an {machine['cpu']}, commit "
        f"{machine['commit']}, with {versions}."
    ]
    for subject, cases in groupby(results, lambda result: result.subject):
        lines += [
            "",
            f"### {subject}",
            "",
            "| case | pgfast | peer | ratio (least to most) | of the limit | goal |",
            "|---|---|---|---|---|---|",
            *("| " + " | ".join(_cells(result)) + " |" for result in cases),
        ]
    return "\n".join(lines) + "\n"


def _cells(result: Result) -> list[str]:
    peer = ratio = ""
    if result.peer is not None and result.peer_value is not None and result.ratio is not None:
        peer = f"{result.peer} {number(result.peer_value)}"
        ratio = f"{result.ratio:.2f} ({result.ratio_low:.2f} to {result.ratio_high:.2f})"
    of_limit = f"{result.of_limit:.2f}" if result.of_limit is not None else ""
    goals = ", ".join(_goal(name, value, result) for name, value in result.goals.items())
    return [result.case, f"{number(result.ours)} {result.unit}", peer, ratio, of_limit, goals]


def _goal(name: str, value: float, result: Result) -> str:
    words = {
        "ratio": f"ratio {value}",
        "of_limit": f"{value} of the limit",
        "faster_on_two_threads": "faster than on one",
        "size_mb": f"at most {value} MB",
    }[name]
    if name == "ratio" and result.limit is not None and result.peer_value is not None:
        # The goal as a fraction of the limit; above 1 it is out of reach.
        needed = value * (result.peer_value / result.limit) ** (1 if result.higher_is_better else -1)
        words += f" ({needed:.2f} of the limit)"
    return f"**{words}: missed**" if name in result.missed else words
