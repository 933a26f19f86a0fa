"""
Policy-gradient numerics, compiled for one instruction set. Use it through pgfast's Python modules.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__ = [
    "LinearOperatorFloat32",
    "LinearOperatorFloat64",
    "NetworkFloat32",
    "NetworkFloat64",
    "ScoresFisherOperatorFloat32",
    "ScoresFisherOperatorFloat64",
    "TapeFloat32",
    "TapeFloat64",
    "a2c",
    "a2c_gradient",
    "adam_step",
    "build_info",
    "categorical_entropy",
    "categorical_kl",
    "categorical_log_prob",
    "categorical_mode",
    "categorical_probabilities",
    "categorical_sample",
    "check_step",
    "clip_by_global_norm",
    "conjugate_gradient",
    "discounted_returns",
    "fisher_matrix",
    "fisher_operator",
    "gae",
    "natural_gradient",
    "natural_gradient_from_scores",
    "natural_step_size",
    "num_threads",
    "philox",
    "random_uniform",
    "rmsprop_step",
    "set_num_threads",
    "sgd_step",
]

class LinearOperatorFloat32:
    def __call__(self, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def size(self) -> int: ...

class LinearOperatorFloat64:
    def __call__(self, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def size(self) -> int: ...

class NetworkFloat32:
    def __init__(
        self,
        input_shape: collections.abc.Sequence[int],
        layers: collections.abc.Sequence[tuple[str, int, int, int, str]],
    ) -> None: ...
    def act(
        self,
        parameters: typing.Any,
        x: typing.Any,
        tape: TapeFloat32,
        first_row: int,
        seed: int,
        stream: int,
        environment: int,
        step: int,
        actions: typing.Any,
        max_threads: int = 1024,
    ) -> None: ...
    def forward(self, parameters: typing.Any, x: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def initialize(self, seed: int, hidden_gain: float, output_gain: float) -> numpy.typing.NDArray[numpy.float32]: ...
    def jvp(self, parameters: typing.Any, x: typing.Any, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def per_sample_vjp(
        self, parameters: typing.Any, x: typing.Any, dy: typing.Any
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def record(
        self, parameters: typing.Any, x: typing.Any, tape: TapeFloat32, first_row: int, max_threads: int = 1024
    ) -> None: ...
    def replay_vjp(
        self, parameters: typing.Any, x: typing.Any, tape: TapeFloat32, dy: typing.Any, gradient: typing.Any
    ) -> None: ...
    def vjp(self, parameters: typing.Any, x: typing.Any, dy: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def input_shape(self) -> list[int]: ...
    @property
    def layout(self) -> list[tuple[str, list[int], int]]: ...
    @property
    def multiply_adds(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def parameter_count(self) -> int: ...

class TapeFloat32:
    def __init__(self, network: NetworkFloat32, capacity: int) -> None: ...
    def output(self) -> numpy.typing.NDArray[numpy.float32]: ...
    @property
    def capacity(self) -> int: ...

class NetworkFloat64:
    def __init__(
        self,
        input_shape: collections.abc.Sequence[int],
        layers: collections.abc.Sequence[tuple[str, int, int, int, str]],
    ) -> None: ...
    def act(
        self,
        parameters: typing.Any,
        x: typing.Any,
        tape: TapeFloat64,
        first_row: int,
        seed: int,
        stream: int,
        environment: int,
        step: int,
        actions: typing.Any,
        max_threads: int = 1024,
    ) -> None: ...
    def forward(self, parameters: typing.Any, x: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def initialize(self, seed: int, hidden_gain: float, output_gain: float) -> numpy.typing.NDArray[numpy.float64]: ...
    def jvp(self, parameters: typing.Any, x: typing.Any, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def per_sample_vjp(
        self, parameters: typing.Any, x: typing.Any, dy: typing.Any
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def record(
        self, parameters: typing.Any, x: typing.Any, tape: TapeFloat64, first_row: int, max_threads: int = 1024
    ) -> None: ...
    def replay_vjp(
        self, parameters: typing.Any, x: typing.Any, tape: TapeFloat64, dy: typing.Any, gradient: typing.Any
    ) -> None: ...
    def vjp(self, parameters: typing.Any, x: typing.Any, dy: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def input_shape(self) -> list[int]: ...
    @property
    def layout(self) -> list[tuple[str, list[int], int]]: ...
    @property
    def multiply_adds(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def parameter_count(self) -> int: ...

class TapeFloat64:
    def __init__(self, network: NetworkFloat64, capacity: int) -> None: ...
    def output(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def capacity(self) -> int: ...

class ScoresFisherOperatorFloat32(LinearOperatorFloat32):
    pass

class ScoresFisherOperatorFloat64(LinearOperatorFloat64):
    pass

def a2c(
    log_prob: typing.Any,
    advantages: typing.Any,
    entropy: typing.Any,
    returns: typing.Any,
    values: typing.Any,
    entropy_coef: float,
    value_coef: float,
    valid: typing.Any = None,
) -> tuple[typing.Any, ...]: ...
def a2c_gradient(
    logits: typing.Any,
    values: typing.Any,
    actions: typing.Any,
    advantages: typing.Any,
    returns: typing.Any,
    entropy_coef: float,
    value_coef: float,
    valid: typing.Any = None,
) -> tuple[typing.Any, ...]: ...
def adam_step(
    parameters: typing.Any,
    gradient: typing.Any,
    mean: typing.Any,
    mean_square: typing.Any,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> bool: ...
def build_info() -> dict[str, typing.Any]: ...
def categorical_entropy(logits: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_kl(logits: typing.Any, other: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_log_prob(logits: typing.Any, actions: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_mode(logits: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_probabilities(logits: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_sample(
    logits: typing.Any, seed: int, stream: int, environment: int, step: int
) -> tuple[typing.Any, ...]: ...
def check_step(name: str, parameters: typing.Any, gradient: typing.Any) -> None: ...
def clip_by_global_norm(gradient: typing.Any, max_norm: float) -> float: ...
def conjugate_gradient(
    matvec: typing.Any, b: typing.Any, max_iterations: int, tolerance: float, damping: float
) -> tuple[typing.Any, ...]: ...
def discounted_returns(
    rewards: typing.Any, dones: typing.Any, next_values: typing.Any, discount: float
) -> numpy.typing.NDArray[typing.Any]: ...
def fisher_matrix(scores: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def fisher_operator(scores: typing.Any) -> typing.Any: ...
def gae(
    rewards: typing.Any,
    values: typing.Any,
    next_values: typing.Any,
    terminated: typing.Any,
    truncated: typing.Any,
    discount: float,
    gae_lambda: float,
) -> tuple[typing.Any, ...]: ...
def natural_gradient(fisher: typing.Any, gradient: typing.Any, damping: float) -> numpy.typing.NDArray[typing.Any]: ...
def natural_gradient_from_scores(
    scores: typing.Any, gradient: typing.Any, damping: float, method: str
) -> numpy.typing.NDArray[typing.Any]: ...
def natural_step_size(fisher: typing.Any, natural_gradient: typing.Any, max_kl: float) -> float: ...
def num_threads() -> int: ...
def philox(
    key: int, counter: typing.Annotated[collections.abc.Sequence[int], "FixedSize(4)"]
) -> numpy.typing.NDArray[numpy.uint32]: ...
def random_uniform(
    seed: int, stream: int, environment: int, step: int, count: int
) -> numpy.typing.NDArray[numpy.float64]: ...
def rmsprop_step(
    parameters: typing.Any,
    gradient: typing.Any,
    mean_square: typing.Any,
    learning_rate: float,
    decay: float,
    epsilon: float,
    form: str,
) -> bool: ...
def set_num_threads(n: int) -> None: ...
def sgd_step(
    parameters: typing.Any, gradient: typing.Any, velocity: typing.Any, learning_rate: float, momentum: float
) -> bool: ...
