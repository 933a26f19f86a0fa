"""An environment with a process of its own, which only ``close`` ends, as emulators and simulators have."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class EmulatorEnv(gymnasium.Env):
    """Leaves a file named after its process in ``folder``.

    fail: "step" raises and "hang" hangs in the third step of the first environment that gets there; "make" raises for
    the second environment; "close" hangs in ``close``.
    """

    def __init__(self, folder: Path, fail: str = "", close_seconds: float = 0.0) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.folder, self.fail, self.close_seconds = folder, fail, close_seconds
        if fail == "make" and list(folder.iterdir()):
            raise ArithmeticError("no second one")
        self.process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        (folder / str(self.process.pid)).touch()
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        if self.fail in ("step", "hang") and self.steps == 3 and self._is_first():
            if self.fail == "step":
                raise ArithmeticError("the emulator stopped")
            time.sleep(1e6)
        (self.folder / "stepped").touch()
        return np.zeros(2, np.float32), 1.0, False, False, {}

    def close(self) -> None:
        time.sleep(1e6 if self.fail == "close" else self.close_seconds)
        self.process.terminate()
        self.process.wait()

    def _is_first(self) -> bool:
        try:
            (self.folder / "failed").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
