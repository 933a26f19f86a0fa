"""Every public name, called as users call it: type checkers accept this program, and it runs."""

import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import pgfast
from pgfast import distributions, kernels, losses, nn, optim, policies, value_functions
from pgfast.envs.actions import ActionInfo
from pgfast.profiling import Profile
from pgfast.reduce import ALONE, Reduce
from pgfast.reporting.plots import plot_runs
from pgfast.reporting.video import VideoResult, record_video
from pgfast.runs.progress_log import read_progress

T, N, A = 8, 4, 2  # steps, environments, actions
B = T * N

# --- Arrays -----------------------------------------------------------------------------------------------------------

numbers = np.random.default_rng(0)
observations = numbers.standard_normal((B, 4), dtype=np.float32)
rewards = numbers.standard_normal((T, N), dtype=np.float32)
terminated = numbers.random((T, N)) < 0.1
actions = numbers.integers(0, A, B)

# --- Networks, policies, optimizers -----------------------------------------------------------------------------------

activation: nn.Activation = "relu"
network: nn.Network = nn.mlp(4, A + 1, hidden_sizes=[16, 16], activation=activation, seed=1)
linear = nn.Network(nn.NetworkSpec(), [4], A, dtype=np.float64)
leaves = [nn.Leaf("camera", (4, 84, 84), "bytes"), nn.Leaf("speed", (3,))]
encoders = {"camera": (nn.Layer("conv2d", 8, 8, 4, "relu"), nn.Layer("dense", 16), nn.Layer("layer_norm"))}
two_leaves = nn.Network(nn.NetworkSpec(encoders, value=(nn.Layer("dense", 8),)), leaves, (A, 1))
assert two_leaves.forward(np.zeros(B, two_leaves.input_dtype)).shape == (B, A + 1)
images = np.zeros((2, 4, 84, 84), np.uint8)
for cnn in (nn.origin_cnn((4, 84, 84), 3), nn.nature_cnn([4, 84, 84], 3, dtype="float32")):
    print(cnn.forward(images).shape, cnn.output_size)
first_block: nn.ParameterBlock = network.layout[0]
print(first_block.name, first_block.shape, network.parameters[first_block.slice].mean())
tape = nn.Tape(network, B)
tape.record(observations)
product = np.empty_like(network.parameters)
tape.vjp(np.ones_like(tape.outputs), product)
last_layer: nn.LayerGradients = tape.layer_gradients(np.ones_like(tape.outputs))[-1]
print(last_layer.name, last_layer.inputs.shape, last_layer.outputs.shape)
assert np.allclose(product, network.vjp(observations, np.ones((B, A + 1), np.float32)), atol=1e-4)
assert network.per_sample_vjp(observations, tape.outputs).shape == (B, network.parameters.size)
assert network.jvp(observations, network.parameters.copy()).shape == (B, A + 1)

policy: policies.Policy = policies.ActorCritic(network, gymnasium.spaces.Discrete(A))
categorical_policy = policies.CategoricalPolicy(nn.mlp(4, 5), sizes=(2, 3))
gaussian_policy = policies.GaussianPolicy(nn.mlp(4, 2 * A), log_std_init=-1, state_dependent_std=True)
family: policies.Family = policies.family_of(ActionInfo.of(gymnasium.spaces.Discrete(A)))
mixed: policies.JointFamily = policies.JointFamily([family, policies.Family("gaussian", [2])])
same_family = policies.Policy(linear, policies.Family("categorical", [A]))
print(family.kind, same_family.layout, gaussian_policy.log_std)
policy_tape = policies.PolicyTape(policy, B)
policy_tape.record(observations)

chosen, log_prob = policy.act(observations, rng=pgfast.Rng(0, stream=1))
choices = categorical_policy.distribution(observations).sample(0)
assert chosen.shape == (B,)
assert choices.shape == (B, 2)
assert policy_tape.distribution(B).mode().shape == (B,)

optimizer: optim.Optimizer = optim.RMSprop(1e-3, form="tensorflow")
form: optim.RmspropForm = "pytorch"
for other in (optim.SGD(1, momentum=0.9), optim.Adam(1e-3), optim.RMSprop(learning_rate=1e-3, form=form)):
    other.load_state_dict(other.state_dict())
kronecker = optim.KFAC(policy.network, 0.1, damping=0.1, max_kl=1e-3, inverse_every=20, position_stride=4)
kronecker.observe(policy_tape, np.zeros((B, policy.network.output_size), np.float32))
factors: list[optim.KroneckerFactors] = kronecker.factors()
statistics = kronecker.measure(policy_tape, np.zeros((B, policy.network.output_size), np.float32), count=B)
print(kronecker.step(policy.parameters, np.zeros_like(policy.parameters), learning_rate=0.1, statistics=statistics))
print(kronecker.curvature(kronecker.natural_gradient(np.zeros_like(policy.parameters))), factors[0].parameters)
kronecker.load_state_dict(kronecker.state_dict())
optimizer.learning_rate = optim.linear_schedule(1e-3, 50, 100) + optim.cosine_schedule(1e-3, 50, 100)
optimizer.learning_rate = optim.tabulated_schedule(1e-3, [1.0, 0.5, 0.1], 50, 100)

# --- Distributions ----------------------------------------------------------------------------------------------------

categorical = distributions.Categorical(np.zeros((B, A), np.float32))
multi = distributions.MultiCategorical(np.zeros((B, 5)), sizes=[2, 3])
gaussian = distributions.DiagGaussian(np.zeros((B, A)), np.zeros(A))
print(categorical.probabilities()[0], multi.sizes, gaussian.mean[0], gaussian.log_std)


def perplexity(distribution: distributions.Distribution[NDArray[np.int64]]) -> float:
    return float(np.exp(distribution.entropy()).mean())


print(perplexity(categorical), perplexity(multi))
assert np.array_equal(categorical.log_prob(categorical.mode()), categorical.log_prob(actions))
assert not gaussian.kl(gaussian).any()
assert (multi.likelihood_ratio(multi, multi.sample(pgfast.Rng(3))) == 1).all()
drawn, density = gaussian.sample_with_log_prob(7)
(logits_gradient,) = categorical.gradient(actions, np.ones(B, np.float32))
mean_gradient, log_std_gradient = gaussian.gradient(drawn, density, weight_entropy=None)
assert logits_gradient.shape == mean_gradient.shape == (B, *log_std_gradient.shape)
joint = distributions.Joint([multi, gaussian])
assert np.array_equal(joint.entropy(), multi.entropy() + gaussian.entropy())

# --- Kernels and losses -----------------------------------------------------------------------------------------------

distribution, values = policy.distribution(observations), policy.values(observations)
if isinstance(distribution, distributions.Categorical):  # for what only this family has
    print(distribution.probabilities()[0], distribution.logits.shape)
advantages, returns = kernels.gae(
    rewards, values.reshape(T, N), np.zeros(N, np.float32), terminated, None, discount=0.99, gae_lambda=1
)
assert kernels.discounted_returns(rewards, terminated, np.zeros(N, np.float32), discount=0.9).shape == (T, N)
advantage = advantages.reshape(-1)
actor_critic = (distribution.log_prob(actions), advantage, distribution.entropy(), returns.reshape(-1), values)
(policy_loss, value_loss, total_loss), rows = losses.a2c_gradient(*actor_critic, entropy_coef=0.01, value_coef=0.5)
assert losses.a2c(*actor_critic, 0.01, 0.5) == (policy_loss, value_loss, total_loss)
gradient = policy.gradient(observations, actions, rows)
norm = optimizer.step(policy.parameters, gradient, max_norm=0.5)

clipped_losses, rows = losses.ppo_gradient(
    actor_critic[0],
    actor_critic[0],
    *actor_critic[1:],
    clip_range=0.2,
    entropy_coef=0.01,
    value_coef=0.5,
    old_values=actor_critic[-1],
    value_clip_range=0.3,
)
assert losses.ppo(actor_critic[0], actor_critic[0], *actor_critic[1:], 0.2, 0.01, 0.5) == clipped_losses
loss, rows = losses.policy_gradient_gradient(actor_critic[0], advantage, valid=np.ones(B, np.bool_))
assert loss == losses.policy_gradient(actor_critic[0], advantage)
surrogate, row_gradients = losses.trpo_surrogate_gradient(distribution, distribution, actions, advantage)
assert surrogate == losses.trpo_surrogate(distribution, distribution, actions, advantage, count=B)
only_log_prob = losses.RowGradients(row_gradients.log_prob)

scores = policy.scores(observations, actions)
fisher = kernels.fisher_matrix(scores)
by_cholesky = kernels.natural_gradient(fisher, gradient, damping=0.1)
by_woodbury = kernels.natural_gradient_from_scores(scores, gradient, 0.1, method="woodbury")
assert np.allclose(by_cholesky, by_woodbury, atol=1e-2)
operator = policy.fisher_operator(observations, damping=0.1)
result: kernels.ConjugateGradientResult = kernels.conjugate_gradient(operator, gradient, max_iterations=20)
step = kernels.natural_step_size(lambda v: fisher @ v, result.solution, max_kl=0.01)
assert np.isclose(step, kernels.natural_step_size(fisher, result.solution, 0.01))
assert policy.fisher_vector_product(observations, gradient).shape == operator(gradient).shape
print(result.status, result.iterations, kernels.clip_by_global_norm(gradient, 1))

# --- Value functions --------------------------------------------------------------------------------------------------


class ConstantValues(value_functions.ValueFunction):
    """A value function of one's own: the mean return."""

    mean = 0.0

    def values(self, observations: NDArray[np.float32], time: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.full(len(time), self.mean, np.float32)

    def of_rollout(self, rollout: value_functions.Observed) -> NDArray[np.float32]:
        return np.full(rollout.time.shape, self.mean, np.float32)

    def fit(self, batch: value_functions.Returns, reduce: Reduce) -> None:
        self.mean = reduce.sum(float(batch.returns.mean()))


for value_function in (
    ConstantValues(),
    value_functions.ZeroValues(),
    value_functions.TimeValues(),
    value_functions.LinearValues(4, ridge=1e-3),
    value_functions.MLPValues(nn.mlp(4, 1), learning_rate=1e-3, epochs=2, batch_size=8, seed=0),
    value_functions.SharedValues(policy),
):
    assert value_function.values(observations, np.arange(B)).shape == (B,)
assert ALONE.sum(1.5) == 1.5

# --- Environments and machine -----------------------------------------------------------------------------------------

pgfast.set_num_threads(1)
print(pgfast.__version__, pgfast.native_info()["isa"], pgfast.Rng(seed=0).uniform(3))
envs = pgfast.make_vec("CartPole-v1", 4, seed=0, vectorization="sync")
first_observations, info = envs.reset()
envs.close()
error: pgfast.NonFiniteError | pgfast.CheckpointError | None = None

# --- Agents -----------------------------------------------------------------------------------------------------------

folder = tempfile.TemporaryDirectory()
model, run_dir = Path(folder.name) / "model.safetensors", Path(folder.name) / "run"


def report(agent: pgfast.A2C, row: dict[str, float]) -> bool | None:
    print(f"{agent.timesteps} steps: entropy {row['entropy']:.2f}, coefficient {agent.settings.value_coef}")
    return None if row["timesteps"] < 2_000 else False


class Longest(pgfast.Callback[pgfast.A2C]):
    """Keeps the longest mean length, as a number of its own."""

    metrics = (pgfast.Metric("longest", unit="steps"), "doubled")
    longest = 0.0

    def on_rollout(self, agent: pgfast.A2C, infos: list[dict[str, Any]]) -> None:
        assert len(infos) == agent.settings.n_steps

    def on_row(self, agent: pgfast.A2C, row: dict[str, float]) -> bool | None:
        self.longest = max(self.longest, row["length_mean"])
        row["longest"], row["doubled"] = self.longest, 2.0 * self.longest
        return None

    def on_checkpoint(self, agent: pgfast.A2C, path: Path) -> None:
        print(f"{agent.timesteps} steps: saved {path.name}")


agent = pgfast.A2C("CartPole-v1", num_envs=4, n_steps=5, learning_rate=1e-3, hidden_sizes=[16], report_every=500)
with Profile() as profile:
    agent.learn(10_000, callback=[report, Longest()], run_dir=run_dir)
assert 2_000 <= agent.timesteps < 10_000
print(agent, agent.updates, agent.env_id, agent.optimizer, profile.seconds)
agent.save(model)

action = agent.predict([0.0, 0.1, 0.0, -0.1], deterministic=True)
batch_of_actions = agent.predict(first_observations)
assert envs.single_action_space.contains(action)
assert batch_of_actions.shape == (4,)
assert agent.values([0.0, 0.1, 0.0, -0.1]).shape == (1,)
kind: nn.Memory = "gru"
recurrent = pgfast.A2C("CartPole-v1", preset=None, num_envs=4, n_steps=5, memory=kind, memory_size=8)
policy_step: policies.PolicyStep = recurrent.policy.step(first_observations[:1], np.zeros((1, 8), np.float32))
assert policy_step.state.shape == (1, 8)
recurrent_action, state = recurrent.predict([0.0, 0.1, 0.0, -0.1])
actions, states = recurrent.predict([(0, 0, 0, 0)], True, state=[state], episode_start=[False])
assert recurrent.values([0.0, 0.1, 0.0, -0.1], state=state, episode_start=True).shape == (1,)
assert recurrent.distribution([0.0, 0.1, 0.0, -0.1], state=states).entropy().shape == (1,)
assert agent.distribution([(0, 0, 0, 0), (0, 0, 0, 1)]).entropy().shape == (2,)

evaluation = agent.evaluate(4, deterministic=True, seed=1, env=lambda: gymnasium.make("CartPole-v1"))
print(evaluation.return_mean, evaluation.return_std, evaluation.returns, evaluation.lengths, evaluation.cut)
loaded = pgfast.load(str(model), env=gymnasium.make_vec("CartPole-v1", 2))
assert loaded.predict([0.0, 0.1, 0.0, -0.1], deterministic=True) == action
again = pgfast.resume(run_dir, env="CartPole-v1", exact=False, ray_address=None)
assert again.timesteps == agent.timesteps
scheduled = pgfast.A2C(
    "CartPole-v1",
    env_kwargs={"sutton_barto_reward": True},
    schedule_timesteps=400,
    learning_rate_schedule=lambda x: 1 - x,
)
scheduled.learn(400, run_dir=Path(folder.name) / "scheduled", resume="auto")
progress = read_progress(run_dir / "progress.csv")
assert progress["timesteps"][0] == 500
video: VideoResult = record_video(agent, Path(folder.name) / "a.mp4", seed=1, deterministic=True, max_steps=3)
print(video.frames, video.episode_return, video.ended)
plot_runs([run_dir], Path(folder.name) / "curve.png", title="CartPole", x="updates")
try:
    pgfast.load(Path(folder.name) / "missing")
except pgfast.CheckpointError as caught:
    error = caught
print(error)

vpg = pgfast.VPG(
    lambda: gymnasium.make("CartPole-v1"),
    preset=None,
    num_envs=2,
    n_steps=50,
    baseline="time",
    hidden_sizes=(16, 16),
    discount=1,
    max_grad_norm=None,
    init_from=None,
)
vpg.learn(100, callback=lambda agent, row: None)
npg = pgfast.NPG("Pendulum-v1", solver="cholesky", hidden_sizes=(), n_steps=64, num_envs=2, damping=1)
trained: pgfast.NPG = npg.learn(128)
trpo = pgfast.TRPO(gymnasium.make_vec("CartPole-v1", 2), n_steps=64, gae_lambda=0.9, backtrack_ratio=0.5)
trpo.learn(total_timesteps=128, progress_bar=False)
ppo = pgfast.PPO(
    "CartPole-v1",
    preset=None,
    num_envs=2,
    n_steps=32,
    num_epochs=2,
    minibatch_size=16,
    clip_range_schedule="linear",
    schedule_timesteps=128,
    value_clip_range=0.2,
    target_kl=0.02,
    recompute_advantages=True,
    value_gae_lambda=1.0,
    separate_value_network=True,
    value_learning_rate=1e-3,
)
clipped: pgfast.PPO = ppo.learn(128)
acktr = pgfast.ACKTR(
    "CartPole-v1",
    preset=None,
    num_envs=2,
    n_steps=32,
    learning_rate_schedule="cosine",
    schedule_timesteps=128,
    max_kl=0.01,
    damping=0.1,
    momentum=0,
    factor_decay=0.95,
    inverse_every=2,
    factor_steps=16,
    position_stride=4,
    target_kl=0.002,
    value_coef=0.5,
    separate_value_network=True,
)
factored: pgfast.ACKTR = acktr.learn(128)
warm = pgfast.A2C("CartPole-v1", init_from=model, hidden_sizes=(16,), activation="tanh", optimizer="adam")
assert np.array_equal(warm.policy.parameters, agent.policy.parameters)
assert trained.settings.solver == "cholesky"
assert clipped.settings.clip_range == 0.2
assert trpo.value_function.state()
folder.cleanup()
