"""The range of the bytes that a run begins with: a narrow one is a sign of codes, such as those of a map."""

from __future__ import annotations

from pgfast.sampling.rollout import Rollout
from pgfast.training.trainer import Trainer

__all__ = ["ByteRanges"]

_ROWS = 1000  # of a run that are looked at
_NARROW = 0.1  # of the range of the space


class ByteRanges:
    """Watches the bytes that the network scales from the bounds of their space, during the first rows of a run.

    Codes from 0 to 10 in a space from 0 to 255 hardly differ for a network, and no rule tells them from a dark picture.
    """

    def __init__(self, trainer: Trainer) -> None:
        is_new = trainer.timesteps < _ROWS
        self._leaves = [leaf for leaf in trainer.learner.rows.leaves if leaf.kind == "bytes"] if is_new else []
        self._lowest = dict.fromkeys((leaf.name for leaf in self._leaves), 255)
        self._highest = dict.fromkeys(self._lowest, 0)
        self._has_numbers = any(leaf.is_number for leaf in trainer.space.observation.leaves)

    def hint(self, rollout: Rollout, timesteps: int) -> str | None:
        """Looks at the rollout that ended at ``timesteps``; returns a hint once, if there is one."""
        if not self._leaves:
            return None
        rows = rollout.raw_observations[: -(-_ROWS // rollout.num_envs)]
        for name, field in rollout.packing.fields(rows).items():
            if name in self._lowest:
                self._lowest[name] = min(self._lowest[name], int(field.min()))
                self._highest[name] = max(self._highest[name], int(field.max()))
        if timesteps < _ROWS:
            return None
        narrow = self._narrow_leaves()
        self._leaves = []
        if not narrow:
            return None
        hint = f"bytes use little of their range: {'; '.join(narrow)}; set one_hot_observations if they are codes"
        # normalize_observations leaves bytes as they are if there are numbers.
        return hint if self._has_numbers else f"{hint}, or normalize_observations if they are quantities"

    def _narrow_leaves(self) -> list[str]:
        narrow = []
        for leaf in self._leaves:
            lowest, highest = self._lowest[leaf.name], self._highest[leaf.name]
            if 0 < highest - lowest < _NARROW * (leaf.high - leaf.low):
                narrow.append(f"{leaf.name} {lowest} to {highest} of {leaf.low:g} to {leaf.high:g}".strip())
        return narrow
