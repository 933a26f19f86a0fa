"""Kernels on NumPy arrays: actor-critic updates from your own batches, without an environment or an agent.

    python examples/kernels_on_numpy.py

The task is a walk of four steps to the left or right, in which each step to the right has a reward of 1. The policy
learns to walk to the right.
"""

import numpy as np
from gymnasium import spaces

from pgfast import Rng, kernels, losses, nn, optim
from pgfast.policies import ActorCritic

T, N, A = 4, 64, 2  # steps of a walk, parallel walks, actions: left and right

network = nn.mlp(1, A + 1, hidden_sizes=(16,), seed=0)  # input: position; outputs: logits, then the value
policy = ActorCritic(network, spaces.Discrete(A))
optimizer = optim.Adam(1e-2)
rng = Rng(seed=0)

for update in range(60):
    # A rollout, time first: [T, N].
    positions = np.zeros((T, N, 1), np.float32)
    actions, rewards = np.empty((T, N), np.int64), np.empty((T, N), np.float32)
    values = np.empty((T, N), np.float32)
    for t in range(T):
        actions[t], _ = policy.act(positions[t], rng)
        values[t] = policy.values(positions[t])
        rewards[t] = actions[t]
        if t + 1 < T:
            positions[t + 1, :, 0] = positions[t, :, 0] + 2 * actions[t] - 1
    terminated = np.zeros((T, N), np.bool_)
    terminated[-1] = True

    # Advantages A_t and returns R_t of every step.
    advantages, returns = kernels.gae(
        rewards, values, np.zeros(N, np.float32), terminated, None, discount=0.99, gae_lambda=0.95
    )

    # The losses and their gradient at each row, the gradient of the parameters, and a clipped step.
    observations, acts = positions.reshape(T * N, 1), actions.reshape(T * N)
    distribution = policy.distribution(observations)
    (policy_loss, value_loss, total_loss), rows = losses.a2c_gradient(
        distribution.log_prob(acts),
        advantages.reshape(-1),
        distribution.entropy(),
        returns.reshape(-1),
        values.reshape(-1),
        entropy_coef=0.0,
        value_coef=0.5,
    )
    gradient = policy.gradient(observations, acts, rows)
    norm = optimizer.step(policy.parameters, gradient, max_norm=0.5)
    if update % 10 == 9:
        print(
            f"update {update + 1}: return {rewards.sum(axis=0).mean():.2f} of {T}, "
            f"value loss {value_loss:.3f}, gradient norm {norm:.3f}"
        )

start = policy.distribution(np.zeros((1, 1), np.float32))
print(f"probability of a step to the right: {np.exp(start.log_prob(np.array([1])))[0]:.2f}")
