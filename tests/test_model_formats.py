"""Model files of every format since 3 are read by every later version: one kept file for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast.runs.models import read_model, write_model

# An NPG agent after 400 steps of Pendulum-v1, with normalizers and a network for the values.
FORMAT_3 = Path(__file__).parent / "models" / "format-3.safetensors"
# An A2C agent after 400 steps of a task that observes one-hot codes and normalized numbers, and takes a choice and a
# scaled number. Policy and value have an LSTM each.
FORMAT_4 = FORMAT_3.with_name("format-4.safetensors")


def rewritten(folder: Path, *, without: tuple[str, ...] = (), **settings: Any) -> Path:
    """A copy of the kept file with other settings."""
    arrays, metadata = read_model(FORMAT_3)
    kept = {name: value for name, value in metadata["settings"].items() if name not in without}
    path = folder / "model.safetensors"
    write_model(path, arrays, {**metadata, "settings": {**kept, **settings}})
    return path


def test_format_3_is_read() -> None:
    agent = pgfast.load(FORMAT_3)
    assert isinstance(agent, pgfast.NPG)
    assert (agent.env_id, agent.timesteps, agent.updates) == ("Pendulum-v1", 400, 4)
    assert agent.settings.solver == "cholesky"
    assert agent.settings.hidden_sizes == (4,)
    arrays, _ = read_model(FORMAT_3)
    assert arrays.keys() == agent.learner.model().keys()
    for name, array in agent.learner.model().items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    action = agent.predict(np.array([0.6, 0.8, -1.0], np.float32), deterministic=True)
    np.testing.assert_allclose(action, [0.17787954], rtol=1e-5)


def test_format_4_is_read() -> None:
    agent = pgfast.load(FORMAT_4)
    assert isinstance(agent, pgfast.A2C)
    assert (agent.env_id, agent.timesteps, agent.updates) == (None, 400, 10)
    assert (agent.settings.memory, agent.settings.memory_size, agent.settings.action_scaling) == ("lstm", 3, True)
    obs = {"kind": 2, "position": np.array([0.5, -0.25], np.float32), "tiles": np.array([3, 1], np.uint8)}
    (choice, number), state = agent.predict(obs, deterministic=True)
    (next_choice, next_number), after = agent.predict(obs, deterministic=True, state=state)
    assert choice == next_choice == 1
    np.testing.assert_allclose([number, next_number], [[5.0750732], [5.0827494]], rtol=1e-5)
    np.testing.assert_allclose(after[[0, 4, 11]], [-0.12022606, -0.9770148, 0.3643698], rtol=1e-4)
    np.testing.assert_allclose(agent.values(obs, state=state), [0.02117262], rtol=1e-3)


def test_a_missing_setting_takes_its_default(tmp_path: Path) -> None:
    agent = pgfast.load(rewritten(tmp_path, without=("fisher_subsample", "seed")))
    assert agent.settings.fisher_subsample == 1
    assert agent.settings.seed == 0
    assert agent.settings.hidden_sizes == (4,)


def test_a_model_from_before_memory_has_none(tmp_path: Path) -> None:
    path, written = tmp_path / "model.safetensors", pgfast.A2C("CartPole-v1", preset=None, num_envs=2)
    written.save(path)
    arrays, metadata = read_model(path)
    settings = {name: value for name, value in metadata["settings"].items() if "memory" not in name}
    assert len(settings) == len(metadata["settings"]) - 2
    write_model(path, arrays, {**metadata, "settings": settings})
    loaded = pgfast.load(path)
    assert loaded.settings.memory == "none"
    warm = pgfast.A2C("CartPole-v1", preset=None, num_envs=2, init_from=path)
    for agent in (loaded, warm):
        np.testing.assert_array_equal(agent.policy.parameters, written.policy.parameters)


def test_an_unknown_setting_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = rewritten(tmp_path, momentum=0.9, zeal=1)
    version = pgfast.__version__
    with pytest.raises(pgfast.CheckpointError) as caught:
        pgfast.load(path)
    assert caught.value.reason == (
        f"has settings that npg does not have in pgfast {version}: momentum, zeal; it was written by pgfast 0.1.0"
    )


def test_an_older_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    arrays, metadata = read_model(FORMAT_3)
    path = tmp_path / "model.safetensors"
    write_model(path, arrays, {**metadata, "format": 2})
    with pytest.raises(pgfast.CheckpointError) as caught:
        pgfast.load(path)
    assert caught.value.reason == (
        f"was written in format 2 by pgfast 0.1.0; pgfast {pgfast.__version__} reads formats 3 to 4"
    )
