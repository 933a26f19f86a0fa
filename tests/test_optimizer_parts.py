"""Optimizer steps that give a part of the parameters a learning rate of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import kernels
from test_optim import BLOCK, OPTIMIZERS, Draw, Make

each_rule = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
PARTS = [slice(0, 3), slice(5, BLOCK + 9), slice(BLOCK - 1, None), slice(None), slice(7, 7)]
each_part = pytest.mark.parametrize("part", PARTS, ids=str)


def assert_equal_to_rounding(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """The place of an entry decides whether it is computed in a packet, where square roots are rounded differently."""
    assert found.dtype == expected.dtype
    eps = float(np.finfo(found.dtype).eps)
    np.testing.assert_allclose(found, expected, rtol=8 * eps, atol=eps)


@each_part
@each_rule
def test_a_part_is_stepped_like_a_vector_of_its_own(part: slice, make: Make, draw: Draw, dtype: Any) -> None:
    size = BLOCK + 1001
    inside = np.zeros(size, np.bool_)
    inside[part] = True
    optimizer, parameters = make(), draw(size).astype(dtype)
    rate = optimizer.learning_rate
    pieces = [(make(), parameters[where], where, r) for where, r in ((inside, 0.125), (~inside, rate)) if where.any()]
    for _ in range(3):
        gradient = draw(size).astype(dtype)
        optimizer.step(parameters, gradient, part=(part, 0.125))
        for alone, entries, where, its_rate in pieces:
            alone.step(entries, gradient[where], learning_rate=its_rate)
    assert optimizer.learning_rate == rate
    state = optimizer.state()
    for alone, entries, where, _ in pieces:
        assert_equal_to_rounding(parameters[where], entries)
        for name, slot in alone.state().items():
            if isinstance(slot, np.ndarray):
                assert_equal_to_rounding(state[name][where], slot)


@each_part
@each_rule
def test_a_part_at_the_common_rate_changes_nothing(part: slice, make: Make, draw: Draw, dtype: Any) -> None:
    one, two = make(), make()
    parameters = draw(BLOCK + 1001).astype(dtype)
    copy = parameters.copy()
    for _ in range(3):
        gradient = draw(BLOCK + 1001).astype(dtype)
        one.step(parameters, gradient, max_norm=5.0, part=(part, one.learning_rate))
        two.step(copy, gradient, max_norm=5.0)
    assert_equal_to_rounding(parameters, copy)


@each_rule
def test_a_gradient_is_clipped_by_the_norm_of_all_its_parts(make: Make, draw: Draw, dtype: Any) -> None:
    one, two = make(), make()
    parameters, part = draw(1000).astype(dtype), (slice(10, 500), 0.125)
    copy = parameters.copy()
    for _ in range(3):
        gradient = draw(1000).astype(dtype)
        norm = one.step(parameters, gradient, max_norm=0.5, part=part)
        assert norm == kernels.clip_by_global_norm(gradient, 0.5)
        two.step(copy, gradient, part=part)
    np.testing.assert_array_equal(parameters, copy)


@each_rule
def test_a_part_at_rate_0_stays(make: Make, draw: Draw) -> None:
    parameters = draw(1000)
    before = parameters.copy()
    make().step(parameters, draw(1000), part=(slice(100, 200), 0.0))
    np.testing.assert_array_equal((parameters == before).nonzero()[0], np.arange(100, 200))


@pytest.mark.parametrize("rates", [(1e300, 0.1), (0.1, 1e300)], ids=["in the part", "elsewhere"])
@each_rule
def test_an_overflow_at_either_rate_changes_nothing(rates: tuple[float, float], make: Make) -> None:
    optimizer, parameters = make(), np.full(4, 1e308)
    of_part, elsewhere = rates
    with pytest.raises(FloatingPointError, match=r"\.step: the step would write .* nothing was changed$"):
        optimizer.step(parameters, np.full(4, -1e50), learning_rate=elsewhere, part=(slice(0, 2), of_part))
    assert (parameters == 1e308).all()
    assert optimizer.state() == make().state()


@pytest.mark.parametrize(
    ("part", "error", "text"),
    [
        ((slice(0, 5), 0.1), ValueError, "part must be a slice of the 4 parameters, got 0 to 5"),
        ((slice(-1, None), 0.1), ValueError, "part must be a slice of the 4 parameters, got -1 to 4"),
        ((slice(3, 2), 0.1), ValueError, "part must be a slice of the 4 parameters, got 3 to 2"),
        ((slice(0, 4, 2), 0.1), TypeError, "part must be a slice without a step and its learning rate, got "),
        ((3, 0.1), TypeError, "part must be a slice without a step and its learning rate, got "),
        (slice(0, 2), TypeError, "part must be a slice without a step and its learning rate, got "),
        ((slice(0, 2), -0.1), ValueError, "part must be at least 0 and finite, got -0.1"),
        ((slice(0, 2), np.nan), ValueError, "part must be at least 0 and finite, got nan"),
    ],
    ids=str,
)
@each_rule
def test_a_wrong_part_is_refused(part: Any, error: type[Exception], text: str, make: Make) -> None:
    parameters = np.zeros(4)
    with pytest.raises(error, match=rf"^\w+\.step: {text}"):
        make().step(parameters, np.ones(4), part=part)
    assert not parameters.any()
