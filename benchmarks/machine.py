"""The machine and the software versions of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pgfast

__all__ = ["differences", "machine"]

PACKAGES = (
    *("pgfast", "numpy", "scipy", "torch", "stable-baselines3", "sb3-contrib", "envpool", "ale-py", "gymnasium"),
    "mujoco",
)
MAY_DIFFER = ("date", "commit", "pgfast", "isa")  # between two runs that are compared


def machine() -> dict[str, Any]:
    """Returns CPU, cores, versions, instruction set, date and commit."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "isa": pgfast.native_info()["isa"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Returns the conditions in which two runs differ but should not."""
    names = [name for name in before if name not in MAY_DIFFER and before[name] != after.get(name)]
    return [f"{name}: {before[name]}, then {after.get(name)}" for name in names]


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Returns the commit of the sources from which pgfast is imported, else that of these benchmarks."""
    for folder in (*pgfast.__path__[::-1], str(Path(__file__).parent)):
        command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=12"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return done.stdout.strip()
    return None
