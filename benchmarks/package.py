"""The time of ``import pgfast`` compared with that of its dependencies, and its size on disk.

Each import is timed inside a fresh interpreter, which excludes the start of the interpreter. The goals apply to a
wheel: an editable installation imports somewhat slower, and its native modules may be larger.

python benchmarks/package.py [--rounds 11] [--smoke]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pgfast
from harness import Bench, main


def import_time(modules: str) -> Callable[[], float]:
    """Returns a sampler of an import's seconds. The first import, which compiles and reads from disk, is discarded."""
    program = f"import time; began = time.perf_counter(); import {modules}; print(time.perf_counter() - began)"

    def sample() -> float:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return float(done.stdout)

    sample()
    return sample


def installed_bytes() -> int:
    """Returns the size of pgfast's files; an editable installation keeps its native modules in a separate folder."""
    files = (file for folder in pgfast.__path__ for file in Path(folder).rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)


def measure(bench: Bench) -> None:
    bench.compare("import", "ms", import_time("pgfast"), import_time("numpy, gymnasium"), peer="numpy, gymnasium")
    bench.add_value("installed", "MB", 1e-6 * installed_bytes())


if __name__ == "__main__":
    main("package", measure, __doc__, rounds=11)
