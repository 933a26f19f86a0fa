"""Wrong uses: type checkers report one error in each line that is marked so, and none elsewhere. It never runs."""

import numpy as np

import pgfast
from pgfast import kernels, losses, nn, optim

agent = pgfast.A2C("CartPole-v1")
scores = np.ones((8, 4), np.float32)


def report(agent: pgfast.A2C) -> None:
    print(agent)


# Agents and their settings
pgfast.A2C("CartPole-v1", learning_rat=1e-3)  # refused: no such setting
pgfast.TRPO("CartPole-v1", learning_rate=1e-3)  # refused: a setting of other algorithms
pgfast.A2C("CartPole-v1", learning_rate="1e-3")  # refused: a str for a float
pgfast.VPG("CartPole-v1", n_steps=20.0)  # refused: a float for an int
pgfast.A2C("CartPole-v1", max_grad_norm=None)  # refused: None where a number is required
pgfast.NPG("CartPole-v1", hidden_sizes=64)  # refused: an int for a tuple
pgfast.A2C("CartPole-v1", optimizer="adamw")  # refused: none of the choices
pgfast.A2C("CartPole-v1", preset=1)  # refused: an int for the name of a preset
pgfast.A2C(42)  # refused: no environment
pgfast.PPOO("CartPole-v1")  # refused: no such algorithm

# Methods and results
agent.predict()  # refused: no observation
agent.learn("1000")  # refused: a str for an int
agent.learn(1_000, progress=True)  # refused: no such keyword
agent.learn(1_000, callback=report)  # refused: a callback without the row
trpo: pgfast.TRPO = agent.learn(1_000)  # refused: an agent of another algorithm
agent.evaluate(10, True)  # refused: a keyword as a positional argument
print(agent.evaluate(10).mean_return)  # refused: no such attribute
print(agent.settings.backtrack_ratio)  # refused: a setting of another algorithm
agent.save()  # refused: no path
print(pgfast.load("model.safetensors").forecast)  # refused: no such method
pgfast.make_vec("CartPole-v1", 4)  # refused: no seed

# Kernels
kernels.fisher_matrx(scores)  # refused: no such kernel
kernels.fisher_matrix([[1.0]])  # refused: a list; kernels take arrays as they are
kernels.natural_gradient_from_scores(scores, scores[0], method="lu")  # refused: none of the choices
kernels.discounted_returns(scores, scores, scores[0], 0.9)  # refused: numbers for flags
losses.policy_gradient(scores[:, 0])  # refused: no advantages
nn.mlp(4, 2, activation="gelu")  # refused: none of the choices
print(nn.mlp(4, 2).weights)  # refused: no such attribute
optim.RMSprop(1e-3, form="jax")  # refused: none of the choices
pgfast.Rng("seed")  # refused: a str for an int
