"""GRU and LSTM: one step, a rollout, and the gradient through its time, compared with PyTorch.

128 inputs, 128 units, 16 sequences, 32 steps. A step is 16 x 256 x 128 multiply-adds for each gate, of which a GRU has
three and an LSTM four: 1.6 and 2.1 million. It reads the weights, 393 and 524 kB, from the second-level cache. A
rollout has 32 steps. Its backward pass takes one and a half times as many multiply-adds: both weights' gradients, and
the product that takes the gradient one step back.

PyTorch's LSTM runs in oneDNN, which uses AVX-512 where the CPU has it; ONEDNN_MAX_CPU_ISA=AVX2 shows how much that is.

python benchmarks/memory.py [--only "lstm step"] [--rounds 15] [--smoke]
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
import torch

from harness import Bench, main, require_equal
from peers.torch_memory import TorchMemory
from pgfast import nn
from threads import in_words

KINDS: tuple[Literal["gru", "lstm"], ...] = ("gru", "lstm")
SIZE, SEQUENCES, STEPS = 128, 16, 32
PEER = "PyTorch"


def measure_kind(bench: Bench, kind: Literal["gru", "lstm"], threads: int) -> None:
    """Measures one cell. Each pgfast call copies its inputs and begins a sequence, as a training does."""
    network = nn.Network.of_layers((SIZE,), [nn.Layer(kind, SIZE)])
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, STEPS * SEQUENCES, SIZE), np.float32)
    state, gradient = network.initial_state(SEQUENCES), np.empty_like(network.parameters)
    tape, first = nn.Tape(network, len(x)), x[:SEQUENCES]

    peer = TorchMemory(kind, network)
    peer_x, peer_dy = (torch.from_numpy(array).reshape(STEPS, SEQUENCES, SIZE) for array in (x, dy))

    def forward(rows: np.ndarray) -> None:
        tape.begin(state)
        tape.record(rows)

    def with_backward() -> None:
        forward(x)
        tape.vjp(dy, gradient)

    with_backward()
    require_equal("outputs", tape.outputs, peer.forward(peer_x).reshape(-1, SIZE).numpy(), 1e-5)
    require_equal("gradient", gradient, peer.as_pgfast(peer.gradient(peer_x, peer_dy)), 1e-4)
    words = in_words(threads)
    for name, unit, ours, theirs in (
        ("step", "us", partial(forward, first), partial(peer.forward, peer_x[:1])),
        ("rollout", "us", partial(forward, x), partial(peer.forward, peer_x)),
        ("with backward", "us", with_backward, partial(peer.gradient, peer_x, peer_dy)),
    ):
        bench.compare_times(f"{kind} {name}, {words}", unit, ours, theirs, peer=PEER)


def measure(bench: Bench) -> None:
    """Measures both cells, on one thread and on two."""
    for threads in (1, 2):
        with bench.on_threads(threads):
            for kind in KINDS:
                measure_kind(bench, kind, threads)


if __name__ == "__main__":
    main("memory", measure, __doc__)
