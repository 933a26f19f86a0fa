"""Flags that are not simply a setting of the same name, and the imports that they ask for."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import tyro

from pgfast.envs.registration import import_registering, registered_id

__all__ = ["KEYWORDS", "Imports", "flag_type", "import_typed", "typed_id"]

_WORDS = {"True": True, "False": False, "None": None}

Imports: TypeAlias = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(
        name="import",
        metavar="MODULE",
        help="Module to import first, for the environments that it registers. May be repeated.",
    ),
]


def parse_keywords(text: str) -> dict[str, Any]:
    """``K=V,...`` as a dict: a value is JSON if it can be, else a word. An object of JSON is taken as it is.

    Raises ``ValueError``.
    """
    if text.startswith("{"):
        return dict(json.loads(text))
    decoder, keywords = json.JSONDecoder(), {}
    while text:
        name, equals, rest = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f'"{text}" is not KEY=VALUE,...')
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            value, end = None, -1
        if rest[end:][:1] not in ("", ",") or end < 0:
            word = rest.partition(",")[0]
            value, end = _WORDS.get(word, word), len(word)
        keywords[name], text = value, rest[end + 1 :]
    return keywords


KEYWORDS = tyro.constructors.PrimitiveConstructorSpec[dict[str, Any] | None](
    nargs=1,
    metavar="K=V,...",
    instance_from_str=lambda words: parse_keywords(words[0]),
    is_instance=lambda value: value is None or isinstance(value, dict),
    str_from_instance=lambda value: [json.dumps(value, separators=(",", ":"))] if value else ["None"],
)


def flag_type(kind: Any) -> Any:
    """The type of a setting as a flag: of names or an object that Python code makes, only the names."""
    names = [part for part in get_args(kind) if get_origin(part) is Literal]
    return names[0] if names and NoneType not in get_args(kind) else kind


def import_typed(modules: Sequence[str]) -> None:
    """Imports modules that were named on the command line; those of the current directory are found too.

    Raises ``ImportError``.
    """
    here = str(Path.cwd())
    if modules and not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    for module in modules:
        import_registering(module)


def typed_id(text: str) -> tuple[str, tuple[str, ...]]:
    """(id, modules) of ``module:id`` on the command line, after the import. Raises as these functions do."""
    module = text.rpartition(":")[0]
    modules = (module,) if module else ()
    import_typed(modules)
    return registered_id(text), modules
