"""Directives that turn the package's own descriptions into tables: ``settings`` of a class, and ``metrics``."""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pgfast.algorithms import ALGORITHMS
from pgfast.learning.bounds import describe, documentation, field_types
from pgfast.metrics import METRICS, RUN_METRICS


class SettingsTable(SphinxDirective):
    """The settings that a class adds to its bases, and those whose default it changes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        cls: Any = getattr(import_module(module), name)
        kinds, meanings = field_types(cls), documentation(cls)
        rows = [("setting", "value", "default", "meaning")]
        for field in fields(cls):
            if field.name in inspect.get_annotations(cls):
                value = describe(kinds[field.name]).removeprefix("an ").removeprefix("a ")
                rows.append((f"``{field.name}``", value, f"``{field.default!r}``", meanings[field.name]))
        return self.parse_text_to_nodes(_table(rows, widths="18 22 12 48"))


class MetricsTable(SphinxDirective):
    """The columns of ``progress.csv``."""

    def run(self) -> list[nodes.Node]:
        rows = [("name", "group", "unit", "meaning", "algorithms")]
        for metric in METRICS.values():
            algorithms = [
                name.upper() for name, agent in ALGORITHMS.items() if metric.name in agent.learner_type.metrics
            ]
            meaning = f"*last*: {metric.meaning}" if metric.merge == "last" else metric.meaning
            reported_by = "all" if metric.name in RUN_METRICS else ", ".join(algorithms)
            rows.append((f"``{metric.name}``", metric.group, metric.unit, meaning, reported_by))
        return self.parse_text_to_nodes(_table(rows, widths="20 10 10 44 16"))


def _table(rows: list[tuple[str, ...]], *, widths: str) -> str:
    """A table of reStructuredText whose first row is the header."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in rows:
        lines += [f"   {'*' if index == 0 else ' '} - {cell}" for index, cell in enumerate(row)]
    return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("settings", SettingsTable)
    app.add_directive("metrics", MetricsTable)
    return {"parallel_read_safe": True}
