"""
Policy-gradient numerics, compiled for one instruction set. Use it through pgfast's Python modules.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__ = [
    "Family",
    "FisherOperatorFloat32",
    "FisherOperatorFloat64",
    "LinearOperatorFloat32",
    "LinearOperatorFloat64",
    "NetworkFloat32",
    "NetworkFloat64",
    "NonFiniteError",
    "ScoresFisherOperatorFloat32",
    "ScoresFisherOperatorFloat64",
    "TapeFloat32",
    "TapeFloat64",
    "a2c",
    "a2c_gradient",
    "adam_step",
    "build_info",
    "categorical_entropy",
    "categorical_gradient",
    "categorical_kl",
    "categorical_likelihood_ratio",
    "categorical_log_prob",
    "categorical_mode",
    "categorical_probabilities",
    "categorical_sample",
    "check_step",
    "clip_by_global_norm",
    "conjugate_gradient",
    "count_signals_anew",
    "diag_gaussian_entropy",
    "diag_gaussian_gradient",
    "diag_gaussian_kl",
    "diag_gaussian_likelihood_ratio",
    "diag_gaussian_log_prob",
    "diag_gaussian_mode",
    "diag_gaussian_sample",
    "discounted_returns",
    "exit_at_second_signal",
    "fisher_matrix",
    "fisher_operator",
    "gae",
    "natural_gradient",
    "natural_gradient_from_scores",
    "natural_step_size",
    "num_threads",
    "philox",
    "policy_act",
    "policy_gradient",
    "policy_sample",
    "random_uniform",
    "rmsprop_step",
    "set_num_threads",
    "sgd_step",
    "trpo_surrogate",
]

class NonFiniteError(ValueError, FloatingPointError):
    """
    An argument holds a number that is not finite: a ValueError, and a FloatingPointError.
    """

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
    def forward(self, parameters: typing.Any, x: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def initialize(self, seed: int, hidden_gain: float, output_gain: float) -> numpy.typing.NDArray[numpy.float32]: ...
    def jvp(self, parameters: typing.Any, x: typing.Any, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def per_sample_vjp(
        self, parameters: typing.Any, x: typing.Any, dy: typing.Any, own: typing.Any = None
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def record(self, parameters: typing.Any, x: typing.Any, tape: TapeFloat32, first_row: int) -> None: ...
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
    def forward(self, parameters: typing.Any, x: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def initialize(self, seed: int, hidden_gain: float, output_gain: float) -> numpy.typing.NDArray[numpy.float64]: ...
    def jvp(self, parameters: typing.Any, x: typing.Any, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def per_sample_vjp(
        self, parameters: typing.Any, x: typing.Any, dy: typing.Any, own: typing.Any = None
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def record(self, parameters: typing.Any, x: typing.Any, tape: TapeFloat64, first_row: int) -> None: ...
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

class Family:
    def __init__(
        self, kind: str, sizes: collections.abc.Sequence[int], log_std_output: bool = False, grouped: bool = False
    ) -> None: ...
    @property
    def columns(self) -> int: ...
    @property
    def own_parameters(self) -> int: ...

class FisherOperatorFloat32(LinearOperatorFloat32):
    def __init__(
        self, network: NetworkFloat32, family: Family, parameters: typing.Any, x: typing.Any, damping: float
    ) -> None: ...

class FisherOperatorFloat64(LinearOperatorFloat64):
    def __init__(
        self, network: NetworkFloat64, family: Family, parameters: typing.Any, x: typing.Any, damping: float
    ) -> None: ...

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
    learning_rate: float,
    max_norm: float,
    state_norm: float,
    step: int,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[bool, float, float]: ...
def build_info() -> dict[str, typing.Any]: ...
def categorical_entropy(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_gradient(
    logits: typing.Any,
    sizes: collections.abc.Sequence[int] | None,
    actions: typing.Any,
    weight_log_prob: typing.Any,
    weight_entropy: typing.Any = None,
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_kl(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, other: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_likelihood_ratio(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, old: typing.Any, actions: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_log_prob(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, actions: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_mode(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_probabilities(logits: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_sample(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, seed: int, stream: int, environment: int, step: int
) -> tuple[typing.Any, ...]: ...
def check_step(name: str, parameters: typing.Any, gradient: typing.Any) -> None: ...
def clip_by_global_norm(gradient: typing.Any, max_norm: float) -> float: ...
def conjugate_gradient(
    matvec: typing.Any, b: typing.Any, max_iterations: int, tolerance: float, damping: float
) -> tuple[typing.Any, ...]: ...
def count_signals_anew() -> None: ...
def diag_gaussian_entropy(mean: typing.Any, log_std: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def diag_gaussian_gradient(
    mean: typing.Any,
    log_std: typing.Any,
    actions: typing.Any,
    weight_log_prob: typing.Any,
    weight_entropy: typing.Any = None,
) -> tuple[typing.Any, ...]: ...
def diag_gaussian_kl(
    mean: typing.Any, log_std: typing.Any, other_mean: typing.Any, other_log_std: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def diag_gaussian_likelihood_ratio(
    mean: typing.Any, log_std: typing.Any, old_mean: typing.Any, old_log_std: typing.Any, actions: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def diag_gaussian_log_prob(
    mean: typing.Any, log_std: typing.Any, actions: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def diag_gaussian_mode(mean: typing.Any, log_std: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def diag_gaussian_sample(
    mean: typing.Any, log_std: typing.Any, seed: int, stream: int, environment: int, step: int
) -> tuple[typing.Any, ...]: ...
def discounted_returns(
    rewards: typing.Any, dones: typing.Any, next_values: typing.Any, discount: float
) -> numpy.typing.NDArray[typing.Any]: ...
def exit_at_second_signal(number: int) -> bool: ...
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
    out: typing.Any = None,
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
@typing.overload
def policy_act(
    network: NetworkFloat32,
    family: Family,
    parameters: typing.Any,
    x: typing.Any,
    tape: TapeFloat32,
    first_row: int,
    seed: int,
    stream: int,
    environment: int,
    step: int,
    actions: typing.Any,
) -> None: ...
@typing.overload
def policy_act(
    network: NetworkFloat64,
    family: Family,
    parameters: typing.Any,
    x: typing.Any,
    tape: TapeFloat64,
    first_row: int,
    seed: int,
    stream: int,
    environment: int,
    step: int,
    actions: typing.Any,
) -> None: ...
def policy_gradient(log_prob: typing.Any, advantages: typing.Any, valid: typing.Any = None) -> float: ...
@typing.overload
def policy_sample(
    network: NetworkFloat32, family: Family, parameters: typing.Any, x: typing.Any, seed: int, stream: int, step: int
) -> tuple[typing.Any, ...]: ...
@typing.overload
def policy_sample(
    network: NetworkFloat64, family: Family, parameters: typing.Any, x: typing.Any, seed: int, stream: int, step: int
) -> tuple[typing.Any, ...]: ...
def random_uniform(
    seed: int, stream: int, environment: int, step: int, count: int
) -> numpy.typing.NDArray[numpy.float64]: ...
def rmsprop_step(
    parameters: typing.Any,
    gradient: typing.Any,
    mean_square: typing.Any,
    learning_rate: float,
    max_norm: float,
    state_norm: float,
    decay: float,
    epsilon: float,
    form: str,
) -> tuple[bool, float, float]: ...
def set_num_threads(n: int) -> None: ...
def sgd_step(
    parameters: typing.Any,
    gradient: typing.Any,
    velocity: typing.Any,
    learning_rate: float,
    max_norm: float,
    state_norm: float,
    momentum: float,
) -> tuple[bool, float, float]: ...
def trpo_surrogate(ratio: typing.Any, advantages: typing.Any, valid: typing.Any = None) -> float: ...
