"""Evaluation: whole episodes, a limit for those that do not end, and the environments of training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import pgfast
from pgfast.loading import verify
from pgfast.runs.models import read_model
from pgfast.runs.progress_log import read_progress
from test_training import resume_to, without_times

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 5, "hidden_sizes": (8,)}


class Lasting(gymnasium.Env[np.ndarray, np.int64]):
    """Lasts 3, 40 or 10^9 steps, drawn at the reset; every reward is 1."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    lengths = (3, 40, 10**9)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.choice(self.lengths))
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


class Endless(Lasting):
    lengths = (10**9,)


class Process(Lasting):
    """Refuses to be made twice in one process, as some emulators do."""

    made_in: set[int] = set()  # noqa: RUF012 - shared by purpose
    lengths = (3, 40)

    def __init__(self) -> None:
        if os.getpid() in self.made_in:
            raise RuntimeError("Cannot create multiple emulator instances per process")
        if os.getpid() != PARENT:
            self.made_in.add(os.getpid())


PARENT = os.getpid()


def test_episodes_that_do_not_end_are_cut_and_counted() -> None:
    result = pgfast.VPG(Endless, **SMALL).evaluate(20, max_episode_steps=50)
    assert result.cut == 20
    assert result.returns.tolist() == [50.0] * 20
    assert result.lengths.tolist() == [50] * 20


def test_only_the_episodes_that_reach_the_limit_are_cut() -> None:
    agent = pgfast.VPG(Lasting, **SMALL)
    result = agent.evaluate(200, max_episode_steps=60)
    counts = {length: int((result.lengths == length).sum()) for length in (3, 40, 60)}
    assert sum(counts.values()) == 200
    assert result.cut == counts[60]
    assert all(40 <= count <= 95 for count in counts.values()), counts  # a third each, however long they are
    again = agent.evaluate(200, max_episode_steps=60)
    np.testing.assert_array_equal(again.lengths, result.lengths)


def test_a_limit_that_no_episode_reaches_changes_nothing() -> None:
    agent = pgfast.A2C("CartPole-v1", **SMALL)
    results = [agent.evaluate(20), agent.evaluate(20, max_episode_steps=500)]
    assert [result.cut for result in results] == [0, 0]
    np.testing.assert_array_equal(results[0].returns, results[1].returns)
    with pytest.raises(ValueError, match="evaluate: max_episode_steps must be an int of at least 1, got 0"):
        agent.evaluate(1, max_episode_steps=0)


def test_evaluation_uses_the_worker_processes_of_training() -> None:
    agent = pgfast.VPG(Process, **SMALL, vectorization="async")
    assert agent.evaluate(4).lengths.size == 4
    assert agent.evaluate(4, env=Process).lengths.size == 4
    plain = pgfast.VPG(type("Plain", (Lasting,), {"lengths": (3, 40)}), **SMALL)
    np.testing.assert_array_equal(agent.evaluate(6).lengths, plain.evaluate(6).lengths)


EVALUATING: dict[str, Any] = {"eval_every": 60, "eval_episodes": 4}
CARTPOLE: dict[str, Any] = {"num_envs": 4, "n_steps": 5, "hidden_sizes": (8,), "report_every": 60, "sync_every": 200}


def test_evaluating_during_a_training_changes_no_bit_of_it(tmp_path: Path) -> None:
    normalized = {"normalize_observations": True, "normalize_rewards": True}
    plain = pgfast.A2C("CartPole-v1", **CARTPOLE, **normalized).learn(600, run_dir=tmp_path / "plain")
    agent = pgfast.A2C("CartPole-v1", **CARTPOLE, **normalized, **EVALUATING)
    agent.learn(600, run_dir=tmp_path / "evaluated")
    np.testing.assert_array_equal(agent.policy.parameters, plain.policy.parameters)
    rows = [without_times(tmp_path / run / "progress.csv") for run in ("plain", "evaluated")]
    assert rows[0] == rows[1]
    evaluations = read_progress(tmp_path / "evaluated" / "evaluations.csv")
    assert evaluations["timesteps"].tolist() == list(range(60, 601, 60))
    assert (evaluations["episodes"] == 4).all()
    assert (evaluations["return_min"] <= evaluations["return_mean"]).all()
    best = pgfast.load(tmp_path / "evaluated" / "best_model.safetensors")
    assert best.timesteps == evaluations["timesteps"][np.argmax(evaluations["return_mean"])]
    assert best.evaluate(4, seed=agent.settings.seed).return_mean == evaluations["return_mean"].max()
    assert verify(tmp_path / "evaluated").timesteps == 600


def test_evaluations_are_resumed_exactly(tmp_path: Path) -> None:
    for run, timesteps in (("whole", 800), ("part", 400)):
        pgfast.A2C("CartPole-v1", **CARTPOLE, **EVALUATING).learn(timesteps, run_dir=tmp_path / run)
    resume_to(tmp_path / "part", 800)
    rows = [without_times(tmp_path / run / "evaluations.csv") for run in ("whole", "part")]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 1 + 13
    models = [read_model(tmp_path / run / "best_model.safetensors") for run in ("whole", "part")]
    np.testing.assert_array_equal(models[0][0]["policy.parameters"], models[1][0]["policy.parameters"])


@pytest.mark.parametrize(
    "chosen", [{"eval_every": 100, "eval_episodes": 2}, {}], ids=["evaluations", "last 100 episodes"]
)
def test_a_training_ends_at_a_return(
    chosen: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = pgfast.A2C("CartPole-v1", **CARTPOLE, **chosen, stop_at_return=5.0)
    agent.learn(100_000, run_dir=tmp_path / "run", progress_bar=True)
    assert "the mean return reached 5 at" in capsys.readouterr().out
    if chosen:
        assert agent.timesteps == 100
    else:
        assert 100 <= agent.sampler.statistics.episodes < 200
    assert verify(tmp_path / "run").timesteps == agent.timesteps


def test_a_given_vector_environment_cannot_be_evaluated_during_its_training() -> None:
    env = gymnasium.vector.SyncVectorEnv([Endless] * 2)
    with pytest.raises(ValueError, match="eval_every needs further environments, but a vector environment was given"):
        pgfast.VPG(env, **SMALL, eval_every=10)
