"""The programs in examples/, most of which use gymnasium, run as their docstrings say and learn what they claim."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def run(name: str, folder: Path) -> str:
    """Runs an example outside the repository, with warnings as errors, and returns what it prints."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []  # no files are left behind
    return done.stdout


def numbers(pattern: str, text: str) -> list[float]:
    """Returns all matches of the one group of ``pattern`` as numbers."""
    return [float(match) for match in re.findall(pattern, text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    documentation = ast.get_docstring(ast.parse(path.read_text()))
    assert documentation is not None
    assert f"python examples/{path.name}" in documentation
    assert f'"{path.name}"' in Path(__file__).read_text()  # and a test runs it


def test_kernels_on_numpy_learns(tmp_path: Path) -> None:
    printed = run("kernels_on_numpy.py", tmp_path)
    returns = numbers(r"return ([\d.]+) of 4", printed)
    assert len(returns) == 6
    assert returns[-1] > 3.8
    assert numbers(r"step to the right: ([\d.]+)", printed)[0] > 0.9


def test_natural_gradient_by_hand_learns_with_small_steps(tmp_path: Path) -> None:
    printed = run("natural_gradient_by_hand.py", tmp_path)
    returns = numbers(r"mean return +([\d.]+)", printed)
    assert returns[0] < 50
    assert returns[-1] > 150
    assert len(returns) <= 15
    assert max(numbers(r"KL divergence ([\d.]+)", printed)) < 0.1


def test_training_with_a_callback_stops_early(tmp_path: Path) -> None:
    printed = run("training_with_a_callback.py", tmp_path)
    returns = numbers(r"return +([\d.]+), KL", printed)
    assert returns[-1] >= 400
    assert max(returns[:-1]) < 400
    (steps,) = re.findall(r"stopped after ([\d,]+) of 150,000 steps", printed)
    assert int(steps.replace(",", "")) < 150_000
    assert numbers(r"evaluation: (\d+)", printed)[0] > 400
    assert printed.endswith("saved, loaded, and the same action again\n")


def test_custom_environment_learns_to_control_the_heater(tmp_path: Path) -> None:
    printed = run("custom_environment.py", tmp_path)
    before, after = numbers(r"(-[\d.]+) (?:before|after)", printed)
    assert before < -30
    assert after > -8
    assert re.findall(r"at (\d+) degrees, with 0 outside, the heater is on", printed) == ["15", "19"]
    assert re.findall(r"at (\d+) degrees, with 0 outside, the heater is off", printed) == ["21", "25"]
