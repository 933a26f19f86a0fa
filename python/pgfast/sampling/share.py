"""The environments of one worker."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Share"]


@dataclass(frozen=True)
class Share:
    """Environments ``first`` to ``first + num_envs - 1`` of the ``total`` that all workers of a run have.

    Seeds and random numbers belong to an environment of the run, so they do not depend on the worker that steps it.
    """

    first: int
    num_envs: int
    total: int

    @classmethod
    def all(cls, num_envs: int) -> Share:
        """The share of a single worker."""
        return cls(0, num_envs, num_envs)

    @classmethod
    def of_worker(cls, slot: int, workers: int, total: int) -> Share:
        """The share of one of ``workers``, which divide the environments equally."""
        num_envs = total // workers
        return cls(slot * num_envs, num_envs, total)
