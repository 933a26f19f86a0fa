"""Trains agents on MuJoCo's tasks with their presets, and other libraries with rl-baselines3-zoo's settings.

python docs/results/mujoco_tasks.py [--only TASK ...] [--libraries pgfast sb3] [--algorithms ppo trpo acktr] [--seeds N]
                                    [--timesteps N] [--out docs/results]

A result is the mean return of 30 episodes with sampled actions after a million steps. A run that mujoco.csv holds
already is not repeated; delete its line to run it again. The other libraries need `pip install "pgfast[bench]"`.
"""

from __future__ import annotations

from typing import Any

from kept_runs import Entry, KeptRuns, Run, command_line, selected
from pgfast.algorithms import ALGORITHMS

TASKS = ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Swimmer-v5"]
TIMESTEPS = 1_000_000
SEEDS = 3
EPISODES = 30
COMPARED = ("ppo", "trpo", "acktr")
ENTRIES = [
    *(Entry("pgfast", "ppo"), Entry("sb3", "ppo"), Entry("pgfast", "trpo"), Entry("sb3-contrib", "trpo")),
    Entry("pgfast", "acktr"),
]

# rl-baselines3-zoo's settings for the versions of the tasks that it was tuned on, v3 and v4. All normalize observations
# and rewards. PPO has one environment, TRPO two.
LARGE = {"net_arch": {"pi": [256, 256], "vf": [256, 256]}, "log_std_init": -2.0, "ortho_init": False}
ZOO: dict[str, dict[str, dict[str, Any]]] = {
    "ppo": {
        "HalfCheetah-v5": {
            **{"n_steps": 512, "batch_size": 64, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.92, "clip_range": 0.1},
            **{"learning_rate": 2.0633e-05, "ent_coef": 0.000401762, "max_grad_norm": 0.8, "vf_coef": 0.58096},
            "policy_kwargs": LARGE,
        },
        "Hopper-v5": {
            **{"n_steps": 512, "batch_size": 32, "n_epochs": 5, "gamma": 0.999, "gae_lambda": 0.99, "clip_range": 0.2},
            **{"learning_rate": 9.80828e-05, "ent_coef": 0.00229519, "max_grad_norm": 0.7, "vf_coef": 0.835671},
            "policy_kwargs": LARGE,
        },
        "Walker2d-v5": {
            **{"n_steps": 512, "batch_size": 32, "n_epochs": 20, "gamma": 0.99, "gae_lambda": 0.95, "clip_range": 0.1},
            **{"learning_rate": 5.05041e-05, "ent_coef": 0.000585045, "max_grad_norm": 1.0, "vf_coef": 0.871923},
        },
        "Ant-v5": {},
        "Swimmer-v5": {"gamma": 0.9999},
    },
    "trpo": {
        "HalfCheetah-v5": {"target_kl": 0.04},
        "Hopper-v5": {},
        "Walker2d-v5": {},
        "Ant-v5": {},
        "Swimmer-v5": {"gamma": 0.9999},
    },
}
ZOO_TRPO = {
    **{"n_steps": 1024, "batch_size": 128, "gae_lambda": 0.95, "learning_rate": 1e-3},
    **{"cg_max_steps": 25, "cg_damping": 0.1, "n_critic_updates": 20},
}


def train(task: str, algorithm: str, seed: int, timesteps: int) -> float:
    """Trains with the preset of the task."""
    agent = ALGORITHMS[algorithm](task, seed=seed)
    agent.learn(timesteps)
    result = agent.evaluate(EPISODES, seed=seed).return_mean
    agent.close()
    return result


def train_peer(task: str, algorithm: str, seed: int, timesteps: int) -> float:
    """Trains with the zoo's settings."""
    import sb3_contrib
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    settings = dict(ZOO[algorithm][task]) if algorithm == "ppo" else {**ZOO_TRPO, **ZOO[algorithm][task]}
    if "policy_kwargs" in settings:
        settings["policy_kwargs"] = {**settings["policy_kwargs"], "activation_fn": torch.nn.ReLU}
    learner: Any = stable_baselines3.PPO if algorithm == "ppo" else sb3_contrib.TRPO
    discount = settings.get("gamma", 0.99)
    env = VecNormalize(make_vec_env(task, n_envs=1 if algorithm == "ppo" else 2, seed=seed), gamma=discount)
    model = learner("MlpPolicy", env, seed=seed, device="cpu", **settings).learn(timesteps)
    games = VecNormalize(make_vec_env(task, n_envs=1, seed=10_000 + seed), training=False, norm_reward=False)
    games.obs_rms = env.obs_rms
    mean, _ = evaluate_policy(model, games, EPISODES, deterministic=False)
    return float(mean)  # type: ignore[arg-type]


def main() -> None:
    """Runs what is missing, then writes the table."""
    parser = command_line(__doc__, TASKS, COMPARED, seeds=SEEDS)
    parser.add_argument("--timesteps", type=int, default=TIMESTEPS, help="length of every run")
    args = parser.parse_args()

    def run(task: str, entry: Entry, seed: int) -> Run:
        make = train if entry.package == "pgfast" else train_peer
        return Run(task, entry, seed, args.timesteps, make(task, entry.algorithm, seed, args.timesteps))

    kept = KeptRuns(args.out / "mujoco.csv")
    kept.complete(args.only, selected(ENTRIES, args), args.seeds, run)
    table = kept.table([(task, task) for task in TASKS], ENTRIES, seeds=SEEDS)
    (args.out / "mujoco.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
