"""Compares directions that make different use of one and the same gradient, and draws them.

python docs/results/directions.py [--out docs/results]

A small policy that A2C has trained for 20,000 steps of CartPole acts for one more batch. Five methods turn the gradient
of its surrogate into a step. Each step is made longer and longer; the picture shows how much the surrogate improves on
the batch for how large a change of the policy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import pgfast
from pgfast import kernels, losses, nn, optim
from pgfast.losses import RowGradients

STEPS, NUM_ENVS = 128, 16
DAMPING = 1e-3
DIVERGENCES = np.logspace(-4, -1, 25)  # to second order, in nats
COLORS = {
    "exact Fisher matrix": "#000000",
    "10 conjugate gradients": "#E69F00",
    "Kronecker factors": "#0072B2",
    "Adam": "#009E73",
    "gradient": "#D55E00",
}


def trained_policy() -> tuple[Any, optim.Adam]:
    """A policy and Adam's state after 20,000 steps."""
    agent = pgfast.A2C(
        "CartPole-v1", preset=None, hidden_sizes=(16,), optimizer="adam", learning_rate=3e-3, gae_lambda=0.95, seed=1
    )
    agent.learn(20_000)
    agent.close()
    adam = optim.Adam(3e-3, epsilon=1e-5)
    assert agent.optimizer is not None
    adam.load_state(agent.optimizer.state())
    return agent.policy, adam


def act(policy: Any) -> tuple[Any, Any, Any]:
    """Observations, actions and normalized advantages of a batch."""
    env = pgfast.make_vec("CartPole-v1", NUM_ENVS, seed=2)
    rng = pgfast.Rng(3)
    shape = (STEPS, NUM_ENVS)
    observations, actions = np.empty((STEPS + 1, NUM_ENVS, 4), np.float32), np.empty(shape, np.int64)
    rewards, ends = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    observations[0] = env.reset(seed=2)[0]
    for t in range(STEPS):
        actions[t], _ = policy.act(observations[t], rng)
        observations[t + 1], rewards[t], terminated, truncated, _ = env.step(actions[t])
        ends[t] = terminated | truncated
    env.close()
    values = policy.values(observations.reshape(-1, 4)).reshape(STEPS + 1, NUM_ENVS)
    advantages, _ = kernels.gae(rewards, values[:-1], values[-1], ends, None, 0.99, 0.95)
    advantages = (advantages - advantages.mean()) / advantages.std()
    return observations[:-1].reshape(-1, 4), actions.reshape(-1), advantages.reshape(-1)


def directions(policy: Any, adam: optim.Adam, observations: Any, actions: Any, advantages: Any) -> dict[str, Any]:
    """The direction of each method, by its name, and the Fisher matrix."""
    old = policy.distribution(observations)
    _, rows = losses.policy_gradient_gradient(old.log_prob(actions), advantages)
    gradient = policy.gradient(observations, actions, rows)

    operator = policy.fisher_operator(observations)
    fisher = np.stack([operator(unit) for unit in np.eye(gradient.size, dtype=np.float32)])
    fisher = (fisher + fisher.T) / 2  # the products are rounded
    solved = kernels.conjugate_gradient(operator, gradient, max_iterations=10, damping=DAMPING)

    tape = nn.Tape(policy.network, len(observations))
    tape.record(observations)
    kfac = optim.KFAC(policy.network, 1.0, damping=DAMPING)
    kfac.observe(tape, policy.output_gradients(tape, actions, RowGradients(np.ones_like(advantages))))

    moved = policy.parameters.copy()
    adam.step(moved, gradient)
    found = {
        "exact Fisher matrix": kernels.natural_gradient(fisher, gradient, DAMPING),
        "10 conjugate gradients": solved.solution,
        "Kronecker factors": kfac.natural_gradient(gradient),
        "Adam": policy.parameters - moved,
        "gradient": gradient,
    }
    return {"fisher": fisher, **found}


def curve(policy: Any, fisher: Any, direction: Any, batch: tuple[Any, Any, Any]) -> tuple[list[float], list[float]]:
    """KL divergences of longer and longer steps, and how much the surrogate improves."""
    observations, actions, advantages = batch
    start, old = policy.parameters.copy(), policy.distribution(observations)
    divergences, improvements = [], []
    for divergence in DIVERGENCES:
        policy.parameters[:] = start - kernels.natural_step_size(fisher, direction, divergence) * direction
        new = policy.distribution(observations)
        divergences.append(float(old.kl(new).mean()))
        improvements.append(-losses.trpo_surrogate(new, old, actions, advantages))
    policy.parameters[:] = start
    return divergences, improvements


def main() -> None:
    """Draws the picture and prints the improvements at a divergence of 0.01."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the picture")
    args = parser.parse_args()
    policy, adam = trained_policy()
    batch = act(policy)
    found = directions(policy, adam, *batch)
    fisher = found.pop("fisher")
    figure = Figure(figsize=(7.0, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for name, direction in found.items():
        divergences, improvements = curve(policy, fisher, direction, batch)
        axes.plot(divergences, improvements, color=COLORS[name], linewidth=1.4, label=name)
        print(f"{name}: {np.interp(0.01, divergences, improvements):.4f}")
    axes.set_xscale("log")
    axes.set_xlim(1e-4, 1e-1)
    axes.set_xlabel("mean KL divergence of the step, nats", fontsize=9)
    axes.set_title("improvement of the surrogate by steps from one gradient", loc="left", fontsize=11)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="#D9D9D9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "directions.png")


if __name__ == "__main__":
    main()
