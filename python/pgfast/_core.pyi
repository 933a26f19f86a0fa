"""
Policy-gradient numerics, compiled for one instruction set. Use it through pgfast's Python modules.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__ = [
    "KFAC",
    "SGD",
    "Adam",
    "Family",
    "FisherOperator",
    "LinearOperator",
    "Network",
    "NonFiniteError",
    "RMSprop",
    "Tape",
    "a2c",
    "a2c_gradient",
    "add_step",
    "are_choices",
    "build_info",
    "categorical_entropy",
    "categorical_gradient",
    "categorical_kl",
    "categorical_likelihood_ratio",
    "categorical_log_prob",
    "categorical_mode",
    "categorical_probabilities",
    "categorical_sample",
    "clip_by_global_norm",
    "column_sums",
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
    "draw_groups",
    "exit_at_second_signal",
    "first_not_finite",
    "fisher_matrix",
    "fit_pass",
    "gae",
    "natural_gradient",
    "natural_gradient_from_scores",
    "natural_step_size",
    "num_threads",
    "part_moments",
    "part_squares",
    "philox",
    "policy_act",
    "policy_backward",
    "policy_evaluate",
    "policy_gradient",
    "policy_gradient_gradient",
    "policy_output_gradients",
    "policy_sample",
    "policy_scores",
    "ppo",
    "ppo_gradient",
    "random_uniform",
    "read_step",
    "set_num_threads",
    "standardize",
    "standardize_parts",
    "store_row",
    "to_bounds",
    "trpo_surrogate",
    "trpo_surrogate_gradient",
]

class NonFiniteError(ValueError, FloatingPointError):
    """
    An argument contains a non-finite number. Both a ValueError and a FloatingPointError.
    """

class LinearOperator:
    def __call__(self, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def size(self) -> int: ...

class Network:
    def __init__(
        self,
        dtype: numpy.dtype[typing.Any],
        leaves: collections.abc.Sequence[
            tuple[collections.abc.Sequence[int], bool, bool, int, float, float, collections.abc.Sequence[int]]
        ],
        row_bytes: int,
        nodes: collections.abc.Sequence[
            tuple[
                str,
                collections.abc.Sequence[tuple[bool, int]],
                collections.abc.Sequence[tuple[str, int, int, int, str]],
                bool,
            ]
        ],
    ) -> None: ...
    def forward(self, parameters: typing.Any, x: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def forward_sequence(
        self, parameters: typing.Any, x: typing.Any, state: typing.Any, starts: typing.Any, held: typing.Any
    ) -> tuple[typing.Any, ...]: ...
    def initialize(self, seed: int, hidden_gain: float, output_gain: float) -> numpy.typing.NDArray[typing.Any]: ...
    def jvp(self, parameters: typing.Any, x: typing.Any, v: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def jvp_sequence(
        self,
        parameters: typing.Any,
        x: typing.Any,
        v: typing.Any,
        state: typing.Any,
        starts: typing.Any,
        held: typing.Any,
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def per_sample_vjp(
        self, parameters: typing.Any, x: typing.Any, dy: typing.Any
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def vjp(self, parameters: typing.Any, x: typing.Any, dy: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
    def vjp_sequence(
        self,
        parameters: typing.Any,
        x: typing.Any,
        dy: typing.Any,
        state: typing.Any,
        starts: typing.Any,
        held: typing.Any,
    ) -> tuple[typing.Any, ...]: ...
    @property
    def layout(self) -> list[tuple[str, list[int], int]]: ...
    @property
    def output_size(self) -> int: ...
    @property
    def parameter_count(self) -> int: ...
    @property
    def state_size(self) -> int: ...

class Tape:
    def __init__(self, network: Network, rows: int) -> None: ...
    def begin(self, state: typing.Any) -> None: ...
    def inputs(self, dtype: numpy.dtype[typing.Any]) -> numpy.typing.NDArray[typing.Any]: ...
    def layer_gradients(
        self, parameters: typing.Any, dy: typing.Any
    ) -> list[tuple[numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any]] | None]: ...
    def record(self, parameters: typing.Any, x: typing.Any, first_row: int) -> None: ...
    def state_after(self, rows: int) -> numpy.typing.NDArray[typing.Any]: ...
    def vjp(self, parameters: typing.Any, dy: typing.Any, gradient: typing.Any) -> None: ...
    @property
    def held(self) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def outputs(self) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def starts(self) -> numpy.typing.NDArray[typing.Any]: ...

class SGD:
    def __init__(self, learning_rate: float, momentum: float) -> None: ...
    def load_state(self, steps: int, learning_rate: float, arrays: collections.abc.Sequence[typing.Any]) -> None: ...
    def state(self) -> dict[str, typing.Any]: ...
    def step(
        self,
        parameters: typing.Any,
        gradient: typing.Any,
        max_norm: float,
        learning_rate: float | None,
        part: tuple[int, int, float] | None,
    ) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @learning_rate.setter
    def learning_rate(self, arg1: float) -> None: ...
    @property
    def slot_names(self) -> typing.Annotated[list[str], "FixedSize(1)"]: ...
    @property
    def steps(self) -> int: ...

class Adam:
    def __init__(self, learning_rate: float, beta1: float, beta2: float, epsilon: float) -> None: ...
    def load_state(self, steps: int, learning_rate: float, arrays: collections.abc.Sequence[typing.Any]) -> None: ...
    def state(self) -> dict[str, typing.Any]: ...
    def step(
        self,
        parameters: typing.Any,
        gradient: typing.Any,
        max_norm: float,
        learning_rate: float | None,
        part: tuple[int, int, float] | None,
    ) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @learning_rate.setter
    def learning_rate(self, arg1: float) -> None: ...
    @property
    def slot_names(self) -> typing.Annotated[list[str], "FixedSize(2)"]: ...
    @property
    def steps(self) -> int: ...

class RMSprop:
    def __init__(self, learning_rate: float, decay: float, epsilon: float, form: str) -> None: ...
    def load_state(self, steps: int, learning_rate: float, arrays: collections.abc.Sequence[typing.Any]) -> None: ...
    def state(self) -> dict[str, typing.Any]: ...
    def step(
        self,
        parameters: typing.Any,
        gradient: typing.Any,
        max_norm: float,
        learning_rate: float | None,
        part: tuple[int, int, float] | None,
    ) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @learning_rate.setter
    def learning_rate(self, arg1: float) -> None: ...
    @property
    def slot_names(self) -> typing.Annotated[list[str], "FixedSize(1)"]: ...
    @property
    def steps(self) -> int: ...

class Family:
    def __init__(
        self, components: collections.abc.Sequence[tuple[str, collections.abc.Sequence[int], bool, bool]], joint: bool
    ) -> None: ...
    @property
    def log_std_parameters(self) -> int: ...
    @property
    def mask_columns(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...

class FisherOperator(LinearOperator):
    def __init__(
        self,
        network: Network,
        family: Family,
        parameters: typing.Any,
        x: typing.Any,
        mask: typing.Any,
        damping: float,
        count: int | None,
    ) -> None: ...

class KFAC:
    def __init__(self, network: Network, position_stride: int) -> None: ...
    def blend(self, averages: typing.Any, rate: float, statistics: typing.Any) -> bool: ...
    def curvature(self, statistics: typing.Any, x: typing.Any) -> float: ...
    def factor(self, statistics: typing.Any, damping: float, factors: typing.Any) -> int: ...
    def measure(
        self,
        tape: Tape,
        parameters: typing.Any,
        row_gradients: typing.Any,
        *,
        valid: typing.Any = None,
        count: typing.Any = None,
    ) -> numpy.typing.NDArray[typing.Any]: ...
    def natural_gradient(
        self, factors: typing.Any, gradient: typing.Any, damping: float
    ) -> numpy.typing.NDArray[typing.Any]: ...
    @property
    def blocks(self) -> list[tuple[int, int, int, int, int]]: ...
    @property
    def size(self) -> int: ...

def a2c(
    log_prob: typing.Any,
    advantages: typing.Any,
    entropy: typing.Any,
    returns: typing.Any,
    values: typing.Any,
    entropy_coef: float,
    value_coef: float,
    valid: typing.Any,
    count: typing.Any,
) -> tuple[tuple[float, float, float], typing.Any, typing.Any, typing.Any]: ...
def a2c_gradient(
    log_prob: typing.Any,
    advantages: typing.Any,
    entropy: typing.Any,
    returns: typing.Any,
    values: typing.Any,
    entropy_coef: float,
    value_coef: float,
    valid: typing.Any,
    count: typing.Any,
) -> tuple[tuple[float, float, float], typing.Any, typing.Any, typing.Any]: ...
def add_step(
    returns: typing.Any, lengths: typing.Any, rewards: typing.Any, stepped: typing.Any, over: typing.Any
) -> list[typing.Any]: ...
def are_choices(choices: typing.Any, sizes: typing.Any) -> bool: ...
def build_info() -> dict[str, typing.Any]: ...
def categorical_entropy(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, mask: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_gradient(
    logits: typing.Any,
    sizes: collections.abc.Sequence[int] | None,
    mask: typing.Any,
    actions: typing.Any,
    weight_log_prob: typing.Any,
    weight_entropy: typing.Any = None,
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_kl(
    logits: typing.Any,
    sizes: collections.abc.Sequence[int] | None,
    mask: typing.Any,
    other: typing.Any,
    other_mask: typing.Any,
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_likelihood_ratio(
    logits: typing.Any,
    sizes: collections.abc.Sequence[int] | None,
    mask: typing.Any,
    old: typing.Any,
    old_mask: typing.Any,
    actions: typing.Any,
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_log_prob(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, mask: typing.Any, actions: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_mode(
    logits: typing.Any, sizes: collections.abc.Sequence[int] | None, mask: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_probabilities(logits: typing.Any, mask: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def categorical_sample(
    logits: typing.Any,
    sizes: collections.abc.Sequence[int] | None,
    mask: typing.Any,
    seed: int,
    stream: int,
    environment: int,
    step: int,
    draw: int,
) -> tuple[typing.Any, ...]: ...
def clip_by_global_norm(gradient: typing.Any, max_norm: float) -> float: ...
def column_sums(x: typing.Any, valid: typing.Any, mean: typing.Any = None) -> numpy.typing.NDArray[typing.Any]: ...
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
    mean: typing.Any, log_std: typing.Any, seed: int, stream: int, environment: int, step: int, draw: int
) -> tuple[typing.Any, ...]: ...
def discounted_returns(
    rewards: typing.Any, dones: typing.Any, next_values: typing.Any, discount: float
) -> numpy.typing.NDArray[typing.Any]: ...
def draw_groups(keys: typing.Any, groups: int, units: typing.Any) -> tuple[typing.Any, ...]: ...
def exit_at_second_signal(number: int) -> bool: ...
def first_not_finite(values: numpy.typing.NDArray[typing.Any]) -> int: ...
def fisher_matrix(scores: typing.Any, count: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def fit_pass(
    tape: Tape,
    optimizer: Adam,
    parameters: typing.Any,
    gradient: typing.Any,
    x: typing.Any,
    returns: typing.Any,
    numbers: typing.Any,
    keys: typing.Any,
    batch_size: int,
    sum: typing.Any,
) -> None: ...
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
def part_moments(x: typing.Any, index: typing.Any, sizes: typing.Any) -> numpy.typing.NDArray[typing.Any]: ...
def part_squares(
    x: typing.Any, index: typing.Any, sizes: typing.Any, means: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def philox(
    key: int, counter: typing.Annotated[collections.abc.Sequence[int], "FixedSize(4)"]
) -> numpy.typing.NDArray[numpy.uint32]: ...
def policy_act(
    tape: Tape,
    family: Family,
    parameters: typing.Any,
    x: typing.Any,
    mask: typing.Any,
    first_row: int,
    seed: int,
    stream: int,
    environment: int,
    step: int,
    actions: typing.Any,
    log_prob: typing.Any,
) -> None: ...
def policy_backward(
    network: Network,
    family: Family,
    parameters: typing.Any,
    at: typing.Any,
    mask: typing.Any,
    actions: typing.Any,
    log_prob: typing.Any,
    entropy: typing.Any,
    values: typing.Any,
    out: typing.Any,
) -> None: ...
def policy_evaluate(
    tape: Tape, family: Family, parameters: typing.Any, actions: typing.Any, mask: typing.Any
) -> tuple[typing.Any, ...]: ...
def policy_gradient(
    log_prob: typing.Any,
    advantages: typing.Any,
    valid: typing.Any,
    entropy: typing.Any,
    entropy_coef: float,
    count: typing.Any,
) -> tuple[float, float, typing.Any, typing.Any]: ...
def policy_gradient_gradient(
    log_prob: typing.Any,
    advantages: typing.Any,
    valid: typing.Any,
    entropy: typing.Any,
    entropy_coef: float,
    count: typing.Any,
) -> tuple[float, float, typing.Any, typing.Any]: ...
def policy_output_gradients(
    network: Network,
    family: Family,
    parameters: typing.Any,
    at: typing.Any,
    mask: typing.Any,
    actions: typing.Any,
    log_prob: typing.Any,
    entropy: typing.Any,
    values: typing.Any,
) -> numpy.typing.NDArray[typing.Any]: ...
def policy_sample(
    network: Network,
    family: Family,
    parameters: typing.Any,
    x: typing.Any,
    mask: typing.Any,
    seed: int,
    stream: int,
    step: int,
) -> tuple[typing.Any, ...]: ...
def policy_scores(
    network: Network, family: Family, parameters: typing.Any, x: typing.Any, mask: typing.Any, actions: typing.Any
) -> numpy.typing.NDArray[typing.Any]: ...
def ppo(
    log_prob: typing.Any,
    old_log_prob: typing.Any,
    advantages: typing.Any,
    entropy: typing.Any,
    returns: typing.Any,
    values: typing.Any,
    clip_range: float,
    entropy_coef: float,
    value_coef: float,
    valid: typing.Any,
    old_values: typing.Any,
    value_clip_range: float | None,
    count: typing.Any,
) -> tuple[tuple[float, float, float, float, float], typing.Any, typing.Any, typing.Any]: ...
def ppo_gradient(
    log_prob: typing.Any,
    old_log_prob: typing.Any,
    advantages: typing.Any,
    entropy: typing.Any,
    returns: typing.Any,
    values: typing.Any,
    clip_range: float,
    entropy_coef: float,
    value_coef: float,
    valid: typing.Any,
    old_values: typing.Any,
    value_clip_range: float | None,
    count: typing.Any,
) -> tuple[tuple[float, float, float, float, float], typing.Any, typing.Any, typing.Any]: ...
def random_uniform(
    seed: int, stream: int, environment: int, step: int, count: int
) -> numpy.typing.NDArray[numpy.float64]: ...
def read_step(
    num_envs: int,
    rewards: typing.Any,
    terminated: typing.Any,
    truncated: typing.Any,
    reset: typing.Any,
    restarted: typing.Any,
) -> typing.Any: ...
def set_num_threads(n: int) -> None: ...
def standardize(
    x: typing.Any, mean: typing.Any, variance: typing.Any, epsilon: float, limit: float
) -> numpy.typing.NDArray[typing.Any]: ...
def standardize_parts(
    x: typing.Any, index: typing.Any, sizes: typing.Any, means: typing.Any, stds: typing.Any, out: typing.Any
) -> None: ...
def store_row(
    t: int,
    rewards: typing.Any,
    terminated: typing.Any,
    truncated: typing.Any,
    valid: typing.Any,
    stepped: typing.Any,
    rewards_to: typing.Any,
    terminated_to: typing.Any,
    truncated_to: typing.Any,
    valid_to: typing.Any,
    time_to: typing.Any,
) -> None: ...
def to_bounds(actions: typing.Any, low: typing.Any, high: typing.Any, scaled: typing.Any, out: typing.Any) -> int: ...
def trpo_surrogate(
    ratio: typing.Any, advantages: typing.Any, valid: typing.Any, count: typing.Any
) -> tuple[float, typing.Any]: ...
def trpo_surrogate_gradient(
    ratio: typing.Any, advantages: typing.Any, valid: typing.Any, count: typing.Any
) -> tuple[float, typing.Any]: ...
