"""Imports the native module for this CPU and describes it."""

from __future__ import annotations

import importlib
import os
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgfast import _core as core

__all__ = ["core", "native_info", "set_num_threads"]


# Intel's cores with AVX-512 and a single 512-bit multiplier, by model: clients from Cannon Lake to Rocket Lake.
_SINGLE_MULTIPLIER = (0x66, 0x7D, 0x7E, 0x8C, 0x8D, 0xA7)


def _multiplies_512_bits(cpu: dict[str, Any]) -> bool:
    """Returns whether the CPU has a higher peak with AVX-512 than with AVX2. Some split each instruction in two."""
    if cpu["vendor"] == "GenuineIntel":
        return not (cpu["family"] == 6 and cpu["model"] in _SINGLE_MULTIPLIER)
    return bool(cpu["fp512"])


def _supported_variants() -> list[str]:
    """The variants that run on this machine, the fastest first."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ["generic"]
    cpu: dict[str, Any] = importlib.import_module("pgfast._cpu").describe()
    order = [("v4", 4), ("v3", 3), ("v2", 2)] if _multiplies_512_bits(cpu) else [("v3", 3), ("v4", 4), ("v2", 2)]
    variants = [name for name, needed in order if cpu["level"] >= needed]
    if not variants:
        raise ImportError("pgfast: this CPU lacks SSE4.2; pgfast requires at least x86-64-v2")
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
            "Reinstall pgfast, or select another variant with PGFAST_ISA."
        ) from error


def _check_num_threads() -> None:
    """Refuses an invalid PGFAST_NUM_THREADS at import; the thread pool reads it only when it starts."""
    text = os.environ.get("PGFAST_NUM_THREADS", "1")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 1024):
        raise ImportError(f"PGFAST_NUM_THREADS={text}: must be a whole number from 1 to 1024")


if not TYPE_CHECKING:
    _check_num_threads()
    core = _import_variant(_choose_variant())


def native_info() -> dict[str, Any]:
    """Describes the compiled module and how it runs.

    Returns:
        A dict of ``isa`` (the variant in use), ``supported`` (the variants that this CPU can use, the fastest first),
        ``vector_bytes``, ``compiler`` and ``eigen`` (their versions) and ``num_threads``.
    """
    return {**core.build_info(), "supported": _supported_variants(), "num_threads": core.num_threads()}


def set_num_threads(n: int) -> None:
    """Sets the number of threads that the kernels use, including the calling one.

    Results do not depend on it. The default is ``PGFAST_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number of
    CPUs that this process may use.

    Args:
        n: in [1, 1024].

    Raises:
        ValueError: if ``n`` is out of range.
    """
    core.set_num_threads(n)
