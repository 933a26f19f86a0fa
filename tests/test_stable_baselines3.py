"""The loss of PPO and its gradient are those of stable-baselines3, and with clipped values those of autograd."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import losses, nn
from pgfast.policies import ActorCritic

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.logger import Logger  # noqa: E402

ROWS, CLIP_RANGE, ENTROPY_COEF, VALUE_COEF = 64, 0.2, 0.01, 0.5


def sb3_agent(env_id: str) -> Any:
    """An agent whose parameters are all random, and whose gradients are neither scaled nor rescaled."""
    agent = PPO(
        "MlpPolicy",
        env_id,
        n_steps=ROWS,
        batch_size=ROWS,
        n_epochs=1,
        clip_range=CLIP_RANGE,
        ent_coef=ENTROPY_COEF,
        vf_coef=VALUE_COEF,
        normalize_advantage=False,
        max_grad_norm=float("inf"),
        policy_kwargs={"net_arch": [8]},
        device="cpu",
        seed=1,
    )
    agent.set_logger(Logger(folder=None, output_formats=[]))
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return agent


def vector_of(policy: Any, read: Any) -> NDArray[np.float64]:
    """Parameters, or what ``read`` takes from each of them, in the order of :func:`policy_like`."""
    extractor = policy.mlp_extractor
    layers = [*extractor.policy_net, policy.action_net, *extractor.value_net, policy.value_net]
    dense = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    blocks = [block for layer in dense for block in (read(layer.weight).T, read(layer.bias))]
    if hasattr(policy, "log_std"):
        blocks.append(read(policy.log_std))
    return np.concatenate([block.detach().numpy().astype(np.float64).reshape(-1) for block in blocks])


def policy_like(agent: Any) -> Any:
    """A float64 policy with the same layers and parameters."""
    hidden = (nn.Layer("dense", 8, activation="tanh"),)
    spec = nn.NetworkSpec(trunk=hidden, value=nn.NetworkSpec(trunk=hidden))
    outputs = agent.policy.action_net.out_features
    network = nn.Network(spec, agent.observation_space.shape, (outputs, 1), dtype=np.float64)
    policy = ActorCritic(network, agent.action_space)
    policy.parameters[:] = vector_of(agent.policy, lambda parameter: parameter)
    return policy


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_the_gradient_is_that_of_stable_baselines3(env_id: str, rng: np.random.Generator) -> None:
    """Its own ``train`` on one minibatch; float32, where ours is float64."""
    agent = sb3_agent(env_id)
    policy = policy_like(agent)
    discrete = isinstance(agent.action_space, gymnasium.spaces.Discrete)
    observations = rng.standard_normal((ROWS, 1, *agent.observation_space.shape), np.float32)
    actions: Any = rng.integers(0, 2, (ROWS, 1, 1)) if discrete else rng.standard_normal((ROWS, 1, 1), np.float32)
    ours = actions.reshape(-1).astype(np.int64) if discrete else actions.reshape(ROWS, 1).astype(np.float64)
    x = observations.reshape(ROWS, -1).astype(np.float64)
    distribution = policy.distribution(x)
    log_prob = distribution.log_prob(ours)
    old_log_prob = (log_prob + 0.3 * rng.standard_normal(ROWS)).astype(np.float32)
    advantages, returns = rng.standard_normal((2, ROWS), np.float32)

    buffer = agent.rollout_buffer
    buffer.reset()
    for t in range(ROWS):
        numbers = torch.zeros(1), torch.tensor(old_log_prob[t : t + 1])
        buffer.add(observations[t], actions[t], np.zeros(1), np.zeros(1), *numbers)
    buffer.advantages[:, 0], buffer.returns[:, 0] = advantages, returns
    agent.train()
    expected = vector_of(agent.policy, lambda parameter: parameter.grad)

    terms, rows = losses.ppo_gradient(
        log_prob,
        old_log_prob.astype(np.float64),
        advantages.astype(np.float64),
        distribution.entropy(),
        returns.astype(np.float64),
        policy.values(x),
        CLIP_RANGE,
        ENTROPY_COEF,
        VALUE_COEF,
    )
    gradient = policy.gradient(x, ours, rows)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6)
    reported = {name.removeprefix("train/"): value for name, value in agent.logger.name_to_value.items()}
    policy_loss = reported["policy_gradient_loss"] + ENTROPY_COEF * reported["entropy_loss"]
    names = ("value_loss", "loss", "clip_fraction", "approx_kl")
    np.testing.assert_allclose(terms, [policy_loss, *(reported[name] for name in names)], rtol=1e-6, atol=1e-6)
    assert 0.2 < reported["clip_fraction"] < 0.8


@pytest.mark.parametrize("value_clip_range", [None, 0.3])
def test_the_row_gradients_are_those_of_autograd(value_clip_range: float | None, rng: np.random.Generator) -> None:
    log_prob, entropy, values, advantages, returns, old_values = rng.standard_normal((6, ROWS))
    old_log_prob = log_prob + 0.3 * rng.standard_normal(ROWS)
    old_values = values + 0.3 * old_values
    clipping: dict[str, Any] = {} if value_clip_range is None else {"old_values": old_values}
    columns = (log_prob, old_log_prob, advantages, entropy, returns, values)
    (*_, total, _, _), rows = losses.ppo_gradient(
        *columns, CLIP_RANGE, ENTROPY_COEF, VALUE_COEF, value_clip_range=value_clip_range, **clipping
    )

    leaves = [torch.tensor(column, requires_grad=True) for column in (log_prob, entropy, values)]
    log_probs, entropies, predicted = leaves
    a, r, old = map(torch.tensor, (advantages, returns, old_values))
    ratio = torch.exp(log_probs - torch.tensor(old_log_prob))
    surrogate = torch.min(ratio * a, torch.clamp(ratio, 1 - CLIP_RANGE, 1 + CLIP_RANGE) * a)
    errors = (r - predicted) ** 2
    if value_clip_range is not None:
        near = old + torch.clamp(predicted - old, -value_clip_range, value_clip_range)
        errors = torch.max(errors, (r - near) ** 2)
    loss = -surrogate.mean() - ENTROPY_COEF * entropies.mean() + VALUE_COEF * errors.mean()
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-12)
    for found, leaf in zip((rows.log_prob, rows.entropy, rows.values), leaves, strict=True):
        np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)
