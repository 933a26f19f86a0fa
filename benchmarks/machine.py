"""What a run was measured on and with."""

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
OF_THE_RUN = ("date", "commit", "pgfast", "isa")  # what may differ between two runs that are compared


def machine() -> dict[str, Any]:
    """CPU, cores, versions, instruction set, date and commit."""
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
    """What two runs do not share, beside what is compared."""
    names = [name for name in before if name not in OF_THE_RUN and before[name] != after.get(name)]
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
    """Of the sources that pgfast is used from, else of these benchmarks."""
    for folder in (*pgfast.__path__[::-1], str(Path(__file__).parent)):
        command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=12"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return done.stdout.strip()
    return None
