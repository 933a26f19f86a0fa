"""The settings of a run that are not the algorithm's defaults, as text."""

from __future__ import annotations

import textwrap
from dataclasses import fields

from pgfast.learning.settings import Settings

__all__ = ["settings_table"]

_HEADER = ("setting", "value", "default")


def settings_table(settings: Settings, width: int) -> str:
    """The settings that differ from their defaults, one a line; empty if none does.

    In a terminal too narrow for the table, lines are broken between words.
    """
    values = [(field.name, getattr(settings, field.name), field.default) for field in fields(settings)]
    rows = [(name, _show(value), _show(default)) for name, value, default in values if value != default]
    if not rows:
        return ""
    names, shown, _ = (max(map(len, column)) for column in zip(_HEADER, *rows, strict=True))
    lines = [f"  {name:{names}s}  {value:{shown}s}  {default}" for name, value, default in [_HEADER, *rows]]
    if max(map(len, lines)) <= width:
        return "\n".join(lines)
    return "\n".join(wrap(f"{name} {value} (default: {default})", width, "  ") for name, value, default in rows)


def wrap(text: str, width: int, indent: str = "") -> str:
    """The text in lines of at most ``width``, broken between words alone; later lines are indented further."""
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)
