"""PPO of Ray's RLlib, which runs with the interpreter of an environment of its own; see `benchmarks/rllib.py`.

Each line of its input is a number of timesteps to train for; it answers with the timesteps per second.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ale_py
import gymnasium
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.wrappers.atari_wrappers import wrap_atari_for_new_api_stack
from ray.tune.registry import register_env

NETWORKS = {
    "mlp": {"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False},
    "nature_cnn": {
        **{"conv_filters": [[32, 8, 4], [64, 4, 2], [64, 3, 1]], "conv_activation": "relu", "vf_share_layers": True},
        **{"head_fcnet_hiddens": [512], "head_fcnet_activation": "relu"},
    },
}


def make_breakout(config: Any) -> Any:
    """Makes Breakout with RLlib's own wrappers."""
    gymnasium.register_envs(ale_py)
    env = gymnasium.make("BreakoutNoFrameskip-v4")
    return wrap_atari_for_new_api_stack(env, dim=84, frameskip=4, framestack=4)


def make_algorithm(s: dict[str, Any]) -> Any:
    """Makes PPO from settings that are named as those of pgfast."""
    register_env("breakout", make_breakout)
    runners = s["num_workers"]
    config = (
        PPOConfig()
        .environment("breakout" if s["env_id"].startswith("Breakout") else s["env_id"])
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=s["num_envs"] // runners,
            rollout_fragment_length=s["n_steps"],
        )
        .training(
            train_batch_size=s["num_envs"] * s["n_steps"],
            minibatch_size=s["minibatch_size"],
            num_epochs=s["num_epochs"],
            lr=s["learning_rate"],
            gamma=0.99,
            lambda_=s["gae_lambda"],
            clip_param=s["clip_range"],
            use_kl_loss=False,
            vf_loss_coeff=0.5,
            vf_clip_param=float("inf"),
            entropy_coeff=s["entropy_coef"],
            grad_clip=0.5,
        )
        .rl_module(model_config=DefaultModelConfig(**NETWORKS[s["network"]]))
    )
    return config.build_algo()


def main() -> None:
    """Serves until the end of the input."""
    settings = json.loads(sys.argv[1])
    ray.init(num_cpus=2 * settings["num_workers"], include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = make_algorithm(settings)
    print("ready", flush=True)
    total = 0
    for line in sys.stdin:
        began, before = time.perf_counter(), total
        while total - before < int(line):
            total = int(algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"])
        print((total - before) / (time.perf_counter() - began), flush=True)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
