"""The floor plan: what a file may include or import, and what no file may call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgfast

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp" / "pgfast"
PYTHON = Path(pgfast.__file__).resolve().parent

CPP_FLOORS = {"base": 0, "linalg": 1, "optim": 1, "nn": 2, "dist": 2, "rl": 3}
PYTHON_FLOORS = {
    **dict.fromkeys(("_native", "_streams", "_typing", "_core", "_cpu"), 4),
    **dict.fromkeys(("kernels", "nn", "optim", "distributions", "losses", "profiling", "random", "reduce", "reference"), 5),
    **dict.fromkeys(("envs", "policies", "baselines", "rollout"), 6),
    **dict.fromkeys(("algos", "training", "presets"), 7),
    **dict.fromkeys(("cli", "__main__"), 8),
    "__init__": 8,  # what users import, the command line among them
}
OPTIONAL = ["ale_py", "matplotlib", "imageio_ffmpeg", "tensorboardX"]
CODE_FROM_DATA = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

CPP_FILES = sorted(path for path in CPP.rglob("*") if path.suffix in (".hpp", ".cpp"))
MODULES = sorted(PYTHON.rglob("*.py"))
cpp_file = pytest.mark.parametrize("path", CPP_FILES, ids=lambda path: str(path.relative_to(CPP)))
module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PYTHON)))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def package_of(path: Path) -> list[str]:
    """The names of the package that a module lies in: ["pgfast", "envs"]."""
    return ["pgfast", *path.relative_to(PYTHON).parent.parts]


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all that a module imports, wherever and however: "gymnasium.spaces", "pgfast.envs.make"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)
            parts = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(given.value) for given in node.args[:1] if isinstance(given, ast.Constant))


def floor(path: Path) -> int:
    first = path.relative_to(PYTHON).parts[0].removesuffix(".py")
    assert first in PYTHON_FLOORS, f"{first} is on no floor: give it one here and in the design"
    return PYTHON_FLOORS[first]


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def test_the_files_are_found() -> None:
    assert len(CPP_FILES) > 10
    assert len(MODULES) > 10
    assert {path.parent.name for path in CPP_FILES} <= set(CPP_FLOORS)


@cpp_file
def test_the_core_knows_nothing_of_python(path: Path) -> None:
    for name in includes(path):
        assert not name.startswith("pybind11")
        assert name not in ("Python.h", "arrays.hpp", "omp.h")
    assert "#pragma omp" not in path.read_text()


@cpp_file
def test_a_core_file_includes_its_own_folder_and_floors_below(path: Path) -> None:
    folder = path.parent.name
    for name in includes(path):
        top, _, rest = name.partition("/")
        if top == "pgfast":
            other = rest.split("/")[0]
            assert other == folder or CPP_FLOORS[other] < CPP_FLOORS[folder], name


@module
def test_a_module_imports_no_floor_above(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "pgfast" and name != "pgfast.__version__":
            # "from pgfast import Rng" is an import of the top, which only the top may do.
            target = parts[1] if len(parts) > 1 and parts[1] in PYTHON_FLOORS else "__init__"
            assert PYTHON_FLOORS[target] <= floor(path), name


@module
def test_gymnasium_begins_at_floor_six(path: Path) -> None:
    if floor(path) < 6:
        assert not [name for name in imports(path) if name.split(".")[0] == "gymnasium"]


@module
def test_the_reference_stands_alone(path: Path) -> None:
    names = [name for name in imports(path) if name.startswith("pgfast")]
    if path.parent.name == "reference":
        assert all(name.startswith("pgfast.reference") for name in names)
    else:
        assert not [name for name in names if name.startswith("pgfast.reference")]


@pytest.mark.parametrize("package", OPTIONAL)
def test_an_optional_package_is_imported_in_one_file(package: str) -> None:
    importers = [path.name for path in MODULES if package in {name.split(".")[0] for name in imports(path)}]
    assert len(importers) == 1, importers


@module
def test_data_is_never_code(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in CODE_FROM_DATA]
    for call in calls(path):
        name = ast.unparse(call.func)
        assert name not in ("eval", "exec", "compile", "builtins.eval", "builtins.exec")
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert keywords.get("allow_pickle", "False") == "False"
