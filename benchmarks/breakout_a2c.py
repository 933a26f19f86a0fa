"""A2C on Breakout: pgfast beside hand-written PyTorch + EnvPool, in one run with equal threads.

python benchmarks/breakout_a2c.py [--n-steps 5] [--timesteps 8000] [--rounds 5] [--smoke]
"""

from __future__ import annotations

import argparse
import statistics
import time

from peers.torch_a2c import TorchA2C

import pgfast

GOAL = 1.5  # times the peer's speed


class Ours:
    """pgfast's A2C with the same settings."""

    def __init__(self, network: str, num_envs: int, n_steps: int) -> None:
        self.agent = pgfast.A2C(
            "BreakoutNoFrameskip-v4",
            network=network,
            num_envs=num_envs,
            n_steps=n_steps,
            gae_lambda=1.0,
            report_every=10**9,
            sync_every=10**9,
        )

    def run(self, timesteps: int) -> float:
        """Timesteps per second."""
        before, began = self.agent.timesteps, time.perf_counter()
        self.agent.learn(timesteps)
        return (self.agent.timesteps - before) / (time.perf_counter() - began)


def measure(network: str, num_envs: int, n_steps: int, timesteps: int, rounds: int, threads: int) -> None:
    """Prints medians of interleaved rounds and the ratio."""
    ours, peer = Ours(network, num_envs, n_steps), TorchA2C(network, num_envs, n_steps, threads)
    ours.run(timesteps // 4)
    peer.run(timesteps // 4)
    speeds = [(ours.run(timesteps), peer.run(timesteps)) for _ in range(rounds)]
    ratios = sorted(a / b for a, b in speeds)
    mine, theirs = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(ratios)
    print(
        f"{network:11s} {num_envs} x {n_steps}: pgfast {mine:6.0f} steps/s, PyTorch + EnvPool {theirs:6.0f},"
        f" ratio {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), goal {GOAL}: "
        + ("met" if ratio >= GOAL else "missed"),
        flush=True,
    )


def main() -> None:
    """Runs both networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--n-steps", type=int, default=5)
    parser.add_argument("--timesteps", type=int, default=8000, help="timesteps of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="as short as possible: does it run?")
    args = parser.parse_args()
    if args.smoke:
        args.timesteps, args.rounds = 400, 1
    threads = pgfast.native_info()["num_threads"]
    print(f"{threads} threads each, median of {args.rounds} interleaved rounds of {args.timesteps} timesteps")
    for network in ("origin_cnn", "nature_cnn"):
        measure(network, args.num_envs, args.n_steps, args.timesteps, args.rounds, threads)


if __name__ == "__main__":
    main()
