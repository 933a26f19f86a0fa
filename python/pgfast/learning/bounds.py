"""Types of settings with their bounds: the check of a value against them, and their description in words."""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap
from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta

__all__ = [
    *("Count", "Fraction", "NotNegative", "Positive", "ProperFraction"),
    *("Bounded", "bounds", "check", "describe", "documentation", "field_types"),
]

Count: TypeAlias = Annotated[int, Meta(ge=1)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Meta(gt=0)]
ProperFraction: TypeAlias = Annotated[float, Meta(gt=0, lt=1)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]


def field_types(settings_type: type) -> dict[str, Any]:
    """The annotation of each field, bounds included."""
    return _evaluated(cast(Hashable, settings_type))


@cache
def _evaluated(settings_type: Hashable) -> dict[str, Any]:
    """Evaluated once per class: settings also come from files, and reading a file evaluates nothing."""
    return get_type_hints(settings_type, include_extras=True)


def check(name: str, value: Any, kind: Any) -> Any:
    """Converts a value to its annotation ``kind``: an int to float, a list to a tuple, a NumPy scalar to Python's.

    A float without a fraction, such as 1e6, is taken as an int.

    Raises:
        TypeError: if the value is of another type.
        ValueError: if it is out of bounds, not finite, or none of the choices.
    """
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, (tuple, list)):
        value = [entry.item() if isinstance(entry, np.generic) else entry for entry in value]
    whole = isinstance(value, float) and value.is_integer() and _is_int(kind)
    try:
        converted = msgspec.convert(int(value) if whole else value, kind)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            raise ValueError(f"{name} is too large, got {value!r:.40}") from None
        raised = TypeError if ", got `" in str(error) else ValueError
        raise raised(f"{name} must be {describe(kind)}, got {value!r:.40}") from None
    if isinstance(converted, dict):
        try:
            return json.loads(json.dumps(converted, allow_nan=False, default=np.generic.item))
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be {describe(kind)}, got {value!r:.80}") from None
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} must be finite, got {number}")
    return converted


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A dataclass whose construction checks and converts every field.

    Raises:
        TypeError: for a value of another type.
        ValueError: for a value out of bounds.
    """

    def __post_init__(self) -> None:
        kinds = field_types(type(self))
        for field in fields(self):
            object.__setattr__(self, field.name, check(field.name, getattr(self, field.name), kinds[field.name]))


def bounds(kind: Any) -> str:
    """The bounds of an annotation in words, such as "at least 1"; empty if it has none."""
    kind, _ = _split_optional(kind)
    if get_origin(kind) is tuple:
        return bounds(get_args(kind)[0])
    if get_origin(kind) is not Annotated:
        return ""
    (meta,) = kind.__metadata__
    lower, upper = (meta.ge if meta.gt is None else meta.gt), (meta.le if meta.lt is None else meta.lt)
    if lower is None:
        return f"at most {_number(upper)}" if meta.lt is None else f"less than {_number(upper)}"
    if upper is None:
        return f"at least {_number(lower)}" if meta.gt is None else f"greater than {_number(lower)}"
    return f"in {'[' if meta.gt is None else '('}{_number(lower)}, {_number(upper)}{']' if meta.lt is None else ')'}"


def describe(kind: Any) -> str:
    """The values that an annotation allows, such as "an int of at least 1"."""
    kind, is_optional = _split_optional(kind)
    if get_origin(kind) is UnionType or get_origin(kind) is Union:
        text = " or ".join(map(describe, get_args(kind)))
    elif get_origin(kind) is Literal:
        text = "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    elif get_origin(kind) is tuple:
        text = f"a tuple, each entry {describe(get_args(kind)[0])}"
    elif get_origin(kind) is dict:
        text = "a dict of JSON values"
    else:
        name, range_ = getattr(kind, "__origin__", kind).__name__, bounds(kind)
        text = f"{'an' if name == 'int' else 'a'} {name}{' of' if range_.startswith('at ') else ''} {range_}".rstrip()
    return f"{text} or None" if is_optional else text


def documentation(settings_type: type) -> dict[str, str]:
    """The docstrings of the fields of a class and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(settings_type.__mro__[:-1]):
        found |= _documentation_in(cast(Hashable, cls))
    return found


@cache
def _documentation_in(settings_type: Hashable) -> dict[str, str]:
    """The docstrings below the fields in the source of a class; reading it takes milliseconds."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cast(type, settings_type)))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _split_optional(kind: Any) -> tuple[Any, bool]:
    """(annotation without None, whether it had None)"""
    if NoneType not in get_args(kind):
        return kind, False
    (rest,) = (part for part in get_args(kind) if part is not NoneType)
    return rest, True


def _is_int(kind: Any) -> bool:
    kind, _ = _split_optional(kind)
    return getattr(kind, "__origin__", kind) is int


def _number(value: float) -> str:
    """Large powers of two as such: 2^63 - 1 can be read."""
    for offset, suffix in ((0, ""), (1, " - 1")):
        power = int(value) + offset
        if power >= 2**16 and power & (power - 1) == 0:
            return f"2^{power.bit_length() - 1}{suffix}"
    return f"{value:g}"
