"""Drawing without a screen: MuJoCo's backend, the camera that follows the body, pygame's driver."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast.envs.playback import open_playback
from pgfast.envs.screenless import choose_mujoco_backend
from pgfast.envs.source import EnvironmentSource

RunPython = Callable[..., subprocess.CompletedProcess[str]]
NO_SCREEN = {"DISPLAY": None, "WAYLAND_DISPLAY": None, "MUJOCO_GL": None, "SDL_VIDEODRIVER": None}
CHOOSE = """
import os
from pgfast.envs.screenless import choose_mujoco_backend
choose_mujoco_backend()
print(os.environ.get("MUJOCO_GL"))
"""


@pytest.fixture
def mujoco_of(tmp_path: Path) -> Callable[..., str]:
    """mujoco_of("egl") returns a path where mujoco is a package that can draw by EGL alone."""

    def make(*backends: str) -> str:
        (tmp_path / "mujoco.py").write_text(f"""
import os
class GLContext:
    def __init__(self, width, height): assert os.environ["MUJOCO_GL"] in {backends}
    def make_current(self): pass
""")
        return str(tmp_path)

    return make


@pytest.mark.parametrize(("backends", "chosen"), [(["egl", "osmesa"], "egl"), (["egl"], "egl"), (["osmesa"], "osmesa")])
def test_the_backend_is_one_that_works(
    backends: list[str], chosen: str, run_python: RunPython, mujoco_of: Callable[..., str]
) -> None:
    done = run_python(CHOOSE, **NO_SCREEN, PYTHONPATH=mujoco_of(*backends))
    assert (done.stdout, done.stderr) == (f"{chosen}\n", "")


def test_without_a_backend_the_cure_is_named(run_python: RunPython, mujoco_of: Callable[..., str]) -> None:
    done = run_python(CHOOSE, **NO_SCREEN, PYTHONPATH=mujoco_of())
    assert "RuntimeError: there is no screen, and neither OSMesa nor EGL works; install one" in done.stderr
    assert "apt install libosmesa6" in done.stderr


@pytest.mark.parametrize("given", [{"DISPLAY": ":7"}, {"WAYLAND_DISPLAY": "wayland-0"}, {"MUJOCO_GL": "glfw"}])
def test_a_screen_or_a_backend_of_the_user_is_kept(
    given: dict[str, str], run_python: RunPython, mujoco_of: Callable[..., str]
) -> None:
    done = run_python(CHOOSE, **{**NO_SCREEN, **given}, PYTHONPATH=mujoco_of())
    assert (done.stdout, done.stderr) == (f"{given.get('MUJOCO_GL')}\n", "")


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsets what names a screen, and skips the test if MuJoCo cannot draw on this machine."""
    pytest.importorskip("mujoco")
    for name in NO_SCREEN:
        monkeypatch.setenv(name, "")  # so that it is restored after the test
        monkeypatch.delenv(name)
    try:
        choose_mujoco_backend()
    except RuntimeError as error:
        pytest.skip(str(error))


def draw_at(playback: Any, position: float) -> NDArray[np.bool_]:
    """Moves the body of a MuJoCo environment along its first axis, and returns which pixels have the body's color."""
    env = playback.env.envs[0].unwrapped
    env.set_state(np.concatenate([[position], env.init_qpos[1:]]), 0 * env.init_qvel)
    red, _, blue = np.moveaxis(playback._draw().astype(int), 2, 0)
    body: NDArray[np.bool_] = red - blue > 30
    return body


@pytest.mark.usefixtures("no_screen")
@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5"])
def test_the_camera_follows_the_body_over_an_endless_floor(env_id: str) -> None:
    with closing(open_playback(EnvironmentSource(env_id))) as playback:
        playback.reset(0)
        here, there = draw_at(playback, 0.0), draw_at(playback, 100.0)
        assert here.mean() > 0.005
        assert (here & there).sum() > 0.95 * here.sum()
        frame = playback._draw()  # type: ignore[attr-defined]
        assert frame[-40:].std() > 40  # black and white squares below the body, not the empty background


@pytest.mark.usefixtures("no_screen")
def test_a_body_that_stays_in_place_is_drawn() -> None:
    with closing(open_playback(EnvironmentSource("InvertedPendulum-v5"))) as playback:
        _, (frame,) = playback.reset(0)
        assert frame.std() > 10


def test_pygame_draws_without_a_word(run_python: RunPython) -> None:
    code = """
from pgfast.envs.playback import open_playback
from pgfast.envs.source import EnvironmentSource
open_playback(EnvironmentSource("CartPole-v1")).reset(0)
"""
    done = run_python(code, **NO_SCREEN, XDG_RUNTIME_DIR=None)
    assert (done.returncode, done.stderr) == (0, "")
