"""Type checkers accept programs that use the public interface, and report each wrong use; `dir()` lists it alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest

import pgfast
from pgfast import distributions, kernels, losses, nn, optim, policies, value_functions

PROGRAMS = Path(__file__).parent / "typing"
EXAMPLES = Path(__file__).parents[1] / "examples"
REFUSED = PROGRAMS / "refused.py"
MODULES = (pgfast, distributions, kernels, losses, nn, optim, policies, value_functions)

CheckFolder: TypeAlias = Callable[[Path], Iterator[tuple[str, int, str]]]

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def errors_of_mypy(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yields (file, line, message) of each error in the programs of a folder."""
    done = run(folder, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache", "--output=json", ".")
    assert done.returncode == 1, done.stdout + done.stderr  # some lines are wrong
    for text in done.stdout.splitlines():
        found: dict[str, Any] = json.loads(text)
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["line"], found["message"]


def errors_of_pyright(folder: Path) -> Iterator[tuple[str, int, str]]:
    """As of mypy; with output as JSON, the wrapper does not look for a newer pyright on the network."""
    done = run(folder, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, ".")
    assert done.returncode == 1, done.stdout + done.stderr
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        yield Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["message"]


@pytest.mark.slow  # and needs the tools of the group "dev"
@pytest.mark.parametrize("errors_of", [errors_of_mypy, errors_of_pyright], ids=["mypy", "pyright"])
def test_type_checkers_report_each_wrong_use_and_no_right_one(errors_of: CheckFolder, tmp_path: Path) -> None:
    for path in (*PROGRAMS.glob("*.py"), *EXAMPLES.glob("*.py")):  # as a user's: outside of the repository
        shutil.copy(path, tmp_path)
    lines = REFUSED.read_text().splitlines()
    wrong = [number for number, line in enumerate(lines, start=1) if "# refused: " in line]
    assert len(wrong) >= 10
    errors = sorted(errors_of(tmp_path))
    texts = "\n".join(f"{file}:{line}: {message}" for file, line, message in errors)
    assert [(file, line) for file, line, _ in errors] == [(REFUSED.name, line) for line in wrong], texts


def test_the_accepted_program_runs(tmp_path: Path) -> None:
    done = run(tmp_path, "-W", "error", str(PROGRAMS / "accepted.py"))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@each_module
def test_the_accepted_program_uses_every_public_name(module: ModuleType) -> None:
    program = (PROGRAMS / "accepted.py").read_text()
    prefix = module.__name__.removeprefix("pgfast.")
    assert [name for name in module.__all__ if not re.search(rf"\b({prefix}\.|import .*\b){name}\b", program)] == []


@each_module
def test_dir_lists_the_public_names_alone(module: ModuleType) -> None:
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_a_star_import_brings_the_public_names(run_python: Any) -> None:
    code = "before = set(globals()); from pgfast import *; print(sorted(set(globals()) - before - {'before'}))"
    done = run_python(code)
    assert (done.stdout.strip(), done.stderr) == (str(sorted(pgfast.__all__)), "")


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"^module 'pgfast' has no attribute 'PPOO'$"):
        pgfast.PPOO  # type: ignore[attr-defined]  # noqa: B018
