"""The hint for bytes that use little of the range of their space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import pgfast
from pgfast.cli import main

BYTES = spaces.Box(0, 255, (7, 7, 3), np.uint8)
SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 50, "network": "mlp", "hidden_sizes": (4,), "preset": None}
HINT = "bytes use little of their range"
BOTH = "set one_hot_observations if they are codes, or normalize_observations if they are quantities"


class BytesEnv(gymnasium.Env[Any, Any]):
    """Observes bytes below ``end``, in the leaf "map" of a Dict if there are other leaves."""

    def __init__(self, end: int = 11, **others: spaces.Space[Any]) -> None:
        self.end, self.others = end, spaces.Dict(others)
        self.observation_space = spaces.Dict({"map": BYTES, **others}) if others else BYTES
        self.action_space = spaces.Discrete(2)

    def observe(self) -> Any:
        codes = self.np_random.integers(0, self.end, BYTES.shape, np.uint8)
        return {"map": codes, **self.others.sample()} if self.others else codes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.observe(), 0.0, self.time == 30, False, {}


def hints(output: str) -> list[str]:
    return [line for line in output.splitlines() if HINT in line]


@pytest.mark.parametrize("algo", [pgfast.A2C, pgfast.VPG])  # rollouts of a fixed length, and of whole episodes
def test_codes_in_bytes_are_pointed_out_once(algo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    agent = algo(BytesEnv, **SMALL)
    agent.learn(800, progress_bar=True)
    assert hints(capsys.readouterr().out) == []  # a range is judged by 1,000 rows
    agent.learn(800, progress_bar=True)
    assert hints(capsys.readouterr().out) == [f"{HINT}: 0 to 10 of 0 to 255; {BOTH}"]
    agent.learn(800, progress_bar=True)
    assert hints(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("make", "chosen"),
    [
        (lambda: BytesEnv(256), {}),
        (lambda: BytesEnv(27), {}),
        (lambda: BytesEnv(1), {}),  # a blank picture
        (BytesEnv, {"one_hot_observations": True}),
        (BytesEnv, {"normalize_observations": True}),
    ],
)
def test_other_bytes_are_not(make: Any, chosen: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    pgfast.A2C(make, **SMALL, **chosen).learn(1400, progress_bar=True)
    output = capsys.readouterr().out
    assert "1,400 / 1,400" in output
    assert hints(output) == []


def test_a_leaf_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    pgfast.A2C(lambda: BytesEnv(compass=spaces.Discrete(4)), **SMALL).learn(1000, progress_bar=True)
    assert hints(capsys.readouterr().out) == [f"{HINT}: map 0 to 10 of 0 to 255; {BOTH}"]
    # normalize_observations would normalize the numbers alone
    pgfast.A2C(lambda: BytesEnv(speed=spaces.Box(-1.0, 1.0, (2,))), **SMALL).learn(1000, progress_bar=True)
    assert hints(capsys.readouterr().out)[0].endswith("set one_hot_observations if they are codes")


def test_the_command_line_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(gymnasium.registry, "Bytes-v0", gymnasium.envs.registration.EnvSpec("Bytes-v0", BytesEnv))
    flags = ["--run-dir", "run", "--num-envs", "4", "--n-steps", "50", "--network", "mlp", "--hidden-sizes", "4"]
    assert main(["train", "a2c", "Bytes-v0", "--total-timesteps", "1200", *flags]) == 0
    assert hints(capsys.readouterr().out) == [f"{HINT}: 0 to 10 of 0 to 255; {BOTH}"]
    assert main(["resume", "run", "--total-timesteps", "1600"]) == 0
    assert hints(capsys.readouterr().out) == []
