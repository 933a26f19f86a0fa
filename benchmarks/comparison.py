"""Comparison of two runs on one machine, before and after a change."""

from __future__ import annotations

from pathlib import Path

from machine import differences
from results import Result, columns, number, read

__all__ = ["compare"]

WIDTHS = (60, 18, 18, 16, 14)


def compare(before_file: Path, after_file: Path) -> None:
    """Prints how much faster pgfast and its peers became. A change of a peer reflects the machine."""
    (machine_before, before), (machine_after, after) = read(before_file), read(after_file)
    for name, machine in (("before", machine_before), ("after", machine_after)):
        print(f"{name}: {machine['commit']}, {machine['date']}, {machine['cpu']}, {machine['cores']} cores")
    different = differences(machine_before, machine_after)
    if different:
        print("DIFFERENT CONDITIONS, " + "; ".join(different) + ": only the ratios to the peers are comparable")
    print(columns(("case", "before", "after", "speed", "peer's speed", "ratio to the peer"), WIDTHS))
    old = {(result.subject, result.case): result for result in before}
    new = {(result.subject, result.case): result for result in after}
    for key, result in new.items():
        print(_row(old[key], result) if key in old else f"{' '.join(key)}: only in {after_file}")
    for key in old.keys() - new.keys():
        print(f"{' '.join(key)}: only in {before_file}")


def _change(before: float, after: float, higher_is_better: bool) -> str:
    return f"x {after / before if higher_is_better else before / after:.2f}"


def _row(before: Result, after: Result) -> str:
    cells = [
        f"{after.subject} {after.case}",
        f"{number(before.ours)} {before.unit}",
        f"{number(after.ours)} {after.unit}",
        _change(before.ours, after.ours, after.higher_is_better),
    ]
    if before.peer_value is not None and after.peer_value is not None:
        cells.append(_change(before.peer_value, after.peer_value, after.higher_is_better))
        cells.append(f"{before.ratio:.2f} to {after.ratio:.2f}")
    return columns(cells, WIDTHS)
