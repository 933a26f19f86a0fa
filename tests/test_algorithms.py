"""Behavior shared by the algorithms: spaces, saving, resuming, warm starts, thread counts and learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import pgfast
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.learning.settings import BaselineSettings
from pgfast.losses import RowGradients
from pgfast.runs.checkpoints import list_checkpoints, read_checkpoint
from pgfast.runs.progress_log import read_progress
from pgfast.sampling.batch import Batch
from pgfast.state import flatten
from states import assert_equal_states
from test_training import resume_to, without_times

SMALL: dict[str, Any] = {"num_envs": 4, "n_steps": 10, "hidden_sizes": (8,), "preset": None, "seed": 5}
NORMALIZED = {"normalize_observations": True, "normalize_rewards": True}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def has_baseline(name: str) -> bool:
    return issubclass(ALGORITHMS[name].learner_type.settings_type, BaselineSettings)


class Match(gymnasium.Env):
    """Rewards actions near the observation, in any kind of action space."""

    def __init__(self, action_space: spaces.Space) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float64)
        self.action_space = action_space
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time, self.shown = 0, self.np_random.uniform(-1.0, 1.0, 2)
        return self.shown, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.actions.append(action)
        wanted = self.shown if isinstance(self.action_space, spaces.Box) else self.shown > 0.0
        value = np.resize(np.asarray(action, np.float64), 2)
        reward = -float(np.abs(value - wanted).sum())
        self.time, self.shown = self.time + 1, self.np_random.uniform(-1.0, 1.0, 2)
        return self.shown, reward, False, self.time == 10, {}


SPACES: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(2),
    "multi_discrete": spaces.MultiDiscrete([2, 2]),
    "multi_binary": spaces.MultiBinary(2),
    "box": spaces.Box(-0.5, 0.5, (2,), np.float32),
    "box of two axes": spaces.Box(-1.0, 1.0, (1, 2), np.float64),
}


@every_algorithm
@pytest.mark.parametrize("kind", SPACES)
def test_every_algorithm_learns_in_every_action_space(name: str, kind: str, tmp_path: Path) -> None:
    space = SPACES[kind]
    agent = ALGORITHMS[name](lambda: Match(space), **{**SMALL, "n_steps": 50, **NORMALIZED})
    before = agent.evaluate(20, seed=1).return_mean
    agent.learn(8000)
    assert agent.evaluate(20, seed=1).return_mean > before + 0.2
    action = agent.predict(np.zeros(2))
    assert space.contains(action if kind != "discrete" else int(action))
    batch = agent.predict(np.zeros((3, 2)), deterministic=True)
    assert batch.shape == (3, *space.shape)
    assert batch.dtype == space.dtype
    agent.save(tmp_path / "m.safetensors")
    loaded = pgfast.load(tmp_path / "m.safetensors", env=lambda: Match(space))
    np.testing.assert_array_equal(loaded.evaluate(5).returns, agent.evaluate(5).returns)
    assert loaded.space == agent.space


@every_algorithm
@pytest.mark.parametrize(
    ("env_id", "chosen"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", NORMALIZED),
        ("CartPole-v1", {"baseline": "time"}),
        ("CartPole-v1", {"baseline": "linear", "whole_episodes": True}),
    ],
    ids=["cartpole", "pendulum", "time", "whole"],
)
def test_resuming_at_a_synchronization_point_is_exact(
    name: str, env_id: str, chosen: dict[str, Any], tmp_path: Path
) -> None:
    if "baseline" in chosen and not has_baseline(name):
        pytest.skip("the value head is the baseline")

    def make() -> Agent:
        return ALGORITHMS[name](env_id, **{**SMALL, "report_every": 50, "sync_every": 200, **chosen})

    whole = make().learn(1000, run_dir=tmp_path / "whole")
    make().learn(400, run_dir=tmp_path / "part")
    for later in list_checkpoints(tmp_path / "part" / "checkpoints"):
        if not read_checkpoint(later)[1]["synchronized"]:  # whole episodes may end past the synchronization point
            (tmp_path / "unsynchronized").mkdir(exist_ok=True)
            later.rename(tmp_path / "unsynchronized" / later.name)
    resumed, messages = resume_to(tmp_path / "part", 1000)
    assert messages[-1].endswith("exactly")
    assert_equal_states(flatten(resumed.state()), flatten(whole.state()))
    assert without_times(tmp_path / "part" / "progress.csv") == without_times(tmp_path / "whole" / "progress.csv")


@every_algorithm
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_learning_does_not_depend_on_thread_count(name: str, env_id: str, num_threads) -> None:
    results = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        agent = ALGORITHMS[name](env_id, **{**SMALL, "n_steps": 200, "hidden_sizes": (64, 64), **NORMALIZED})
        agent.learn(2400)
        results.append(agent.policy.parameters)
    for parameters in results[1:]:
        np.testing.assert_array_equal(parameters, results[0])


@every_algorithm
def test_a_warm_start_takes_the_model_but_not_its_counters(name: str, tmp_path: Path) -> None:
    algorithm = ALGORITHMS[name]
    trained = algorithm("Pendulum-v1", **{**SMALL, **NORMALIZED}).learn(400)
    trained.save(tmp_path / "m.safetensors")
    chosen: dict[str, Any] = {**SMALL, "seed": 6, "init_from": tmp_path / "m.safetensors"}
    warm = algorithm("Pendulum-v1", **{**chosen, **NORMALIZED})
    np.testing.assert_array_equal(warm.policy.parameters, trained.policy.parameters)
    for key, value in trained.learner.model().items():
        np.testing.assert_array_equal(warm.learner.model()[key], value, err_msg=key)
    assert (warm.timesteps, warm.updates) == (0, 0)
    warm.learn(40, run_dir=tmp_path / "run")
    (tmp_path / "m.safetensors").unlink()  # the run no longer needs the file
    assert pgfast.load(tmp_path / "run").timesteps == 40
    assert resume_to(tmp_path / "run", 80)[0].timesteps == 80


def test_a_warm_start_that_does_not_fit_is_explained(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    pgfast.VPG("CartPole-v1", **{**SMALL, **NORMALIZED}).save(model)
    chosen: dict[str, Any] = {**SMALL, "init_from": str(model)}
    with pytest.raises(ValueError, match=r"does not fit this agent: the file has statistics of observations"):
        pgfast.VPG("CartPole-v1", **chosen)
    with pytest.raises(
        ValueError, match=r"does not fit this agent: the model has hidden_sizes \(8,\), this agent \(5,\)"
    ):
        pgfast.VPG("CartPole-v1", **{**chosen, "hidden_sizes": (5,), **NORMALIZED})
    with pytest.raises(ValueError, match=r"does not fit this agent: the model has activation tanh, this agent relu"):
        pgfast.VPG("CartPole-v1", **{**chosen, "activation": "relu", **NORMALIZED})
    with pytest.raises(ValueError, match=r"does not fit this agent: the model is of observations"):
        pgfast.VPG("Acrobot-v1", **{**chosen, **NORMALIZED})
    plain = tmp_path / "plain.safetensors"
    pgfast.VPG("CartPole-v1", **SMALL).save(plain)
    with pytest.raises(
        ValueError, match=r"the file has no statistics of observations, but normalize_observations is on"
    ):
        pgfast.VPG("CartPole-v1", **{**chosen, "init_from": str(plain), **NORMALIZED})
    with pytest.raises(pgfast.CheckpointError, match="no such file"):
        pgfast.VPG("CartPole-v1", **{**chosen, "init_from": "nowhere"})


def test_a_warm_start_takes_the_policy_of_another_algorithm(tmp_path: Path) -> None:
    trained = pgfast.VPG("CartPole-v1", **{**SMALL, "baseline": "time"}).learn(400)
    trained.save(tmp_path / "m.safetensors")
    warm = pgfast.TRPO("CartPole-v1", **SMALL, init_from=str(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(warm.policy.parameters, trained.policy.parameters)


@pytest.mark.parametrize("baseline", ["time", "linear", "mlp"])
def test_a_warm_start_takes_the_baseline(baseline: str, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {**SMALL, "baseline": baseline}
    trained = pgfast.VPG("CartPole-v1", **chosen).learn(400)
    trained.save(tmp_path / "m.safetensors")
    warm = pgfast.VPG("CartPole-v1", **chosen, init_from=str(tmp_path / "m.safetensors"))
    ours, theirs = flatten(warm.value_function.state())[0], flatten(trained.value_function.state())[0]
    for key in trained.learner.model():
        _, _, name = key.partition("value_function.")
        if name:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_run_of_a_trained_agent_can_be_resumed_from_its_beginning(tmp_path: Path) -> None:
    agent = pgfast.VPG("CartPole-v1", **SMALL).learn(200)

    def interrupt(*_: Any) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.learn(50_000, run_dir=tmp_path / "run", callback=interrupt)
    assert pgfast.load(tmp_path / "run").timesteps == 200
    _, messages = resume_to(tmp_path / "run", 400)
    assert "with new episodes" in messages[-1]


def test_words_of_other_libraries_are_answered_with_ours() -> None:
    words = {"gamma": "discount", "lr": "learning_rate", "net_arch": "hidden_sizes", "vf_coef": "value_coef"}
    for theirs, ours in words.items():
        with pytest.raises(TypeError, match=f"^a2c has no setting {theirs}; did you mean {ours}[?]$"):
            pgfast.A2C("CartPole-v1", **{theirs: 1})
    words = {"clip_coef": "clip_range", "clip_range_vf": "value_clip_range", "n_epochs": "num_epochs"}
    for theirs, ours in {**words, "batch_size": "minibatch_size", "max_kl": "target_kl"}.items():
        with pytest.raises(TypeError, match=f"^ppo has no setting {theirs}; did you mean {ours}[?]$"):
            pgfast.PPO("CartPole-v1", **{theirs: 1})
    with pytest.raises(TypeError, match=r"^vpg has no setting vf_coef; "):
        pgfast.VPG("CartPole-v1", vf_coef=1)


def test_a_preset_needs_an_environment_id() -> None:
    with pytest.raises(ValueError, match='no preset "linear" of'):
        pgfast.VPG(lambda: Match(SPACES["box"]), preset="linear")


def train_one_update(agent: Agent, timesteps: int) -> Batch:
    """Trains for ``timesteps``, which must be one update, and returns its batch."""
    batches: list[Batch] = []
    fit = agent.value_function.fit
    agent.value_function.fit = lambda batch, reduce: batches.append(batch) or fit(batch, reduce)  # type: ignore[func-returns-value,method-assign]
    agent.learn(timesteps)
    (batch,) = batches
    return batch


def test_a_vpg_step_with_normalized_gradient_has_the_length_of_the_learning_rate() -> None:
    """theta + learning_rate g / |g| with g = mean(A grad log pi), computed from scores."""
    agent = pgfast.VPG(
        "CartPole-v1",
        **{**SMALL, "hidden_sizes": (), "optimizer": "sgd", "learning_rate": 0.1, "normalize_gradient": True},
    )
    before = agent.policy.parameters.copy()
    batch = train_one_update(agent, 40)
    policy = agent.policy
    after = policy.parameters.copy()
    policy.parameters[:] = before
    gradient = (policy.scores(batch.observations, batch.actions) * batch.advantages[:, None]).mean(axis=0)
    np.testing.assert_allclose(after, before + 0.1 * gradient / np.linalg.norm(gradient), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(after - before), 0.1, rtol=1e-5)
    assert batch.advantages.std() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("kind", SPACES)
def test_a_vpg_step_includes_the_entropy_bonus(kind: str) -> None:
    chosen: dict[str, Any] = {**SMALL, "optimizer": "sgd", "learning_rate": 0.1, "entropy_coef": 0.5}
    agent = pgfast.VPG(lambda: Match(SPACES[kind]), **chosen)
    before = agent.policy.parameters.copy()
    batch = train_one_update(agent, 40)
    after = agent.policy.parameters.copy()
    agent.policy.parameters[:] = before
    weights = np.full(len(batch), 1.0 / len(batch), np.float32)
    rows = RowGradients(weights * batch.advantages, np.float32(0.5) * weights)
    gradient = agent.policy.gradient(batch.observations, batch.actions, rows)
    np.testing.assert_allclose(after, before + 0.1 * gradient, atol=1e-6)


@pytest.mark.parametrize("kind", SPACES)
def test_an_a2c_step_follows_the_gradient_of_its_loss(kind: str) -> None:
    """theta - rate grad(-mean(log pi A + c_e H) + c_v mean((R - V)^2)), including the log_std of a Gaussian."""
    chosen: dict[str, Any] = {**SMALL, "optimizer": "sgd", "learning_rate": 0.1, "entropy_coef": 0.5, "value_coef": 0.3}
    agent = pgfast.A2C(lambda: Match(SPACES[kind]), max_grad_norm=1e6, log_std_init=-0.5, **chosen)
    before = agent.policy.parameters.copy()
    agent.learn(40)
    rollout, after = agent.sampler.rollout, agent.policy.parameters.copy()
    agent.policy.parameters[:] = before
    obs, valid = rollout.observations[:-1][rollout.valid], rollout.valid
    values = agent.policy.values(rollout.observations.reshape(-1, 2)).reshape(rollout.time.shape)
    advantages, returns = pgfast.kernels.gae(
        rollout.rewards, values[:-1].copy(), values[1:].copy(), rollout.terminated, rollout.truncated, 0.99, 1.0
    )
    weights = np.full(len(obs), 1.0 / len(obs), np.float32)
    rows = RowGradients(weights * advantages[valid], np.float32(0.5) * weights)
    ascent = agent.policy.gradient(obs, rollout.actions[valid], rows)
    dvalues = np.zeros((len(obs), agent.policy.network.output_size), np.float32)
    dvalues[:, -1] = 2.0 * 0.3 * weights * (values[:-1] - returns)[valid]
    descent = -ascent
    descent[: agent.policy.network.parameters.size] += agent.policy.network.vjp(obs, dvalues)
    np.testing.assert_allclose(after, before - 0.1 * descent, atol=1e-5)
    if kind.startswith("box"):
        assert (after[-2:] != before[-2:]).all()


@every_algorithm
def test_progress_has_the_columns_of_the_algorithm(name: str, tmp_path: Path) -> None:
    agent = ALGORITHMS[name]("CartPole-v1", **{**SMALL, "report_every": 40})
    agent.learn(400, run_dir=tmp_path / "run")
    progress = read_progress(tmp_path / "run" / "progress.csv")
    expected = {"policy_loss", "value_loss", "entropy", "return_latest", *agent.learner.metrics}
    if name == "npg":
        assert np.isnan(progress["line_search_steps"]).all()  # NPG has no line search
        expected -= {"line_search_steps"}
    if name == "acktr":
        assert np.isnan(progress["kl"]).all()  # is measured if target_kl is set
        expected -= {"kl"}
    for column in expected:
        assert column in progress
        assert np.isfinite(progress[column]).any(), column
    if name == "trpo":
        assert (progress["kl"] <= 0.01).all()
        assert (progress["cg_iterations"] > 0).any()
    assert progress["episodes"][-1] > 5
    assert progress["return_latest"][-1] != progress["return_mean"][-1]


@pytest.mark.parametrize("name", ["vpg", "npg", "trpo"])
def test_invalid_settings_are_refused(name: str) -> None:
    algorithm = ALGORITHMS[name]
    for change, text in [
        ({"baseline": "none"}, "baseline must be one of"),
        ({"value_batch_size": 0}, r"value_batch_size must be an int in \[1, 2\^24\], got 0"),
        ({"num_envs": 2**16 + 1}, r"num_envs must be an int in \[1, 2\^16\], got 65537"),
        ({"log_std_init": float("nan")}, r"log_std_init must be a float in \[-20, 20\], got nan"),
        ({"normalize_observations": "no"}, "normalize_observations must be a bool, got 'no'"),
        ({"whole_episodes": "false"}, "whole_episodes must be a bool or None, got 'false'"),
        ({"n_steps": 2.5}, r"n_steps must be an int in \[1, 2\^24\], got 2.5"),
        ({"seed": True}, r"seed must be an int in \[0, 2\^63 - 1\], got True"),
        ({"hidden_sizes": 64}, "hidden_sizes must be a tuple, each entry an int of at least 1, got 64"),
        ({"hidden_sizes": (8, 0)}, r"hidden_sizes must be a tuple, each entry an int of at least 1, got \[8, 0\]"),
        ({"discount": "0.9"}, r"discount must be a float in \[0, 1\], got '0.9'"),
        ({"discount": 1.1}, r"discount must be a float in \[0, 1\], got 1.1"),
        ({"value_learning_rate": 10**400}, "value_learning_rate is too large, got 1000"),
        ({"value_learning_rate": float("inf")}, "value_learning_rate must be finite, got inf"),
        ({"env_timeout": 0}, "env_timeout must be a float greater than 0 or None, got 0"),
        ({"init_from": 5}, "init_from must be a str or None, got 5"),
    ]:
        with pytest.raises((ValueError, TypeError), match=text):
            algorithm("CartPole-v1", **{**SMALL, **change})
    with pytest.raises(TypeError, match="has no setting"):
        algorithm("CartPole-v1", **SMALL, value_coef=1.0)
    if name == "trpo":
        with pytest.raises(ValueError, match=r"backtrack_ratio must be a float in \(0, 1\), got 1.0"):
            algorithm("CartPole-v1", **SMALL, backtrack_ratio=1.0)


@every_algorithm
def test_a_huge_learning_rate_or_trust_region_never_writes_a_nan(name: str) -> None:
    huge = {} if name in ("npg", "trpo") else {"learning_rate": 1e30}
    if name in ("npg", "trpo", "acktr"):
        huge |= {"max_kl": 1e30, "damping": 1e-12}
    agent = ALGORITHMS[name]("Pendulum-v1", **SMALL, **huge)
    try:
        agent.learn(4000)
    except (FloatingPointError, ValueError) as error:
        assert "finite" in str(error)  # noqa: PT017
    assert np.isfinite(agent.policy.parameters).all()


def learned(name: str, timesteps: int, seed: int) -> Agent:
    chosen = {"separate_value_network": True} if name == "ppo" else {}
    return ALGORITHMS[name]("CartPole-v1", seed=seed, **chosen).learn(timesteps)


@pytest.mark.parametrize(
    ("name", "timesteps"),
    [("a2c", 40_000), ("ppo", 16_384), ("acktr", 40_000), ("vpg", 40_000), ("npg", 40_000), ("trpo", 40_000)],
)
def test_cartpole_improves_quickly(name: str, timesteps: int) -> None:
    assert learned(name, timesteps, 0).evaluate(50).return_mean > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "timesteps"),
    [("a2c", 150_000), ("ppo", 60_000), ("acktr", 100_000), ("vpg", 150_000), ("npg", 150_000), ("trpo", 150_000)],
)
@pytest.mark.parametrize("seed", range(5))
def test_cartpole_is_solved(name: str, timesteps: int, seed: int) -> None:
    assert learned(name, timesteps, seed).evaluate(100).return_mean >= 475
