"""Any argument yields a result or a clean exception, and no argument is modified unless documented."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from public_call import CLEAN
from public_calls import CALLS, leaves


def misaligned(array: NDArray[Any]) -> NDArray[Any]:
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    shifted = memory.view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


def strided(array: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(array, 2, axis=-1)[..., ::2]


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def filled(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def fill(array: NDArray[Any]) -> NDArray[Any]:
        if array.size and array.dtype.kind == "f":
            array = array.copy()
            array.flat[array.size // 2] = value
        return array

    return fill


def huge(array: NDArray[Any]) -> NDArray[Any]:
    return (np.sign(array) * np.finfo(array.dtype).max).astype(array.dtype) if array.dtype.kind == "f" else array


def flipped_bytes(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder())


DTYPES = ["f2", "f4", "f8", "g", "i1", "i4", "i8", "u1", "u8", "?", "c8", "O", "U3", "S3", "M8[s]", "V4"]
MUTATIONS: list[Callable[[NDArray[Any]], Any]] = [
    misaligned,
    strided,
    read_only,
    huge,
    flipped_bytes,
    np.asfortranarray,
    *(filled(value) for value in (math.nan, math.inf, -math.inf)),
    lambda array: array[::-1],
    lambda array: array[..., ::-1],
    lambda array: array.T,
    lambda array: array[:-1],
    lambda array: array[:0],
    lambda array: array[..., :0],
    lambda array: array[..., :1],
    lambda array: array[np.newaxis],
    lambda array: array[..., np.newaxis],
    lambda array: array[0],
    lambda array: array.reshape(-1)[:1].reshape(()),
    lambda array: np.concatenate([array, array]),
    lambda array: np.broadcast_to(array[:1], array.shape),
    lambda array: np.ma.masked_array(array),
    lambda array: array.tolist(),
    *(lambda array, dtype=dtype: np.zeros(array.shape, dtype) for dtype in DTYPES),
    *(lambda array, value=value: value for value in (None, 1.0, "text", b"bytes", (), {}, object())),
]
NUMBERS = [0, 1, 0.5, -1.0, 1e308, 5e-324, math.nan, math.inf, -math.inf, None, "0.5", np.float32(0.5), np.ones(2), 1j]


def bits(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype == object:
        return repr(value)
    return value.tobytes(), value.shape, value.strides, value.dtype


def check(name: str, arguments: dict[str, Any]) -> None:
    """Asserts a result that shares no memory with the arguments, or a documented exception that changed nothing."""
    call = CALLS[name]
    before = {key: bits(value) for key, value in arguments.items()}
    written: tuple[str, ...] = ()
    refusal = None
    try:
        result = call.function(**arguments)
    except CLEAN as error:
        refusal = str(error)
    else:
        written = call.written
        for array in leaves(result):
            if isinstance(array, np.ndarray):
                assert array.flags.c_contiguous
                assert array.flags.writeable
                assert not any(np.may_share_memory(array, argument) for argument in arguments.values())
    checkers = "|".join(re.escape(checker) for checker in (name.split()[0], f"{call.native}()", *call.inner))
    assert refusal is None or re.match(rf"({checkers}): ", refusal), refusal
    for key, value in arguments.items():
        if not any(value is arguments[other] for other in written):
            assert bits(value) == before[key], f"{key} was modified"


@pytest.mark.parametrize("name", CALLS)
def test_valid_arguments_are_accepted(name: str, dtype: Any) -> None:
    CALLS[name].function(**CALLS[name].valid(dtype))


@pytest.mark.parametrize("name", CALLS)
def test_one_wrong_argument_yields_a_result_or_a_clean_exception(name: str, dtype: Any) -> None:
    for key, value in CALLS[name].valid(dtype).items():
        if isinstance(value, np.ndarray):
            for mutate in MUTATIONS:
                arguments = CALLS[name].valid(dtype)
                check(name, {**arguments, key: mutate(arguments[key])})
            for other in CALLS[name].valid(dtype):
                arguments = CALLS[name].valid(dtype)
                check(name, {**arguments, key: arguments[other]})
        else:
            for number in NUMBERS:
                check(name, {**CALLS[name].valid(dtype), key: number})


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60)
@given(data=st.data())
def test_several_wrong_arguments_yield_a_result_or_a_clean_exception(name: str, data: st.DataObject) -> None:
    arguments = CALLS[name].valid(data.draw(st.sampled_from([np.float32, np.float64]), label="dtype"))
    for _ in range(data.draw(st.integers(2, 4), label="changes")):
        key = data.draw(st.sampled_from(sorted(arguments)), label="argument")
        if not isinstance(arguments[key], np.ndarray):
            arguments[key] = data.draw(st.sampled_from(NUMBERS), label="number")
        elif data.draw(st.booleans(), label="shared memory"):
            arguments[key] = arguments[data.draw(st.sampled_from(sorted(arguments)), label="shared with")]
        else:
            mutate = data.draw(st.sampled_from(MUTATIONS), label="mutation")
            with contextlib.suppress(TypeError, ValueError, IndexError, ArithmeticError):
                arguments[key] = mutate(arguments[key])  # it may not apply after another mutation
    check(name, arguments)
