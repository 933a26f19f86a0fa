"""PPO with two workers compared with Ray's RLlib with two environment runners, with the same settings.

RLlib needs an environment of its own, as it fixes the version of Gymnasium:

python -m venv rllib && rllib/bin/pip install "ray[rllib]==2.60.0" torch ale-py opencv-python-headless
RLLIB_PYTHON=rllib/bin/python python benchmarks/rllib.py [--only CartPole] [--rounds 5] [--smoke]
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pgfast
from harness import CONTINUE, Bench, main

WORKERS = 2
SHARED = {"num_epochs": 4, "minibatch_size": 256, "gae_lambda": 0.95, "entropy_coef": 0.01, "n_steps": 128}
TASKS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"num_envs": 8, "learning_rate": 3e-4, "clip_range": 0.2, **SHARED},
    "BreakoutNoFrameskip-v4": {"num_envs": 8, "learning_rate": 2.5e-4, "clip_range": 0.1, **SHARED},
}


class RllibTraining:
    """A training in a process of the other environment."""

    def __init__(self, python: str, settings: dict[str, Any]) -> None:
        command = [python, str(Path(__file__).parent / "peers" / "rllib_ppo.py"), json.dumps(settings)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._answer()

    def run(self, timesteps: int) -> float:
        """Trains and returns timesteps per second."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{timesteps}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"RLlib ended with status {status}: {self._errors.read()[-2000:]}")
        return line


def measure(bench: Bench) -> None:
    python = os.environ.get("RLLIB_PYTHON")
    if python is None:
        raise SystemExit("rllib: set RLLIB_PYTHON to the interpreter of RLlib's environment")
    for env_id, settings in TASKS.items():
        if not bench.wants(env_id):
            continue
        network = "mlp" if env_id.startswith("CartPole") else "nature_cnn"
        chosen = {**settings, "network": network, "num_workers": WORKERS}
        ours = pgfast.PPO(env_id, preset=None, separate_value_network=network == "mlp", **chosen, **CONTINUE)
        peer = RllibTraining(python, {"env_id": env_id, **chosen})
        timesteps = settings["num_envs"] * settings["n_steps"] * (1 if bench.smoke else 3)
        ours.learn(timesteps)
        peer.run(timesteps)
        bench.compare_trainings(env_id, ours, peer, timesteps, peer="RLlib")
        ours.close()
        peer.close()


if __name__ == "__main__":
    main("rllib", measure, __doc__, rounds=5)
