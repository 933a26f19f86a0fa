"""The packages that are installed and imported with pgfast."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires

import pytest

import pgfast

OPTIONAL = ("ray", "ale_py", "envpool", "mujoco", "matplotlib", "pygame", "imageio_ffmpeg", "tensorboardX", "torch")


def test_importing_pgfast_imports_no_optional_package() -> None:
    program = f"import sys, pgfast; print([name for name in {OPTIONAL} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_modules_are_imported_when_they_are_used() -> None:
    program = """if True:
        import sys, pgfast
        print([name for name in sys.modules if name.startswith("pgfast.") and "._" not in name])
        print(*(getattr(pgfast, name).__name__ for name in pgfast._MODULES))"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules, names = result.stdout.splitlines()
    assert modules == "[]"
    assert names.split() == [f"pgfast.{name}" for name in pgfast._MODULES]


def test_ray_is_installed_with_its_extra_alone() -> None:
    requirements = [each for each in requires("pgfast") or () if each.startswith("ray")]
    assert requirements
    assert all("extra ==" in each for each in requirements)


def test_without_ray_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    agent = pgfast.A2C("CartPole-v1", num_envs=2, num_workers=2)
    with pytest.raises(ImportError, match=r'^num_workers needs Ray: pip install "pgfast\[ray\]"; with ray_address='):
        agent.learn(10)
