"""Writes python/pgfast/_core.pyi, the types of the native module; with --check, reports whether it is up to date.

The stub is generated from the variant in use but names none: every variant generates the same file.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pgfast._native import core

STUB = Path(__file__).parents[1] / "python" / "pgfast" / "_core.pyi"

# pybind11 accepts more types than pgfast passes, and strict mypy refuses bare containers.
SIMPLER = {
    r"typing\.SupportsInt \| typing\.SupportsIndex": "int",
    r"typing\.SupportsFloat \| typing\.SupportsIndex": "float",
    r"numpy\.ndarray(?!\[)": "numpy.typing.NDArray[typing.Any]",
    r"-> dict:": "-> dict[str, typing.Any]:",
    r"-> list:": "-> list[typing.Any]:",
    r"-> tuple:": "-> tuple[typing.Any, ...]:",
    r"__all__: list\[str\]": "__all__",
}


def generate() -> str:
    module = core.__name__
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["pybind11-stubgen", "--exit-code", "-o", folder, module], check=True, stdout=subprocess.DEVNULL)
        text = Path(folder, *module.split(".")).with_suffix(".pyi").read_text()
    text = text.replace(module, "pgfast._core")
    for pattern, replacement in SIMPLER.items():
        text = re.sub(pattern, replacement, text)
    for command in (["check", "--fix", "--select", "F401,I,RUF022"], ["format"]):
        ruff = ["ruff", *command, "--quiet", "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(ruff, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout
    return text


def main() -> int:
    """Writes or compares the stub; with --check, the exit status is 1 if the file is out of date."""
    text = generate()
    if "--check" not in sys.argv[1:]:
        STUB.write_text(text)
        return 0
    old = STUB.read_text() if STUB.exists() else ""
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True), str(STUB), "generated"))
    if text != old:
        print(f"{STUB.name} is out of date: run python .ci/stubs.py", file=sys.stderr)
    return int(text != old)


if __name__ == "__main__":
    sys.exit(main())
