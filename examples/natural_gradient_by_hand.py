"""The natural policy gradient on CartPole, written out with kernels: no agent, no training loop of pgfast.

    python examples/natural_gradient_by_hand.py

Every update plays 16 games side by side, takes the step whose KL divergence is 0.02 by the Fisher matrix, and prints
the mean return of the games that ended. It stops at a mean of 195 and takes a few seconds.
"""

import gymnasium
import numpy as np

from pgfast import kernels, nn
from pgfast.distributions import Categorical

T, N, DISCOUNT, MAX_KL, DAMPING = 256, 16, 0.97, 0.02, 1e-2  # steps of a rollout, environments

network = nn.mlp(4, 2, hidden_sizes=(16,), seed=0)  # observations to logits
env = gymnasium.make_vec("CartPole-v1", N)
observation, _ = env.reset(seed=0)
lengths = np.zeros(N, np.int64)  # so far, of the games being played
over = np.zeros(N, np.bool_)

for update in range(50):
    # Play. The row after a game's end only resets the environment: it is left out of the update.
    observations, actions = np.empty((T, N, 4), np.float32), np.empty((T, N), np.int64)
    rewards, dones, valid = np.empty((T, N), np.float32), np.empty((T, N), np.bool_), np.empty((T, N), np.bool_)
    games = []
    for t in range(T):
        observations[t], valid[t] = observation, ~over
        actions[t] = Categorical(network.forward(observations[t])).sample(rng=update * T + t)
        observation, rewards[t], terminated, truncated, _ = env.step(actions[t])
        over = dones[t] = terminated | truncated
        lengths += valid[t]
        games += lengths[over].tolist()  # of a game, the length is the return
        lengths[over] = 0

    # Advantages: how much more a step was followed by than the steps of this batch on average.
    returns = kernels.discounted_returns(rewards, dones, np.zeros(N, np.float32), DISCOUNT)[valid]
    advantages = (returns - returns.mean()) / returns.std()

    # The gradient g, the Fisher matrix F, the natural gradient x, and the step that changes the policy by MAX_KL.
    obs, acts = observations[valid], actions[valid]
    old = Categorical(network.forward(obs))
    scores = network.per_sample_vjp(obs, np.eye(2, dtype=np.float32)[acts] - old.probabilities())  # grad log pi, [B, P]
    g = advantages @ scores / len(scores)
    fisher = kernels.fisher_matrix(scores)
    x = kernels.natural_gradient(fisher, g, DAMPING)
    network.parameters[:] += kernels.natural_step_size(fisher, x, MAX_KL) * x

    kl = old.kl(Categorical(network.forward(obs))).mean()
    mean_return = np.mean(games) if games else float("nan")
    print(f"update {update + 1:2}: mean return {mean_return:5.1f} of {len(games):3} games, KL divergence {kl:.4f}")
    if mean_return >= 195:
        break
env.close()
