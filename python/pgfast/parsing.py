"""Rules of the command line that its parser does not have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from msgspec import Meta
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from pgfast.learning.bounds import check
from pgfast.learning.presets import closest_setting

__all__ = ["NUMBERS", "asks_for_completion", "checked", "find_misnamed", "setting_of", "with_environment_first"]

NUMBERS = ConstructorRegistry()
"""The rule of tyro by which 1e6 is an int."""


@NUMBERS.primitive_rule
def _whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda texts: _parse(texts[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def _parse(text: str) -> float:
    """An int, if the number is whole; a float otherwise, which the check of the bounds refuses."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    return int(number) if number.is_integer() else number


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which checks those of its arguments that have bounds.

    The command raises ``ValueError`` for an argument out of bounds, ``TypeError`` for one that is no int.
    """
    kinds = {name: kind for name, kind in get_type_hints(command, include_extras=True).items() if _has_bounds(kind)}
    signature = inspect.signature(command)

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        for name in kinds.keys() & bound.arguments.keys():
            bound.arguments[name] = check(name, bound.arguments[name], kinds[name])
        command(*bound.args, **bound.kwargs)

    return run


def _has_bounds(kind: Any) -> bool:
    """Whether msgspec's bounds are all that an annotation adds to a type; those of tyro are other objects."""
    kinds = (kind, *get_args(kind))  # of "Count | None" too
    return any(get_origin(part) is Annotated and isinstance(part.__metadata__[0], Meta) for part in kinds)


def with_environment_first(args: list[str], variadic: Sequence[str]) -> list[str]:
    """Moves the environment in front of the flags, so that none that takes any number of values swallows it.

    Args:
        args: "train", the algorithm, and the rest.
        variadic: the settings that are tuples of numbers.
    """
    for index, arg in enumerate(args):
        if setting_of(arg) in variadic:
            end = index + 1
            while end < len(args) and _is_number(args[end]):
                end += 1
            if end < len(args) and not args[end].startswith("-"):
                return [*args[:2], args[end], *args[2:end], *args[end + 1 :]]
    return args


def find_misnamed(args: list[str], known: Sequence[str]) -> tuple[str, str] | None:
    """(an unknown setting, the known one that it probably means) of the first flag that has such a setting."""
    for name in map(setting_of, args):
        if name is not None and name not in known:
            close = closest_setting(name, known)
            if close is not None:
                return name, close
    return None


def asks_for_completion(args: list[str]) -> bool:
    """Whether tyro is asked for a script of tab completion, which knows every flag."""
    return any(arg.startswith(("--tyro-print-completion", "--tyro-write-completion")) for arg in args)


def setting_of(arg: str) -> str | None:
    """The name of the setting that a flag such as --num-envs=8 or --no-normalize-rewards sets; None for a value."""
    if not arg.startswith("--") or arg.startswith("--tyro-"):
        return None
    return arg.partition("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")


def _is_number(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True
