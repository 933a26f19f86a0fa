"""The layout of a policy's distribution: which outputs, mask columns and log_std belong to which component."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Component(NamedTuple):
    """Choices, or numbers.

    With a tuple ``sizes``, the outputs are the logits of each group. With an int ``sizes`` = A, they are the means of a
    Gaussian; ``log_std`` is ``[A]``, a parameter of the policy, or, if it is None, A further outputs.
    """

    sizes: tuple[int, ...] | int
    log_std: NDArray[np.float64] | None = None


class Place(NamedTuple):
    """The columns of one component, which follow those of the components before it."""

    outputs: slice  # the logits or the means
    log_std: slice  # the outputs that are log_std
    mask: slice
    parameters: slice  # its log_std among those that are parameters


def places(components: Sequence[Component]) -> Iterator[Place]:
    """The place of each component."""
    output = column = parameter = 0
    for sizes, log_std in components:
        size = sizes if isinstance(sizes, int) else sum(sizes)
        std = size if isinstance(sizes, int) and log_std is None else 0
        choices = 0 if isinstance(sizes, int) else size
        parameters = 0 if log_std is None else size
        end = output + size
        mask, block = slice(column, column + choices), slice(parameter, parameter + parameters)
        yield Place(slice(output, end), slice(end, end + std), mask, block)
        output, column, parameter = end + std, mask.stop, block.stop
