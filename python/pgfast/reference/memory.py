"""Recurrent cells and the gradient through time.

Rows are time-major: row t N + n is step t of sequence n. Parameters are W ``[inputs, gates size]``, U
``[size, gates size]`` and the bias ``[4 size]``. A state is h ``[N, size]`` of a GRU, and h and c side by side of an
LSTM. ``starts`` ``[T N]`` marks rows before which the state is zero, ``held`` ``[T N]`` rows that do not change it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pgfast.reference.network import Array


class Sequences(NamedTuple):
    """The state before the first step, and the flags of the rows."""

    state: Array
    starts: Array
    held: Array


class _Step(NamedTuple):
    """One step of a cell: its input, the state before it, and what its gradient needs."""

    x: Array
    before: Array
    gates: tuple[Array, ...]


def _sigmoid(x: Array) -> Array:
    result: Array = 1.0 / (1.0 + np.exp(-x))
    return result


def parameter_count(kind: str, inputs: int, size: int) -> int:
    """The number of parameters of a cell."""
    gates = 3 if kind == "gru" else 4
    return (inputs + size) * gates * size + 4 * size


def split(kind: str, parameters: Array, inputs: int, size: int) -> tuple[Array, Array, Array]:
    """W, U and the bias."""
    columns = (3 if kind == "gru" else 4) * size
    w, u, bias = np.split(parameters, [inputs * columns, (inputs + size) * columns])
    return w.reshape(inputs, columns), u.reshape(size, columns), bias


def gru(w: Array, u: Array, bias: Array, x: Array, h: Array) -> tuple[Array, _Step]:
    """Cho et al. (2014), equations 5 to 8; r multiplies the product of h, as in PyTorch.

    r = sigmoid(x W_r + h U_r + b_r), z likewise, n = tanh(x W_n + b_n + r (h U_n + b_q)), h' = (1 - z) n + z h
    """
    size = h.shape[1]
    x_parts, h_parts = np.split(x @ w + bias[: 3 * size], 3, axis=1), np.split(h @ u, 3, axis=1)
    r, z = _sigmoid(x_parts[0] + h_parts[0]), _sigmoid(x_parts[1] + h_parts[1])
    q = h_parts[2] + bias[3 * size :]
    n = np.tanh(x_parts[2] + r * q)
    return (1.0 - z) * n + z * h, _Step(x, h, (r, z, n, q))


def gru_backward(w: Array, u: Array, step: _Step, dh: Array) -> tuple[Array, Array, Array]:
    """(the gradient of the parameters, of x, and of h) from that of h'."""
    r, z, n, q = step.gates
    dn = dh * (1.0 - z) * (1.0 - n**2)
    dr = dn * q * r * (1.0 - r)
    dz = dh * (step.before - n) * z * (1.0 - z)
    of_x, of_h = np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r])
    blocks = [step.x.T @ of_x, step.before.T @ of_h, of_x.sum(axis=0), (dn * r).sum(axis=0)]
    return np.concatenate([block.ravel() for block in blocks]), of_x @ w.T, dh * z + of_h @ u.T


def lstm(w: Array, u: Array, bias: Array, x: Array, state: Array) -> tuple[Array, _Step]:
    """Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of (x W + h U + b); c' = f c + i g, h' = o tanh(c')
    """
    h, c = np.split(state, 2, axis=1)
    i, f, g, o = np.split(x @ w + h @ u + bias, 4, axis=1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    after = f * c + i * g
    return np.hstack([o * np.tanh(after), after]), _Step(x, state, (i, f, g, o, np.tanh(after)))


def lstm_backward(w: Array, u: Array, step: _Step, dstate: Array) -> tuple[Array, Array, Array]:
    """(the gradient of the parameters, of x, and of the state before) from that of the state after."""
    (h, c), (dh, dc) = np.split(step.before, 2, axis=1), np.split(dstate, 2, axis=1)
    i, f, g, o, squashed = step.gates
    dc = dc + dh * o * (1.0 - squashed**2)
    d_linear = [dc * g * i * (1.0 - i), dc * c * f * (1.0 - f), dc * i * (1.0 - g**2), dh * squashed * o * (1.0 - o)]
    delta = np.hstack(d_linear)
    blocks = [step.x.T @ delta, h.T @ delta, delta.sum(axis=0)]
    return np.concatenate([block.ravel() for block in blocks]), delta @ w.T, np.hstack([delta @ u.T, dc * f])


def _run(kind: str, parameters: Array, x: Array, size: int, run: Sequences) -> tuple[Array, Array, list[_Step]]:
    w, u, bias = split(kind, parameters, x.shape[1], size)
    state, outputs, steps = run.state, [], []
    for rows in np.arange(len(x)).reshape(-1, len(state)):
        before = np.where(run.starts[rows, np.newaxis], 0.0, state)
        after, step = gru(w, u, bias, x[rows], before) if kind == "gru" else lstm(w, u, bias, x[rows], before)
        outputs.append(after[:, :size])
        state = np.where(run.held[rows, np.newaxis], before, after)
        steps.append(step)
    return np.concatenate(outputs), state, steps


def forward(kind: str, parameters: Array, x: Array, size: int, run: Sequences) -> tuple[Array, Array]:
    """(outputs ``[T N, size]``, the state after the last step) of a "gru" or "lstm" for inputs ``[T N, inputs]``."""
    outputs, state, _ = _run(kind, parameters, x, size, run)
    return outputs, state


def backward(
    kind: str, parameters: Array, x: Array, size: int, run: Sequences, dy: Array
) -> tuple[Array, Array, Array]:
    """The gradients of sum(dy outputs): of the parameters ``[P]``, of x, and of the state before the first step."""
    w, u, _ = split(kind, parameters, x.shape[1], size)
    _, _, steps = _run(kind, parameters, x, size, run)
    gradient, dx, dstate = np.zeros_like(parameters), np.zeros_like(x), np.zeros_like(run.state)
    for t in reversed(range(len(steps))):
        rows = slice(t * len(dstate), (t + 1) * len(dstate))
        held = run.held[rows, np.newaxis]
        dafter = np.where(held, 0.0, dstate)
        dafter[:, :size] += dy[rows]
        step_backward = gru_backward if kind == "gru" else lstm_backward
        of_step, dx[rows], dbefore = step_backward(w, u, steps[t], dafter)
        gradient += of_step
        dbefore += np.where(held, dstate, 0.0)
        dstate = np.where(run.starts[rows, np.newaxis], 0.0, dbefore)
    return gradient, dx, dstate
