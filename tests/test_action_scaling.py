"""The setting action_scaling: where the mapping applies, whom it leaves alone, and which files have it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import pgfast
from action_envs import ActionEnv
from pgfast.algorithms import ALGORITHMS
from pgfast.learning.presets import GENERAL, presets
from pgfast.reporting.video import record_video
from pgfast.runs.models import read_model, write_model

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 6, "hidden_sizes": (3,), "preset": None}
PUSH_T = spaces.Box(0.0, 512.0, (2,))
FORMAT_3 = Path(__file__).parent / "models" / "format-3.safetensors"


class DrawnEnv(ActionEnv):
    render_mode = "rgb_array"

    def render(self) -> Any:
        return np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_policy_acts_in_minus_1_to_1(algo: str) -> None:
    made: list[ActionEnv] = []

    def make() -> ActionEnv:
        made.append(ActionEnv(PUSH_T, length=6))
        return made[-1]

    agent = ALGORITHMS[algo](make, **SMALL).learn(12)
    rollout = agent.sampler.rollout
    taken = np.stack([env.taken for env in made[-2:]], axis=1)
    np.testing.assert_allclose(taken, np.clip(256.0 + 256.0 * rollout.actions, 0.0, 512.0), rtol=1e-5, atol=1e-4)
    assert np.abs(rollout.actions).max() > 1.0  # neither scaled nor clipped


def test_log_prob_is_that_of_the_unscaled_action() -> None:
    agents = [pgfast.A2C(partial(ActionEnv, PUSH_T), **SMALL, action_scaling=scaling) for scaling in (True, False)]
    for agent in agents:
        agent.start_environments()
        rollout = agent.sampler.collect(0, 0)
        density = agent.policy.distribution(rollout.observations[0])
        np.testing.assert_allclose(density.log_prob(rollout.actions[0]), rollout.log_prob[0], rtol=1e-6)
    one, other = (agent.sampler.rollout for agent in agents)
    np.testing.assert_array_equal(one.actions[0], other.actions[0])
    assert not np.array_equal(one.rewards, other.rewards)


def test_predict_evaluate_and_video_scale(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    made: list[DrawnEnv] = []

    def make() -> DrawnEnv:
        made.append(DrawnEnv(PUSH_T))
        return made[-1]

    agent = pgfast.A2C(make, **SMALL)
    agent.policy.parameters[:] = 0.0  # the mean action is 0, the center of the bounds
    assert agent.predict([0.0, 0.0], deterministic=True).tolist() == [256.0, 256.0]
    agent.evaluate(1, deterministic=True)
    assert np.array_equal(made[-1].taken, np.full((5, 2), 256.0))
    record_video(agent, tmp_path / "video.mp4", deterministic=True)
    assert np.array_equal(made[-1].taken, np.full((5, 2), 256.0))
    plain = pgfast.A2C(make, **SMALL, action_scaling=False)
    plain.policy.parameters[:] = 0.0
    assert plain.predict([0.0, 0.0], deterministic=True).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("space", [spaces.Box(-1.0, 1.0, (2,)), spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(3)])
def test_the_same_bits_where_there_is_nothing_to_scale(algo: str, space: spaces.Space[Any]) -> None:
    on, off = (
        ALGORITHMS[algo](partial(ActionEnv, space), **SMALL, action_scaling=scaling).learn(36)
        for scaling in (True, False)
    )
    assert on.policy.parameters.tobytes() == off.policy.parameters.tobytes()
    np.testing.assert_array_equal(on.predict(np.ones((4, 2))), off.predict(np.ones((4, 2))))


def test_presets_that_were_tuned_without_it_keep_it_off() -> None:
    for algo in ALGORITHMS:
        for name, tables in presets(algo).items():
            for env_id, table in tables.items():
                if name == GENERAL or env_id == "atari":
                    continue
                space = pgfast.make_vec(env_id, 1, seed=0).single_action_space
                is_scalable = isinstance(space, spaces.Box) and not np.all((space.low == -1) & (space.high == 1))
                assert table.get("action_scaling", True) is not is_scalable


def test_files_older_than_the_setting_have_it_off(tmp_path: Path) -> None:
    assert pgfast.load(FORMAT_3).settings.action_scaling is False
    path = tmp_path / "model.safetensors"
    pgfast.NPG("Pendulum-v1", **SMALL).save(path)
    assert pgfast.load(path).settings.action_scaling is True
    arrays, metadata = read_model(path)
    del metadata["settings"]["action_scaling"]
    write_model(path, arrays, metadata)
    assert pgfast.load(path).settings.action_scaling is False


def test_a_run_older_than_the_setting_resumes_without_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    pgfast.NPG("Pendulum-v1", **SMALL, action_scaling=False).learn(24, run_dir=run)
    config = json.loads((run / "config.json").read_text())
    assert config["settings"].pop("action_scaling") is False
    (run / "config.json").write_text(json.dumps(config))
    assert pgfast.resume(run).learn(12).settings.action_scaling is False


def test_a_model_with_another_scaling_is_no_start(tmp_path: Path) -> None:
    scaled, plain, identity = (tmp_path / f"{name}.safetensors" for name in ("scaled", "plain", "identity"))
    pgfast.A2C("Pendulum-v1", **SMALL).save(scaled)
    pgfast.A2C("Pendulum-v1", **SMALL, action_scaling=False).save(plain)
    for path, scaling in ((scaled, False), (plain, True)):
        with pytest.raises(
            ValueError, match=rf"^init_from .* the model has action_scaling {not scaling}, this agent {scaling}$"
        ):
            pgfast.A2C("Pendulum-v1", **SMALL, init_from=path, action_scaling=scaling)
        pgfast.A2C("Pendulum-v1", **SMALL, init_from=path, action_scaling=not scaling)
    unit = partial(ActionEnv, spaces.Box(-1.0, 1.0, (2,)))
    pgfast.A2C(unit, **SMALL, action_scaling=False).save(identity)
    pgfast.A2C(unit, **SMALL, init_from=identity)
    pgfast.A2C(partial(ActionEnv, PUSH_T), **SMALL, init_from=identity, action_scaling=False)
    with pytest.raises(ValueError, match="the model has action_scaling False, this agent True"):
        pgfast.A2C(partial(ActionEnv, PUSH_T), **SMALL, init_from=identity)
