"""The floor plan: the files and packages that a file may include or import, and the calls that none may make."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pgfast

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp" / "pgfast"
PYTHON = Path(pgfast.__file__).resolve().parent

CPP_FLOORS = {"base": 0, "linalg": 1, "optim": 1, "nn": 2, "dist": 2, "rl": 3}
# floor: its groups, each several files or one folder, whose members may import each other
PYTHON_FLOORS = {
    5: [
        {"reference"},
        {"_core", "_cpu", "_native", "_streams", "_typing", "distributions", "kernels", "losses", "metrics", "nn"}
        | {"optim", "profiling", "random", "reduce", "state"},
    ],
    6: [{"envs"}],
    7: [{"policies"}],
    8: [{"value_functions"}, {"sampling"}],
    9: [{"presets"}, {"learning"}],
    10: [{"algos"}],
    11: [{"runs"}],
    12: [{"reporting"}],
    13: [{"training"}],
    14: [{"agent", "algorithms", "arguments", "loading", "resuming"}],
    15: [{"cli", "commands", "flags", "parsing", "__main__", "__init__"}],
}
GROUPS = {name: (floor, group) for floor, groups in PYTHON_FLOORS.items() for group in groups for name in group}
OPTIONAL = ["ale_py", "envpool", "matplotlib", "imageio_ffmpeg", "pygame", "ray", "tensorboardX"]
CODE_FROM_DATA = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

CPP_FILES = sorted(path for path in CPP.rglob("*") if path.suffix in (".hpp", ".cpp"))
MODULES = sorted(PYTHON.rglob("*.py"))
cpp_file = pytest.mark.parametrize("path", CPP_FILES, ids=lambda path: str(path.relative_to(CPP)))
module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PYTHON)))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def package_of(path: Path) -> list[str]:
    """Returns the package of a module as a list of names, such as ["pgfast", "envs"]."""
    return ["pgfast", *path.relative_to(PYTHON).parent.parts]


def imports(path: Path) -> Iterator[str]:
    """Yields the absolute name of every import of a module, anywhere and in any form, such as "gymnasium.spaces"."""
    return imported_below(ast.parse(path.read_text()), path)


def imported_below(tree: ast.AST, path: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)
            parts = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


def place(name: str) -> tuple[int, set[str]]:
    """Returns the floor and the group of a name directly below the package."""
    assert name in GROUPS, f"{name} is on no floor: add it here and in the design"
    return GROUPS[name]


def first_name(path: Path) -> str:
    return path.relative_to(PYTHON).parts[0].removesuffix(".py")


def package_imports(path: Path) -> Iterator[str]:
    """Yields the name directly below the package for each import from it; "from pgfast import Rng" is "__init__"."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "pgfast" and name != "pgfast.__version__":
            yield parts[1] if len(parts) > 1 and parts[1] in GROUPS else "__init__"


def module_graph() -> dict[str, set[str]]:
    """Maps every module of the package to the modules that it imports."""
    names = {path: ".".join([*package_of(path), path.stem]).removesuffix(".__init__") for path in MODULES}
    graph: dict[str, set[str]] = {name: set() for name in names.values()}
    for path, name in names.items():
        for imported in imports(path):
            module = imported if imported in names.values() else imported.rpartition(".")[0]
            if module in names.values() and imported not in ("pgfast._core", "pgfast._cpu"):  # the native modules
                graph[name].add(module)
    return graph


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def test_the_files_are_found() -> None:
    assert len(CPP_FILES) > 10
    assert len(MODULES) > 10
    assert {path.parent.name for path in CPP_FILES} <= set(CPP_FLOORS)


@cpp_file
def test_the_core_does_not_depend_on_python(path: Path) -> None:
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
def test_a_module_imports_floors_below_and_its_own_group(path: Path) -> None:
    floor, group = place(first_name(path))
    for name in package_imports(path):
        assert name in group or place(name)[0] < floor, name


def test_imports_form_no_cycle() -> None:
    graph = module_graph()
    assert len(graph) == len(MODULES)
    TopologicalSorter(graph).prepare()  # raises CycleError, which lists the cycle


@module
def test_no_import_is_inside_a_function(path: Path) -> None:
    """Except optional packages, which may be missing, and the two files whose purpose is to import on demand."""
    if path in (PYTHON / "__init__.py", PYTHON / "_native.py"):
        return
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            hidden = {name.split(".")[0] for name in imported_below(function, path)}
            assert hidden <= set(OPTIONAL), hidden


@module
def test_gymnasium_is_imported_only_from_floor_six_on(path: Path) -> None:
    if place(first_name(path))[0] < 6:
        assert not [name for name in imports(path) if name.split(".")[0] == "gymnasium"]


@module
def test_the_reference_neither_imports_the_package_nor_is_imported_by_it(path: Path) -> None:
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
def test_no_module_executes_data(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in CODE_FROM_DATA]
    for call in calls(path):
        name = ast.unparse(call.func)
        assert name not in ("eval", "exec", "compile", "builtins.eval", "builtins.exec")
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert keywords.get("allow_pickle", "False") == "False"
