"""Training with a callback that prints the progress and stops the training at a target return.

    python examples/training_with_a_callback.py

The program trains TRPO on CartPole with its preset, stops at a mean return of 400, evaluates the policy on new
episodes, saves it and loads it again. It takes a few seconds.
"""

import tempfile
from pathlib import Path

import numpy as np

import pgfast

TARGET = 400.0


def watch(agent: pgfast.TRPO, row: dict[str, float]) -> bool:
    """Called with every row of progress, here every 10,000 steps; returning False stops the training."""
    mean = row["return_mean"]  # over the last 100 whole episodes; NaN before the first has ended
    print(f"{row['timesteps']:7,} steps: return {mean:5.1f}, KL divergence {row['kl']:.4f}")
    return not mean >= TARGET


agent = pgfast.TRPO("CartPole-v1", seed=0, report_every=10_000)
agent.learn(150_000, callback=watch)
print(f"stopped after {agent.timesteps:,} of 150,000 steps")

result = agent.evaluate(50, deterministic=True)
print(f"evaluation: {result.return_mean:.0f} +- {result.return_std:.0f} over {len(result.returns)} episodes")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "cartpole.safetensors"
    agent.save(path)
    same = pgfast.load(path)
observation = np.array([0.0, 0.1, 0.0, -0.1], np.float32)
assert same.predict(observation, deterministic=True) == agent.predict(observation, deterministic=True)
print("saved, loaded, and the same action again")
