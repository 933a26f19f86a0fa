"""The optimizers, global-norm clipping and the learning-rate schedule."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import kernels, optim
from pgfast.profiling import Profile
from pgfast.reference import optim as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Make = Callable[[], optim.Optimizer]

BLOCK = 1 << 14  # entries that one thread updates at a time
SIZES = [1, 7, 1000, BLOCK, BLOCK + 1]
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda: optim.SGD(0.05, momentum=0.9),
    "adam": lambda: optim.Adam(0.01, beta1=0.8, beta2=0.95, epsilon=1e-6),
    "rmsprop-pytorch": lambda: optim.RMSprop(0.01, decay=0.9, epsilon=1e-4, form="pytorch"),
    "rmsprop-tensorflow": lambda: optim.RMSprop(0.01, decay=0.9, epsilon=1e-4, form="tensorflow"),
}


@pytest.fixture(params=OPTIMIZERS)
def make(request: pytest.FixtureRequest) -> Make:
    return OPTIMIZERS[request.param]


def reference_steps(
    optimizer: optim.Optimizer, form: str, parameters: NDArray[np.float64], gradients: list[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], ...]:
    """Returns the parameters and the state after one step for each gradient."""
    zero = np.zeros_like(parameters)
    match optimizer:
        case optim.SGD():
            velocity = zero
            for g in gradients:
                parameters, velocity = reference.sgd(parameters, g, velocity, 0.05, 0.9)
            return parameters, velocity
        case optim.Adam():
            mean, square = zero, zero
            for step, g in enumerate(gradients, start=1):
                parameters, mean, square = reference.adam(parameters, g, mean, square, step, 0.01, 0.8, 0.95, 1e-6)
            return parameters, mean, square
        case optim.RMSprop():
            square = zero if form == "pytorch" else zero + 1.0
            for g in gradients:
                parameters, square = reference.rmsprop(parameters, g, square, 0.01, 0.9, 1e-4, form)
            return parameters, square
    raise TypeError(optimizer)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_match_the_reference(name: str, size: int, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    optimizer = OPTIMIZERS[name]()
    start, gradients = draw(size), [draw(size) for _ in range(4)]
    parameters = start.astype(dtype)
    for gradient in gradients:
        optimizer.step(parameters, gradient.astype(dtype))
    state = optimizer.state_dict()
    assert state.pop("steps") == 4
    assert state.pop("learning_rate") == optimizer.learning_rate
    expected_arrays = reference_steps(optimizer, name.partition("-")[2], start, gradients)
    for native, expected in zip((parameters, *state.values()), expected_arrays, strict=True):
        assert_close(native, expected)


def test_momentum_with_a_constant_gradient_is_a_geometric_series() -> None:
    optimizer, parameters, gradient = optim.SGD(0.1, momentum=0.5), np.zeros(3), np.array([1.0, -2.0, 0.0])
    for _ in range(5):
        optimizer.step(parameters, gradient)
    velocities = [(1.0 - 0.5**k) / 0.5 for k in range(1, 6)]
    np.testing.assert_allclose(parameters, -0.1 * sum(velocities) * gradient, rtol=1e-14)


def test_sgd_without_momentum_is_gradient_descent() -> None:
    parameters = np.array([1.0, 2.0])
    optim.SGD(0.25).step(parameters, np.array([4.0, -4.0]))
    assert parameters.tolist() == [0.0, 3.0]


def test_adam_with_a_constant_gradient_moves_by_the_learning_rate() -> None:
    # Both bias corrections are exact: mean g, mean square g^2, so each step is learning_rate g / (|g| + epsilon).
    optimizer, parameters, gradient = optim.Adam(0.01, epsilon=1e-3), np.zeros(4), np.array([5.0, -3.0, 1e-3, 0.0])
    for _ in range(7):
        optimizer.step(parameters, gradient)
    np.testing.assert_allclose(parameters, -0.07 * gradient / (np.abs(gradient) + 1e-3), rtol=1e-12)


@pytest.mark.parametrize("form", ["pytorch", "tensorflow"])
def test_rmsprop_with_a_constant_gradient_has_a_closed_form(form: optim.RmspropForm) -> None:
    optimizer = optim.RMSprop(0.1, decay=0.9, epsilon=1e-2, form=form)
    parameters, gradient, expected = np.zeros(3), np.array([2.0, -0.5, 0.0]), np.zeros(3)
    for k in range(1, 6):
        optimizer.step(parameters, gradient)
        start = 0.0 if form == "pytorch" else 1.0
        mean_square = 0.9**k * start + (1.0 - 0.9**k) * gradient**2
        divisor = np.sqrt(mean_square) + 1e-2 if form == "pytorch" else np.sqrt(mean_square + 1e-2)
        expected -= 0.1 * gradient / divisor
    np.testing.assert_allclose(parameters, expected, rtol=1e-12)


def test_every_optimizer_descends_a_quadratic(make: Make, dtype: Any) -> None:
    optimizer, parameters = make(), np.array([1.0, -1.0, 0.5], dtype)
    for _ in range(400):
        optimizer.step(parameters, 2.0 * parameters)
    assert np.abs(parameters).max() < 0.05


def test_the_learning_rate_may_change_between_and_during_steps() -> None:
    optimizer, parameters = optim.SGD(1.0), np.zeros(1)
    optimizer.step(parameters, np.ones(1))
    optimizer.learning_rate = 0.125
    optimizer.step(parameters, np.ones(1))
    assert parameters[0] == -1.125
    optimizer.step(parameters, np.ones(1), learning_rate=0.5)
    optimizer.step(parameters, np.ones(1))
    assert parameters[0] == -2.125
    assert optimizer.learning_rate == 0.5
    for rate in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^SGD: learning_rate must be at least 0 and finite, got "):
            optimizer.learning_rate = rate
        with pytest.raises(ValueError, match=r"^SGD.step: learning_rate must be at least 0 and finite, got "):
            optimizer.step(parameters, np.ones(1), learning_rate=rate)
    assert optimizer.learning_rate == 0.5


def test_state_dict_continues_bit_for_bit(make: Make, draw: Draw, dtype: Any) -> None:
    gradients = draw(6, 50).astype(dtype)
    whole, parameters = make(), draw(50).astype(dtype)
    for gradient in gradients[:3]:
        whole.step(parameters, gradient)
    resumed, copy = make(), parameters.copy()
    state = whole.state_dict()  # the public names of state and load_state
    resumed.load_state_dict(state)
    for array in (value for value in state.values() if isinstance(value, np.ndarray)):
        array[:] = np.nan  # neither side shares memory with the dict
    for gradient in gradients[3:]:
        whole.step(parameters, gradient)
        resumed.step(copy, gradient)
    np.testing.assert_array_equal(parameters, copy)
    assert resumed.steps == whole.steps == 6


def test_the_state_before_the_first_step_has_no_slots(make: Make, draw: Draw, dtype: Any) -> None:
    optimizer, parameters = make(), draw(7).astype(dtype)
    start = optimizer.state()
    assert start == {"steps": 0, "learning_rate": optimizer.learning_rate}
    first, gradient = parameters.copy(), draw(7).astype(dtype)
    optimizer.step(first, gradient)
    later = optimizer.state()
    assert later.keys() > start.keys()
    optimizer.require_fit(later, parameters)
    optimizer.load_state(start)
    assert optimizer.state() == start
    again = parameters.copy()
    optimizer.step(again, gradient)
    np.testing.assert_array_equal(again, first)


def test_the_first_step_fixes_dtype_and_size(make: Make, draw: Draw, dtype: Any) -> None:
    optimizer, other = make(), np.float64 if dtype == np.float32 else np.float32
    optimizer.step(draw(5).astype(dtype), draw(5).astype(dtype))
    before = optimizer.state()
    with pytest.raises(TypeError, match=r"\.step: parameters must be float\d\d, got float\d\d$"):
        optimizer.step(draw(5).astype(other), draw(5).astype(other))
    with pytest.raises(ValueError, match=r"\.step: parameters must have shape \(P,\) = \(5,\), got \(6,\)$"):
        optimizer.step(draw(6).astype(dtype), draw(6).astype(dtype))
    assert_same_state(optimizer, before)
    with pytest.raises(ValueError, match=r"^the optimizer's \w+ must be "):
        optimizer.require_fit(before, draw(6))


def test_load_state_accepts_unaligned_and_strided_slots(draw: Draw, dtype: Any) -> None:
    velocity = draw(5).astype(dtype)
    unaligned = np.zeros(velocity.nbytes + 1, np.uint8)[1:].view(dtype)
    unaligned[:] = velocity
    for array in (unaligned, np.repeat(velocity, 2)[::2]):
        optimizer = optim.SGD(0.1, momentum=0.5)
        optimizer.load_state({"steps": 2, "learning_rate": 0.1, "velocity": array})
        np.testing.assert_array_equal(optimizer.state()["velocity"], velocity)


def test_load_state_refuses_an_invalid_state(draw: Draw) -> None:
    adam, scalars = optim.Adam(0.1), {"steps": 1, "learning_rate": 0.1}
    adam.step(np.zeros(2), np.ones(2))
    before = adam.state()
    with pytest.raises(ValueError, match=r"^SGD.load_state: expected \['learning_rate', 'steps', 'velocity'\], got "):
        optim.SGD(0.1).load_state(before)
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({**scalars, "mean": np.zeros(2)}, ValueError, "expected "),
        ({"steps": 1}, ValueError, "expected "),
        ({**before, "steps": -1}, ValueError, "steps must be at least 0, got -1"),
        ({**before, "learning_rate": np.nan}, ValueError, "learning_rate must be at least 0 and finite, got nan"),
        ({**before, "mean": np.zeros(3)}, ValueError, "mean_square must have shape (P,) = (3,), got (2,)"),
        ({**before, "mean": np.zeros((2, 1))}, ValueError, "mean must have shape (P,) = (any,), got (2, 1)"),
        ({**before, "mean": np.zeros(2, np.int64)}, TypeError, "mean must be float32 or float64, got int64"),
        ({**before, "mean_square": np.zeros(2, np.float32)}, TypeError, "mean_square must be float64 like mean, got "),
        ({**before, "mean_square": np.array([0.0, -1.0])}, ValueError, "mean_square must be at least 0"),
    ]
    for state, kind, text in refused:
        with pytest.raises(kind, match=re.escape(f"Adam.load_state: {text}")):
            adam.load_state(state)
        assert_same_state(adam, before)


@pytest.mark.parametrize("slot", [np.nan, np.inf])
def test_loaded_slots_that_are_not_finite_are_refused_by_the_next_step(slot: float) -> None:
    optimizer, parameters = optim.Adam(0.1), np.zeros(2)
    state = {"steps": 3, "learning_rate": 0.1, "mean": np.array([slot, 0.0]), "mean_square": np.ones(2)}
    optimizer.load_state(state)
    with pytest.raises(FloatingPointError):
        optimizer.step(parameters, np.ones(2))
    assert not parameters.any()
    assert_same_state(optimizer, state)


def test_python_threads_may_share_an_optimizer(make: Make, draw: Draw) -> None:
    optimizer, gradient = make(), draw(5000)
    vectors = [np.zeros(5000) for _ in range(4)]

    def step(parameters: NDArray[np.float64]) -> None:
        for _ in range(50):
            optimizer.step(parameters, gradient)
            optimizer.load_state(optimizer.state())

    with ThreadPoolExecutor(4) as executor:
        for done in [executor.submit(step, parameters) for parameters in vectors]:
            done.result(timeout=60)
    assert all(np.isfinite(parameters).all() and parameters.any() for parameters in vectors)


def test_a_profile_attributes_a_step_to_the_optimizer() -> None:
    with Profile() as profile:
        optim.SGD(0.1).step(np.zeros(2), np.ones(2))
    assert "optimizer" in profile.seconds


def assert_same_state(optimizer: optim.Optimizer, state: dict[str, Any]) -> None:
    found = optimizer.state()
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_step_that_would_not_be_finite_changes_nothing(make: Make, draw: Draw, dtype: Any) -> None:
    optimizer = make()
    parameters = draw(2 * BLOCK).astype(dtype)
    optimizer.step(parameters, draw(2 * BLOCK).astype(dtype))
    # Only the last entry overflows; the blocks before it, already computed, must not be written either.
    parameters[-1] = np.inf
    before, state = parameters.copy(), optimizer.state()
    with pytest.raises(FloatingPointError, match=r"\.step: the step would write .* nothing was changed$"):
        optimizer.step(parameters, draw(2 * BLOCK).astype(dtype), learning_rate=0.25)
    with pytest.raises(ValueError, match=r"\.step: gradient must be finite, got nan at flat index 5$"):
        optimizer.step(before.copy(), np.where(np.arange(2 * BLOCK) == 5, np.nan, 1.0).astype(dtype), learning_rate=0.5)
    np.testing.assert_array_equal(parameters, before)
    assert_same_state(optimizer, state)


def test_an_overflow_of_the_state_is_refused(dtype: Any) -> None:
    for optimizer in (optim.Adam(0.1), optim.RMSprop(0.1)):
        parameters = np.zeros(2, dtype)
        with pytest.raises(FloatingPointError):
            optimizer.step(parameters, np.array([0.0, np.finfo(dtype).max], dtype))  # its square is infinite
        assert not parameters.any()


def test_an_optimizer_survives_a_refused_first_step(make: Make) -> None:
    optimizer, parameters = make(), np.zeros(3)
    with pytest.raises(ValueError, match="gradient must have shape"):
        optimizer.step(np.zeros(2), np.ones(3))
    with pytest.raises(TypeError, match="parameters must be float32 or float64"):
        optimizer.step(np.zeros(3, np.int64), np.ones(3))
    with pytest.raises(FloatingPointError):
        optimizer.step(np.full(4, np.inf, np.float32), np.ones(4, np.float32), learning_rate=9.0)
    assert optimizer.state() == make().state()
    optimizer.step(parameters, np.ones(3))
    assert (parameters < 0.0).all()


@pytest.mark.parametrize("size", SIZES)
def test_clip_by_global_norm_matches_the_reference(
    size: int, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    for max_norm in (0.5, 1e9):
        gradient = draw(size)
        native = gradient.astype(dtype)
        norm = kernels.clip_by_global_norm(native, max_norm)
        expected, expected_norm = reference.clip_by_global_norm(gradient, max_norm)
        assert norm == pytest.approx(expected_norm, rel=1e-12)
        assert_close(native, expected)


def test_clip_by_global_norm_matches_a_calculation_by_hand(dtype: Any) -> None:
    gradient = np.array([3.0, -4.0], dtype)
    assert kernels.clip_by_global_norm(gradient, 5.0) == 5.0
    assert gradient.tolist() == [3.0, -4.0]  # at the bound: untouched
    assert kernels.clip_by_global_norm(gradient, 2.5) == 5.0
    assert gradient.tolist() == [1.5, -2.0]
    zero = np.zeros(3, dtype)
    assert kernels.clip_by_global_norm(zero, 1.0) == 0.0
    assert not zero.any()


def test_clip_by_global_norm_does_not_overflow_in_float32() -> None:
    gradient = np.full(4, 1e30, np.float32)
    assert kernels.clip_by_global_norm(gradient, 1.0) == pytest.approx(2e30, rel=1e-6)
    np.testing.assert_allclose(gradient, 0.5, rtol=1e-6)


def test_clip_by_global_norm_does_not_depend_on_alignment(draw: Draw, dtype: Any) -> None:
    values = draw(BLOCK + 1001).astype(dtype)
    norms = set()
    for offset in range(8):
        buffer = np.zeros(len(values) + 8, dtype)
        gradient = buffer[offset : offset + len(values)]
        gradient[:] = values
        norms.add(kernels.clip_by_global_norm(gradient, 1e9))
    assert len(norms) == 1


def test_a_step_does_not_depend_on_alignment(make: Make, draw: Draw, dtype: Any) -> None:
    values, slope = draw(1003).astype(dtype), draw(1003).astype(dtype)
    results = set()
    for offset in range(8):
        optimizer = make()
        parameters, gradient = (np.zeros(1011, dtype)[offset : offset + 1003] for _ in range(2))
        parameters[:], gradient[:] = values, slope
        for _ in range(3):
            optimizer.step(parameters, gradient)
        results.add(parameters.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_a_step_with_max_norm_equals_a_step_after_clipping(make: Make, max_norm: float, draw: Draw, dtype: Any) -> None:
    size = BLOCK + 1001
    one, two = make(), make()
    parameters = draw(size).astype(dtype)
    copy = parameters.copy()
    for _ in range(3):
        gradient = draw(size).astype(dtype)
        before = gradient.copy()
        norm = one.step(parameters, gradient, max_norm=max_norm)
        np.testing.assert_array_equal(gradient, before)
        assert norm == kernels.clip_by_global_norm(gradient, max_norm)
        assert two.step(copy, gradient) == pytest.approx(min(norm, max_norm), rel=1e-6)
    np.testing.assert_array_equal(parameters, copy)


def test_an_invalid_max_norm_or_norm_is_refused(make: Make) -> None:
    for max_norm in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"step: max_norm must be positive and finite, got"):
            make().step(np.zeros(2), np.ones(2), max_norm=max_norm)
    parameters = np.zeros(2)
    with pytest.raises(ValueError, match=r"step: gradient has a norm that overflows$"):
        make().step(parameters, np.full(2, 1e200), max_norm=1.0)
    assert not parameters.any()
    with pytest.raises(ValueError, match=r"step: gradient must be finite, got nan at flat index 1$"):
        make().step(np.zeros(2), np.array([1.0, np.nan]), max_norm=1.0)


def test_an_epsilon_that_rounds_to_zero_never_writes_a_nan() -> None:
    for optimizer in (optim.Adam(0.1, epsilon=1e-60), optim.RMSprop(0.1, epsilon=1e-60)):
        parameters = np.ones(2, np.float32)
        with pytest.raises(FloatingPointError):
            optimizer.step(parameters, np.zeros(2, np.float32))  # 0 / 0
        assert (parameters == 1.0).all()


def test_the_overflow_check_does_not_change_a_step(make: Make, draw: Draw, dtype: Any) -> None:
    """If bounds cannot exclude an overflow, a first pass checks for it; the numbers written must not depend on that."""
    optimizer, checking = make(), make()
    parameters, gradients = draw(2 * BLOCK).astype(dtype), [draw(2 * BLOCK).astype(dtype) for _ in range(3)]
    huge = np.append(parameters, np.finfo(dtype).max / 2)
    for gradient in gradients:
        optimizer.step(parameters, gradient)
        checking.step(huge, np.append(gradient, dtype(0)))
    np.testing.assert_array_equal(huge[:-1], parameters)
