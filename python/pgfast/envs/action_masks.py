"""Masks of the actions that environments allow, from the three places where environments put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from pgfast._typing import BoolArray
from pgfast.envs.actions import ActionInfo
from pgfast.envs.failures import EnvironmentFailure, describe
from pgfast.envs.make import AnyVectorEnv
from pgfast.envs.workers import WorkerVectorEnv

__all__ = ["ActionMasks", "MaskForm", "MaskSource", "has_mask_method", "mask_in", "require_masks", "without_mask"]

MaskSource: TypeAlias = Literal["none", "info", "observation", "method"]

_KEY, _METHOD = "action_mask", "action_masks"
_PLACES = {"info": f'infos["{_KEY}"]', "observation": f'the observation\'s "{_KEY}"', "method": f"{_METHOD}()"}


class MaskForm:
    """The form of a mask of an action space: M entries, one for each choice of each of its groups.

    A mask is one array ``[M]``, or a tuple of arrays that hold one or more whole groups each, or has the structure of a
    Dict or Tuple of actions, as the ``sample`` of Gymnasium's spaces takes it. It holds bools, or numbers 0 and 1.

    Args:
        action: at least one of its components has choices.
    """

    def __init__(self, action: ActionInfo) -> None:
        self._paths = [component.path for component in action.components if component.sizes]
        self._parts_of_action = len({component.path[:1] for component in action.components})
        self._sizes = action.choices
        self._starts = [0, *accumulate(self._sizes[:-1])]  # of the groups, among the M columns
        self.columns = sum(self._sizes)

    def rows(self, given: Any, count: int, is_given: Any = None) -> tuple[BoolArray, dict[int, str]]:
        """(masks ``[count, M]``, what is wrong with a row's mask by the number of the row)

        A row with a fault allows all actions.

        Args:
            given: the masks of ``count`` rows, as an array ``[count, M]``, a sequence, or a tuple of such.
            count: of the rows.
            is_given: ``[count]``, which rows have a mask; None for all.
        """
        is_array = isinstance(given, np.ndarray) and given.dtype.kind in "biuf" and given.shape[:1] == (count,)
        if is_array and given.size == count * self.columns and (is_given is None or np.all(is_given)):
            rows = given.reshape(count, self.columns)
            masks = rows != 0
            if (rows == masks).all() and self._allow_actions(masks).all():
                return masks, {}
        masks, faults = np.ones((count, self.columns), np.bool_), {}
        for index in range(count):
            try:
                masks[index] = self._row(_entry(given, index) if is_given is None or is_given[index] else None)
            except ValueError as fault:
                faults[index] = str(fault)
        return masks, faults

    def _row(self, given: Any) -> BoolArray:
        """The mask ``[M]`` of one row. Raises ``ValueError``."""
        if given is None:
            raise ValueError("is missing")
        parts = _parts(self._in_order(given))
        lengths = [part.size for part in parts]
        if sum(lengths) != self.columns or not {*accumulate(lengths)} <= {*self._starts, self.columns}:
            expected, got = (" + ".join(map(str, sizes)) for sizes in (self._sizes, lengths))
            raise ValueError(f"must have {expected} entries, one for each choice, got {got}")
        entries = np.concatenate(parts)
        mask: BoolArray = entries == 1
        if entries.dtype.kind not in "biuf" or not (mask | (entries == 0)).all():
            raise ValueError(f"must hold 0 and 1 or bools, got {entries.tolist()}")
        (without_actions,) = np.nonzero(~self._allow_actions(mask[np.newaxis])[0])
        if without_actions.size:
            raise ValueError("allows no action" + (f" of group {without_actions[0]}" if len(self._sizes) > 1 else ""))
        return mask

    def _in_order(self, given: Any) -> Any:
        """The masks of the components with choices, if the mask has the structure of the actions."""
        is_numbered = isinstance(given, tuple) and bool(self._paths[0]) and len(given) == self._parts_of_action
        if not (isinstance(given, Mapping) or is_numbered):
            return given
        masks = []
        for path in self._paths:
            part = given
            for key in path:
                try:
                    part = part[key]
                except (KeyError, IndexError, TypeError):
                    raise ValueError(f'has no part "{"/".join(map(str, path))}"') from None
            masks.append(part)
        return tuple(masks)

    def _allow_actions(self, masks: BoolArray) -> BoolArray:
        """Which groups of masks ``[B, M]`` allow an action, ``[B, K]``."""
        allowed: BoolArray = np.logical_or.reduceat(masks, self._starts, axis=1)
        return allowed


class ActionMasks:
    """Reads the masks of all environments of a vector environment where ``source`` says.

    Raises ``ValueError`` as :func:`require_masks` does.
    """

    def __init__(self, env: AnyVectorEnv, source: MaskSource, action: ActionInfo) -> None:
        require_masks(source, action, has_method=has_mask_method(env))
        self._env, self._source, self._form = env, source, MaskForm(action)
        self._place = _PLACES[source]
        self._methods: list[Any] = []
        inner = env.unwrapped
        if isinstance(inner, SyncVectorEnv) and source == "method":
            self._methods = [single.get_wrapper_attr(_METHOD) for single in inner.envs]
        if isinstance(inner, WorkerVectorEnv) and source != "observation":
            inner.returns_masks, self._source = source, "info"  # its workers call the method

    def read(self, observations: Any, infos: dict[str, Any], step: int, ignored: BoolArray) -> BoolArray:
        """Returns the masks ``[N, M]`` that come with the results of a step or a reset.

        Where a mask is ``ignored`` ``[N]``, it may be missing, empty or wrong, and then allows all actions.

        Raises :class:`~pgfast.envs.failures.EnvironmentFailure` if another environment's mask does not have the form,
        or allows no action.
        """
        is_given = None
        if self._source == "info":
            given, is_given = infos.get(_KEY), infos.get(f"_{_KEY}")
        elif self._source == "observation":
            given = observations[_KEY]
        else:
            given = self._call(step, ignored)
        masks, faults = self._form.rows(given, self._env.num_envs, is_given)
        for index, fault in faults.items():
            if not ignored[index]:
                raise EnvironmentFailure(index, step, f"{self._place} {fault}")
        return masks

    def _call(self, step: int, ignored: BoolArray) -> Any:
        if not self._methods:
            return _stacked(self._env.unwrapped.call(_METHOD))  # type: ignore[attr-defined]
        results = []
        for index, method in enumerate(self._methods):  # it may fail where an episode is over
            try:
                results.append(None if ignored[index] else method())
            except Exception as error:  # environments may raise anything
                raise EnvironmentFailure(index, step, describe(error)) from error
        return _stacked(results)


def require_masks(source: MaskSource, action: ActionInfo, *, has_method: bool) -> None:
    """Raises ``ValueError`` unless environments with these actions can have masks where ``source`` says."""
    if source != "none" and not action.choices:
        raise ValueError(f'action_mask "{source}" is for choices, but the actions have none: {action}')
    if source == "method" and not has_method:
        raise ValueError(f'action_mask "method" needs environments with a method {_METHOD}()')


def has_mask_method(env: AnyVectorEnv) -> bool:
    """Whether the environments have a method ``action_masks()``, as far as their vector environment can tell."""
    inner = env.unwrapped
    if isinstance(inner, SyncVectorEnv):
        return all(single.has_wrapper_attr(_METHOD) for single in inner.envs)
    return isinstance(inner, WorkerVectorEnv) or hasattr(inner, "call")


def without_mask(space: spaces.Space[Any], source: MaskSource) -> spaces.Space[Any]:
    """The observation space without its mask, which is no input of a network.

    Raises ``ValueError`` if the source is the observation, and it has no mask or nothing else.
    """
    if source != "observation":
        return space
    if not isinstance(space, spaces.Dict) or _KEY not in space.spaces or len(space.spaces) == 1:
        raise ValueError(
            f'action_mask "observation" needs a Dict observation with the key "{_KEY}" and others, got {space}'
        )
    return spaces.Dict([(key, part) for key, part in space.spaces.items() if key != _KEY])


def mask_in(observation: Any) -> Any:
    """The mask in a Dict observation, or the masks in a batch of them; None if there is none."""
    return observation.get(_KEY) if isinstance(observation, Mapping) else None


def _entry(given: Any, index: int) -> Any:
    """The mask of one row; None if there is none."""
    if isinstance(given, Mapping):
        return {key: _entry(part, index) for key, part in given.items()}
    if isinstance(given, tuple):
        return tuple(_entry(part, index) for part in given)
    try:
        return given[index]
    except (TypeError, IndexError, KeyError):
        return None


def _parts(mask: Any) -> list[Any]:
    """The arrays of a mask, flat."""
    if isinstance(mask, (tuple, list)) and any(isinstance(part, (np.ndarray, tuple, list)) for part in mask):
        return [flat for part in mask for flat in _parts(part)]
    return [np.ravel(np.asarray(mask))]


def _stacked(results: Sequence[Any]) -> Any:
    """The results of all environments as one array if they are arrays of one shape, else as a list."""
    shapes = {result.shape if isinstance(result, np.ndarray) else None for result in results}
    return np.stack(results) if len(shapes) == 1 and None not in shapes else list(results)
