"""Drawing on a machine without a screen, by pygame and by MuJoCo."""

from __future__ import annotations

import os
import subprocess
import sys

__all__ = ["choose_mujoco_backend", "choose_pygame_driver"]

_PROBE = "import os, mujoco; mujoco.GLContext(8, 8).make_current(); os._exit(0)"
_PROBE_SECONDS = 60.0


def has_screen() -> bool:
    """Whether windows can be opened, as far as the environment variables tell."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def choose_pygame_driver() -> None:
    """Has pygame draw in memory if there is no screen; with its own choice of a driver it complains on stderr."""
    if not has_screen():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def choose_mujoco_backend() -> None:
    """Sets ``MUJOCO_GL`` to what works here, "egl" or "osmesa", if there is no screen and it is not set.

    Gymnasium reads the variable at the first frame, even if mujoco was imported before.

    Raises:
        RuntimeError: if neither works.
    """
    if has_screen() or os.environ.get("MUJOCO_GL"):
        return
    for backend in ("egl", "osmesa"):
        if _works(backend):
            os.environ["MUJOCO_GL"] = backend
            return
    raise RuntimeError(
        "there is no screen, and neither OSMesa nor EGL works; install one of them (Debian, Ubuntu: "
        '"apt install libosmesa6", or "apt install libegl1 libopengl0 libgl1-mesa-dri")'
    )


def _works(backend: str) -> bool:
    """Whether MuJoCo can draw by a backend: in another process, since a failed import of one blocks the other."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "MUJOCO_GL": backend},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0
