"""Picks the native module for this CPU, and says which one it picked."""

from __future__ import annotations

import importlib
import os
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgfast import _core as core

__all__ = ["core", "native_info", "set_num_threads"]


def _supported_variants() -> list[str]:
    """Variants that run on this machine, the fastest first."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ["generic"]
    level: int = importlib.import_module("pgfast._cpu").x86_64_level()
    variants = [name for name, needed in (("v3", 3), ("v2", 2)) if level >= needed]
    if not variants:
        raise ImportError("pgfast: this CPU lacks SSE4.2; x86-64-v2 is the least that pgfast is built for")
    return variants


def _choose_variant() -> str:
    supported = _supported_variants()
    forced = os.environ.get("PGFAST_ISA")
    if not forced:
        return supported[0]
    if forced not in supported:
        raise ImportError(f"PGFAST_ISA={forced}: this machine supports {', '.join(supported)}")
    return forced


def _import_variant(variant: str) -> Any:
    try:
        return importlib.import_module(f"pgfast._core_{variant}")
    except ImportError as error:
        raise ImportError(
            f"pgfast: the native module _core_{variant} for this CPU could not be imported ({error}). "
            "Reinstall pgfast, or name another variant with PGFAST_ISA."
        ) from error


def _check_num_threads() -> None:
    """The pool reads PGFAST_NUM_THREADS when it starts; a value that is not a number must not pass in silence."""
    text = os.environ.get("PGFAST_NUM_THREADS", "1")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 1024):
        raise ImportError(f"PGFAST_NUM_THREADS={text}: must be a whole number from 1 to 1024")


if not TYPE_CHECKING:
    _check_num_threads()
    core = _import_variant(_choose_variant())


def native_info() -> dict[str, Any]:
    """What the compiled part is and how it runs.

    Returns a dict: ``isa`` (the variant in use), ``supported`` (variants this CPU could use), ``vector_bytes``,
    ``compiler``, ``eigen`` (versions) and ``num_threads``.
    """
    return {**core.build_info(), "supported": _supported_variants(), "num_threads": core.num_threads()}


def set_num_threads(n: int) -> None:
    """Sets how many threads the kernels use, the calling one included.

    Results do not depend on it. Without a call it is ``PGFAST_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number
    of CPUs this process may use. Raises ``ValueError`` unless 1 <= n <= 1024.
    """
    core.set_num_threads(n)
