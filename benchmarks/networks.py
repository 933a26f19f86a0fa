"""The convolutional networks alone, forward and forward + backward, compared with PyTorch.

The inputs are bytes ``[B, 4, 84, 84]``; the gradient is that of the parameters. PyTorch runs the forward pass alone in
inference mode, and uses the faster memory format for each case. The limit is the time of the layers' matrix products.

python benchmarks/networks.py [--only "nature_cnn forward, 80"] [--rounds 15] [--smoke]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from architectures import OUTPUTS
from harness import Bench, main, require_equal
from limits.layer_products import LayerProducts
from peers.torch_cnn import MEMORY_FORMATS, TorchCNN
from pgfast import nn
from threads import in_words

NETWORKS = {"origin_cnn": nn.origin_cnn, "nature_cnn": nn.nature_cnn}
IMAGE = (4, 84, 84)
BATCHES = (16, 80, 320)
PEER = "PyTorch"


def faster_format(bench: Bench, peer: TorchCNN, run: Callable[[], Any]) -> None:
    """Selects the memory format with which PyTorch runs faster."""

    def seconds(memory_format: torch.memory_format) -> float:
        peer.set_memory_format(memory_format)
        sample = bench.timed(run)
        return min(sample() for _ in range(3))

    if not bench.smoke:
        peer.set_memory_format(min(MEMORY_FORMATS, key=seconds))


def measure_batch(bench: Bench, name: str, rows: int, threads: int) -> None:
    """Measures one network on one batch, forward and with backward."""
    cases = [f"{name} {passes}, {rows}, {in_words(threads)}" for passes in ("forward", "with backward")]
    if not any(bench.wants(case) for case in cases):
        return
    rng = np.random.default_rng(0)
    network = NETWORKS[name](IMAGE, OUTPUTS)
    images = rng.integers(0, 256, (rows, *IMAGE), np.uint8)
    doutputs = rng.standard_normal((rows, OUTPUTS), np.float32)
    tape, gradient = nn.Tape(network, rows), np.empty_like(network.parameters)

    peer = TorchCNN(name, OUTPUTS)
    peer.load(network.parameters)
    peer_parameters = tuple(peer.parameters())
    peer_images, peer_doutputs = torch.from_numpy(images), torch.from_numpy(doutputs)

    def ours() -> None:
        tape.record(images)
        tape.vjp(doutputs, gradient)

    @torch.inference_mode()
    def peer_forward() -> torch.Tensor:
        outputs: torch.Tensor = peer(peer_images)
        return outputs

    def theirs() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(peer(peer_images), peer_parameters, peer_doutputs)

    require_equal("outputs", network.forward(images), peer_forward().numpy(), 1e-5)
    ours()
    require_equal("gradient", gradient, peer.gradient_as_pgfast(theirs()), 1e-4)

    repeats = 1 if bench.smoke else max(1, 160 // rows)
    forward, backward = (LayerProducts(name, rows, backward=backward) for backward in (False, True))
    if bench.wants(cases[0]):
        faster_format(bench, peer, peer_forward)
        bench.compare_times(
            cases[0],
            "ms",
            lambda: network.forward(images),
            peer_forward,
            peer=PEER,
            limit=lambda: forward.seconds(repeats),
        )
    if bench.wants(cases[1]):
        faster_format(bench, peer, theirs)
        bench.compare_times(
            cases[1],
            "ms",
            ours,
            theirs,
            peer=PEER,
            limit=lambda: forward.seconds(repeats) + backward.seconds(repeats),
        )


def measure(bench: Bench) -> None:
    """Measures both networks with every batch size, on one thread and on two."""
    for threads in (1, 2):
        with bench.on_threads(threads):
            for name in NETWORKS:
                for rows in BATCHES[:1] if bench.smoke else BATCHES:
                    measure_batch(bench, name, rows, threads)


if __name__ == "__main__":
    main("networks", measure, __doc__)
