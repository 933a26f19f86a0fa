"""Memory as a part of networks and policies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from gradcheck import check_gradient, directional_derivative
from leaves import draw_leaves, read_leaves
from pgfast import nn, optim, policies
from pgfast.losses import RowGradients
from pgfast.nn import Layer, Leaf, NetworkSpec
from pgfast.reference import graph as reference
from pgfast.reference.memory import Sequences
from sequences import AssertClose, Draw, Kind, dense, each_kind, make_run

VECTOR = Leaf("vector", (5,))
IMAGE = Leaf("image", (2, 9, 8), "bytes")
CODES = Leaf("codes", (3,), "codes", choices=(4, 2, 3))
CONV = (Layer("conv2d", 3, 3, 2, "relu"), Layer("dense", 6, activation="tanh"))


class Case(NamedTuple):
    leaves: tuple[Leaf, ...]
    spec: NetworkSpec


CASES = {
    "on-the-input": Case((VECTOR,), NetworkSpec(memory="gru", memory_size=4)),
    "after-the-trunk": Case((VECTOR,), NetworkSpec(trunk=dense(7), policy=dense(6), memory="lstm", memory_size=4)),
    "two-heads": Case((VECTOR,), NetworkSpec({}, dense(7), dense(6), dense(3), memory="lstm", memory_size=4)),
    "image": Case((IMAGE,), NetworkSpec(trunk=CONV, memory="gru", memory_size=5)),
    "codes": Case((CODES,), NetworkSpec(memory="gru", memory_size=5)),
    "leaves-side-by-side": Case((VECTOR, IMAGE), NetworkSpec(memory="lstm", memory_size=3)),
    "all": Case((VECTOR, IMAGE, CODES), NetworkSpec({"image": CONV}, dense(7), dense(5), memory="gru", memory_size=4)),
    "two-memories": Case(
        (VECTOR, CODES),
        NetworkSpec(
            {}, dense(6), (), NetworkSpec(trunk=dense(4), memory="lstm", memory_size=3), memory="gru", memory_size=5
        ),
    ),
    "memory-of-the-value-alone": Case(
        (VECTOR,), NetworkSpec(trunk=dense(6), value=NetworkSpec(memory="lstm", memory_size=3))
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def build(name: str, dtype: Any = np.float64) -> nn.Network:
    leaves, spec = CASES[name]
    network = nn.Network(spec, leaves, (3, 1), dtype=dtype)
    start = nn.Network(spec, leaves, (3, 1)).parameters
    network.parameters[:] = start + np.random.default_rng(1).standard_normal(start.size, np.float32) / np.float32(8.0)
    return network


def rows_of(name: str, rows: int, dtype: Any) -> tuple[NDArray[Any], list[NDArray[np.float64]]]:
    """Returns inputs for the network, and the same as the reference reads them."""
    x = draw_leaves(CASES[name].leaves, rows, dtype)
    return x, read_leaves(CASES[name].leaves, x)


def context_of(name: str, draw: Draw, steps: int, sequences: int) -> Sequences:
    run = make_run(draw, steps, sequences, 1, build(name).state_size)
    return run.sequences


@each_case
def test_a_network_matches_the_reference(name: str, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    network, (x, leaves), run = build(name, dtype), rows_of(name, 28, dtype), context_of(name, draw, 7, 4)
    nodes, parameters, dy = network.graph.nodes, network.parameters.astype(np.float64), draw(28, 4)
    context = (run.state.astype(dtype), run.starts, run.held)
    expected = reference.forward_sequence(nodes, parameters, leaves, run)
    for ours, theirs in zip(network.forward_sequence(x, *context), expected, strict=True):
        assert_close(ours, theirs)
    gradients = reference.vjp_sequence(nodes, parameters, leaves, dy, run)
    for ours, theirs in zip(network.vjp_sequence(x, dy.astype(dtype), *context), gradients, strict=True):
        assert_close(ours, theirs)


@each_case
def test_the_products_of_a_network_match_finite_differences(name: str, draw: Draw) -> None:
    network, (x, _), run = build(name), rows_of(name, 12, np.float64), context_of(name, draw, 4, 3)
    dy, v, start = draw(12, 4), draw(network.parameters.size), network.parameters.copy()
    gradient, dstate = network.vjp_sequence(x, dy, *run)
    tangents = network.jvp_sequence(x, v, *run)

    def outputs(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        network.parameters[:] = parameters
        return network.forward_sequence(x, *run)[0]

    check_gradient(lambda parameters: float((dy * outputs(parameters)).sum()), start, gradient)
    np.testing.assert_allclose(tangents, directional_derivative(outputs, start, v), rtol=1e-6, atol=1e-7)
    network.parameters[:] = start
    check_gradient(
        lambda state: float((dy * network.forward_sequence(x, state, run.starts, run.held)[0]).sum()), run.state, dstate
    )


def test_the_blocks_are_named_after_their_part() -> None:
    assert [block.name for block in build("two-memories").layout] == [
        "encoder.codes.dense0.weight",
        "encoder.codes.dense0.bias",
        "trunk.dense1.weight",
        "trunk.dense1.bias",
        "memory.gru2.weight",
        "memory.gru2.recurrent_weight",
        "memory.gru2.bias",
        "policy.dense3.weight",
        "policy.dense3.bias",
        "value.encoder.codes.dense4.weight",
        "value.encoder.codes.dense4.bias",
        "value.trunk.dense5.weight",
        "value.trunk.dense5.bias",
        "value.memory.lstm6.weight",
        "value.memory.lstm6.recurrent_weight",
        "value.memory.lstm6.bias",
        "value.head.dense7.weight",
        "value.head.dense7.bias",
    ]
    network = build("two-memories")
    assert network.state_size == 5 + 2 * 3
    assert [weight.name for weight, _ in network.output_layers] == ["policy.dense3.weight", "value.head.dense7.weight"]


@each_case
def test_a_network_with_memory_is_data(name: str) -> None:
    spec = CASES[name].spec
    assert msgspec.json.decode(msgspec.json.encode(spec), type=NetworkSpec) == spec
    network = build(name)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.layout == network.layout
        assert twin.state_size == network.state_size


def test_the_gradient_of_a_policy_on_a_tape_goes_through_time(draw: Draw) -> None:
    policy = policies.CategoricalPolicy(
        nn.Network(NetworkSpec(memory="lstm", memory_size=4), (3,), 2, dtype=np.float64)
    )
    run = make_run(draw, 5, 3, 3, policy.network.state_size)
    tape = nn.Tape(policy.network, 15)
    tape.begin(run.state)
    tape.starts[:], tape.held[:] = run.starts, run.held
    tape.record(run.x)
    actions, weights = np.arange(15) % 2, draw(15)

    def loss(parameters: NDArray[np.float64]) -> float:
        policy.parameters[:] = parameters
        outputs, _ = policy.network.forward_sequence(*run)
        return float(weights @ policy.distribution_from(outputs).log_prob(actions))

    gradient = policy.gradient(tape, actions, RowGradients(weights, None, None))
    check_gradient(loss, policy.parameters.copy(), gradient)


@each_kind
def test_a_step_of_a_policy(kind: Kind, draw: Draw, dtype: Any) -> None:
    network = nn.Network(NetworkSpec(memory=kind, memory_size=4), (3,), (2, 1), dtype=dtype)
    policy = policies.ActorCritic(network, Discrete(2))
    obs, *context = make_run(draw, 5, 3, 3, network.state_size).of(dtype)
    outputs, after = network.forward_sequence(obs, *context)
    distribution, values, state = policy.step(obs, *context)
    np.testing.assert_array_equal(distribution.logits, outputs[:, :2])
    np.testing.assert_array_equal(values, outputs[:, 2])
    np.testing.assert_array_equal(state, after)
    without_values = policies.CategoricalPolicy(network)
    assert without_values.step(obs, *context).values is None


@each_kind
def test_a_policy_learns_to_act_on_what_it_saw_before(kind: Kind) -> None:
    """Policy gradients on a tape: only the first observation of an episode shows the action that its last step pays."""
    length, sequences, steps = 5, 32, 13  # episodes go on from one rollout to the next
    network = nn.Network(NetworkSpec(memory=kind, memory_size=16), (2,), 2)
    policy, optimizer = policies.CategoricalPolicy(network), optim.Adam(0.01)
    tape, rng = policies.PolicyTape(policy, steps * sequences), np.random.default_rng(0)
    actions, log_prob = np.zeros((steps, sequences), np.int64), np.zeros((steps, sequences), np.float32)
    time, cues = np.arange(sequences) % length, rng.choice([-1, 1], sequences)
    state, returns = network.initial_state(sequences), []
    for update in range(150):
        tape.begin(state)
        weights = np.zeros((steps, sequences), np.float32)
        paid = []
        for t in range(steps):
            first = time == 0
            cues = np.where(first, rng.choice([-1, 1], sequences), cues)
            obs = np.stack([np.where(first, cues, 0), time == length - 1], axis=1).astype(np.float32)
            tape.act(obs, t * sequences, actions[t], log_prob[t], key=(update, 0, 0, t), starts=first)
            pays = time == length - 1
            reward = np.where(actions[t] == (cues > 0), 1.0, -1.0)
            weights[t, pays] = -reward[pays] / (steps * sequences)
            paid.append(reward[pays].mean())
            time = (time + 1) % length
        returns.append(np.mean(paid))
        state = tape.state_after(steps * sequences)
        rows = RowGradients(weights.reshape(-1), None, None)
        optimizer.step(policy.parameters, policy.gradient(tape, actions.reshape(-1), rows))
    assert abs(np.mean(returns[:5])) < 0.3
    assert np.mean(returns[-5:]) > 0.95


def test_products_without_a_state_are_refused(draw: Draw) -> None:
    network = nn.Network(NetworkSpec(memory="gru", memory_size=4), (3,), 2, dtype=np.float64)
    x, dy, v = draw(6, 3), draw(6, 2), draw(network.parameters.size)
    calls: dict[str, Callable[[], Any]] = {
        "Network.forward: needs a network without memory; use forward_sequence": lambda: network.forward(x),
        "Network.vjp: needs a network without memory; use vjp_sequence": lambda: network.vjp(x, dy),
        "Network.jvp: needs a network without memory; use jvp_sequence": lambda: network.jvp(x, v),
        "Network.per_sample_vjp: needs a network without memory": lambda: network.per_sample_vjp(x, dy),
    }
    policy, rows, actions = policies.CategoricalPolicy(network), RowGradients(np.ones(6), None, None), np.zeros(6, int)
    calls |= {
        "Policy.act: needs a network without memory": lambda: policy.act(x, 0),
        "Policy.gradient: needs a network without memory, or a tape": lambda: policy.gradient(x, actions, rows),
        "Policy.scores: needs a network without memory": lambda: policy.scores(x, actions),
        "Policy.fisher_operator: needs a network without memory": lambda: policy.fisher_operator(x),
    }
    for text, call in calls.items():
        with pytest.raises(ValueError, match=f"^{text}$"):
            call()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda n, x, s: n.forward_sequence(x[:5], s), r"x must have whole steps of the N = 2 sequences, got 5 rows"),
        (lambda n, x, s: n.forward_sequence(x, s[:, :3]), r"state must have shape \(N, S\) = \(2, 4\), got \(2, 3\)"),
        (lambda n, x, s: n.forward_sequence(x, s, np.zeros(5, bool)), r"starts must have shape \(B,\) = \(6,\)"),
        (lambda n, x, s: n.forward_sequence(x, s, None, np.zeros(7, bool)), r"held must have shape \(B,\) = \(6,\)"),
        (lambda n, x, s: n.vjp_sequence(x, x, s), r"dy must have shape \(B, out\) = \(6, 2\), got \(6, 3\)"),
        (lambda n, x, s: nn.Tape(n, 6).record(x), "the network has memory; Tape.begin comes first"),
        (lambda n, x, s: nn.Tape(n, 1).begin(s), "state has 2 sequences, but the tape holds 1 rows"),
        (lambda n, x, s: nn.Tape(n, 6).state_after(0), "needs a network with memory, and Tape.begin before"),
        (lambda n, x, s: begun(n, s).record(x[:3]), "x must have whole steps of the 2 sequences, got 3 rows"),
        (lambda n, x, s: begun(n, s).record(x[:2], 2), "x must follow the 0 rows on the tape"),
        (lambda n, x, s: begun(n, s, x[:4]).record(x[:2], 3), "x must follow the 4 rows on the tape"),
        (lambda n, x, s: begun(n, s, x[:4]).vjp(np.ones((3, 2)), n.parameters.copy()), "dy must have whole steps"),
        (lambda n, x, s: begun(n, s, x[:4]).vjp(np.ones((6, 2)), n.parameters.copy()), "dy has 6 rows, but the tape"),
        (lambda n, x, s: begun(n, s, x[:4]).state_after(3), "rows must be whole steps of the 2 sequences"),
        (lambda n, x, s: begun(n, s, x[:4]).state_after(6), "rows must be whole steps of the 2 sequences"),
        (
            lambda n, x, s: begun(n, s, x[:4]).state_after(-2),
            "rows must be whole steps of the 2 sequences, at most the 4 rows",
        ),
    ],
)
def test_wrong_sequences_are_refused(call: Callable[..., Any], text: str) -> None:
    network = nn.Network(NetworkSpec(memory="gru", memory_size=4), (3,), 2, dtype=np.float64)
    with pytest.raises(ValueError, match=text):
        call(network, np.ones((6, 3)), np.ones((2, 4)))


def begun(network: nn.Network, state: NDArray[Any], x: NDArray[Any] | None = None) -> nn.Tape:
    tape = nn.Tape(network, 8)
    tape.begin(state)
    if x is not None:
        tape.record(x)
    return tape


def test_wrong_dtypes_are_refused(draw: Draw) -> None:
    network = nn.Network(NetworkSpec(memory="gru", memory_size=4), (3,), 2, dtype=np.float64)
    x, state = draw(6, 3), draw(2, 4)
    with pytest.raises(TypeError, match=r"^Network.forward_sequence: state must be float64, got float32$"):
        network.forward_sequence(x, state.astype(np.float32))
    with pytest.raises(TypeError, match=r"^Network.forward_sequence: starts must be bool, got int64$"):
        network.forward_sequence(x, state, np.zeros(6, np.int64))
    with pytest.raises(TypeError, match=r"^Tape.begin: state must be float64, got float32$"):
        nn.Tape(network, 6).begin(state.astype(np.float32))


def test_networks_without_memory_have_no_sequences(draw: Draw) -> None:
    network = nn.mlp(3, 2, (4,), dtype=np.float64)
    assert network.state_size == 0
    tape = nn.Tape(network, 6)
    assert len(tape.starts) == len(tape.held) == 0
    for call in (lambda: network.forward_sequence(draw(6, 3), draw(2, 4)), lambda: tape.begin(draw(2, 4))):
        with pytest.raises(ValueError, match="needs a network with memory"):
            call()


@pytest.mark.parametrize(
    ("spec", "leaf", "text"),
    [
        (NetworkSpec(memory="gru", memory_size=0), VECTOR, "outputs must be in"),
        (NetworkSpec(memory="lstm", memory_size=2**26), VECTOR, "is too large"),
        (NetworkSpec(memory="rnn"), VECTOR, 'memory must be "none", "gru" or "lstm", got \'rnn\''),  # type: ignore[arg-type]
        (NetworkSpec(trunk=(Layer("gru", 4),)), VECTOR, "gru and lstm cannot stand among other layers"),
        (NetworkSpec(encoders={"codes": (Layer("lstm", 4),)}), CODES, "gru and lstm cannot stand among other layers"),
    ],
)
def test_descriptions_that_are_refused(spec: NetworkSpec, leaf: Leaf, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        nn.Network(spec, [leaf], (2, 1))


def test_a_memory_size_must_be_an_int() -> None:
    with pytest.raises(TypeError, match="outputs of a layer must be an int, got float"):
        nn.Network(NetworkSpec(memory="gru", memory_size=4.0), [VECTOR], 2)  # type: ignore[arg-type]
