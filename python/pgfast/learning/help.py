"""The docstring and the signature of a class whose constructor takes settings as keywords."""

from __future__ import annotations

import inspect
import textwrap
from abc import ABCMeta
from dataclasses import fields
from typing import Any, get_type_hints

from pgfast.learning.bounds import describe, documentation, field_types
from pgfast.learning.settings import Settings, setting_groups

__all__ = ["ListsSettings"]

_WIDTH = 100


class ListsSettings(ABCMeta):
    """The type of classes with a ``learner_type``: their docstring and signature list its settings.

    Both are made when they are read: a description is parsed from the source of its setting, which takes milliseconds.
    """

    @property
    def __doc__(cls) -> str | None:  # type: ignore[override]
        text: str | None = vars(cls)["__doc__"]
        learner = vars(cls).get("learner_type")
        return text if learner is None else f"{inspect.cleandoc(text or '')}\n\n{_listed(learner.settings_type)}"

    @property
    def __signature__(cls) -> inspect.Signature | None:
        """None lets Python look at the constructor, such as that of a subclass with arguments of its own."""
        algorithm: Any = next((base for base in cls.__mro__ if "learner_type" in vars(base)), None)
        constructor = inspect.getattr_static(cls, "__init__")
        if algorithm is None or constructor is not inspect.getattr_static(algorithm, "__init__"):
            return None
        _, *arguments, _ = inspect.signature(constructor).parameters.values()  # without self and **settings
        return inspect.Signature([*arguments, *_parameters(algorithm.learner_type.settings_type)])


def _parameters(settings_type: type[Settings]) -> list[inspect.Parameter]:
    kinds, defaults, kind = get_type_hints(settings_type), settings_type(), inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=getattr(defaults, field.name), annotation=kinds[field.name])
        for field in fields(settings_type)
    ]


def _listed(settings_type: type[Settings]) -> str:
    """Each setting with its type, range, default and meaning, in the groups of the command line."""
    kinds, meanings, defaults = field_types(settings_type), documentation(settings_type), settings_type()
    lines = ["Settings, with the defaults that apply where the preset has no value:"]
    for group, names in setting_groups(settings_type).items():
        lines += ["", f"{group.capitalize()}:"]
        for name in names:
            value = getattr(defaults, name)
            default = f'"{value}"' if isinstance(value, str) else repr(value)
            text = f"{name}: {describe(kinds[name])}; default {default}. {meanings[name]}"
            lines += textwrap.wrap(text, _WIDTH, initial_indent=4 * " ", subsequent_indent=8 * " ")
    return "\n".join(lines)
