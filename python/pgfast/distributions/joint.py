"""The joint distribution of independent components, and the arrays of its actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from pgfast._typing import Array, FloatArray
from pgfast.distributions.distribution import Distribution

__all__ = ["Joint", "JointActions", "join_actions", "joint_dtype", "split_actions"]

JointActions: TypeAlias = Array | tuple[Array, ...]

_LARGEST_LOG_RATIO = 80.0  # that of the components


def joint_dtype(parts: Sequence[tuple[DTypeLike, tuple[int, ...]]]) -> np.dtype[Any]:
    """Returns the dtype of a row of joint actions: a field "f0", "f1", ... for each component's dtype and shape."""
    return np.dtype([(f"f{index}", dtype, shape) for index, (dtype, shape) in enumerate(parts)], align=True)


def join_actions(parts: Sequence[Array]) -> Array:
    """Returns rows ``[B]`` of :func:`joint_dtype`, copies of the actions of each component."""
    actions = np.empty(len(parts[0]), joint_dtype([(part.dtype, part.shape[1:]) for part in parts]))
    for name, part in zip(actions.dtype.names or (), parts, strict=True):
        actions[name] = part
    return actions


def split_actions(actions: Any) -> Any:
    """Returns an array with fields as a tuple of contiguous copies of them, and anything else as it is."""
    if not isinstance(actions, np.ndarray) or actions.dtype.names is None:
        return actions
    return tuple(np.ascontiguousarray(actions[name]) for name in actions.dtype.names)


class Joint(Distribution[Any]):
    """Independent components, such as the choices and the numbers of a mixed action space.

    p(actions) = prod_c p_c(actions_c), so log-probability, entropy and KL divergence are sums over the components.

    Actions are rows ``[B]`` with a field for each component, "f0", "f1", ..., that holds the action of this component.
    Methods that take actions also take a tuple with an array for each component.

    Args:
        components: distributions of the same number of rows and the same dtype, in the order of the space.

    Raises:
        ValueError: if there are no components.
    """

    def __init__(self, components: Sequence[Distribution[Any]]) -> None:
        self.components = tuple(components)
        if not self.components:
            raise ValueError("Joint: components must not be empty")

    def log_prob(self, actions: JointActions) -> FloatArray:
        parts = self._split("log_prob", actions)
        return self._sum("log_prob", [p.log_prob(part) for p, part in zip(self.components, parts, strict=True)])

    def entropy(self) -> FloatArray:
        return self._sum("entropy", [p.entropy() for p in self.components])

    def kl(self, other: Joint) -> FloatArray:
        self._require_family("kl", "other", other)
        return self._sum("kl", [p.kl(q) for p, q in zip(self.components, other.components, strict=True)])

    def likelihood_ratio(self, old: Joint, actions: JointActions) -> FloatArray:
        """Returns p(actions) / p_old(actions), ``[B]``, the product over the components.

        The logarithm of each factor is clamped to [-80, 80], and so is that of the product.
        """
        self._require_family("likelihood_ratio", "old", old)
        pairs = zip(self.components, old.components, self._split("likelihood_ratio", actions), strict=True)
        ratios = [p.likelihood_ratio(q, part) for p, q, part in pairs]
        log_ratio = self._sum("likelihood_ratio", [np.log(ratio.astype(np.float64)) for ratio in ratios])
        ratio = np.exp(np.clip(log_ratio, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO))
        return ratio.astype(ratios[0].dtype)

    @property
    def draws(self) -> int:
        return sum(component.draws for component in self.components)

    def sample_at(self, seed: int, stream: int, environment: int, step: int, draw: int = 0) -> tuple[Array, FloatArray]:
        """Draws actions and returns them with their log-probabilities ``[B]``.

        The draws of a component follow those of the components before it.
        """
        parts, log_prob = [], []
        for component in self.components:
            part, part_log_prob = component.sample_at(seed, stream, environment, step, draw)
            parts.append(part)
            log_prob.append(part_log_prob)
            draw += component.draws
        total = self._sum("sample", log_prob)  # checks the numbers of rows
        return join_actions(parts), total

    def mode(self) -> Array:
        parts = [component.mode() for component in self.components]
        self._require_rows("mode", parts)
        return join_actions(parts)

    def gradient(
        self, actions: JointActions, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray, ...]:
        """Computes the gradient of weighted log-probabilities and entropies in the parameters.

        Returns:
            The arrays of each component's gradient, one component after the other.
        """
        parts = self._split("gradient", actions)
        return tuple(
            gradient
            for p, part in zip(self.components, parts, strict=True)
            for gradient in p.gradient(part, weight_log_prob, weight_entropy)
        )

    def _split(self, method: str, actions: JointActions) -> tuple[Array, ...]:
        parts, count = split_actions(actions), len(self.components)
        if not isinstance(parts, tuple) or len(parts) != count:
            given = f"a tuple of {len(parts)}" if isinstance(parts, tuple) else type(parts).__name__
            expected = f"a tuple of {count} arrays, or an array with {count} fields"
            raise TypeError(f"Joint.{method}: actions must be {expected}, got {given}")
        return parts

    def _sum(self, method: str, terms: list[FloatArray]) -> FloatArray:
        self._require_rows(method, terms)
        result = terms[0]
        for term in terms[1:]:
            result = result + term
        return result

    def _require_rows(self, method: str, terms: Sequence[Array]) -> None:
        rows = [len(term) for term in terms]
        if len(set(rows)) > 1:
            raise ValueError(f"Joint.{method}: components must have the same number of rows, got {rows}")

    def _require_family(self, method: str, name: str, other: Distribution[Any]) -> None:
        super()._require_family(method, name, other)
        if isinstance(other, Joint) and len(other.components) != len(self.components):
            raise ValueError(
                f"Joint.{method}: {name} must have {len(self.components)} components, got {len(other.components)}"
            )
