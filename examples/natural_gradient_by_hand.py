"""The natural policy gradient on CartPole, written with kernels, without pgfast's agents and training loop.

    python examples/natural_gradient_by_hand.py

Every update collects a rollout of 16 environments, takes the step whose KL divergence is 0.02 according to the Fisher
matrix, and prints the mean return of the episodes that ended. The program stops at a mean of 195, after a few seconds.
"""

import gymnasium
import numpy as np

from pgfast import kernels, nn
from pgfast.distributions import Categorical

T, N, DISCOUNT, MAX_KL, DAMPING = 256, 16, 0.97, 0.02, 1e-2  # steps of a rollout, environments

network = nn.mlp(4, 2, hidden_sizes=(16,), seed=0)  # input: observation; outputs: logits
env = gymnasium.make_vec("CartPole-v1", N)
observation, _ = env.reset(seed=0)
lengths = np.zeros(N, np.int64)  # of the open episodes, so far
over = np.zeros(N, np.bool_)

for update in range(50):
    # The rollout. The row after the end of an episode only resets the environment and is excluded from the update.
    observations, actions = np.empty((T, N, 4), np.float32), np.empty((T, N), np.int64)
    rewards, dones, valid = np.empty((T, N), np.float32), np.empty((T, N), np.bool_), np.empty((T, N), np.bool_)
    ended = []
    for t in range(T):
        observations[t], valid[t] = observation, ~over
        actions[t] = Categorical(network.forward(observations[t])).sample(rng=update * T + t)
        observation, rewards[t], terminated, truncated, _ = env.step(actions[t])
        over = dones[t] = terminated | truncated
        lengths += valid[t]
        ended += lengths[over].tolist()  # the return of an episode is its length
        lengths[over] = 0

    # Advantages: returns relative to the batch mean, in units of the standard deviation.
    returns = kernels.discounted_returns(rewards, dones, np.zeros(N, np.float32), DISCOUNT)[valid]
    advantages = (returns - returns.mean()) / returns.std()

    # The gradient g, the Fisher matrix F, the natural gradient x, and the step whose KL divergence is about MAX_KL.
    obs, acts = observations[valid], actions[valid]
    old = Categorical(network.forward(obs))
    scores = network.per_sample_vjp(obs, np.eye(2, dtype=np.float32)[acts] - old.probabilities())  # grad log pi, [B, P]
    g = advantages @ scores / len(scores)
    fisher = kernels.fisher_matrix(scores)
    x = kernels.natural_gradient(fisher, g, DAMPING)
    network.parameters[:] += kernels.natural_step_size(fisher, x, MAX_KL) * x

    kl = old.kl(Categorical(network.forward(obs))).mean()
    mean_return = np.mean(ended) if ended else float("nan")
    print(f"update {update + 1:2}: mean return {mean_return:5.1f} of {len(ended):3} episodes, KL divergence {kl:.4f}")
    if mean_return >= 195:
        break
env.close()
