"""Sphinx configuration: ``pip install ".[docs]" && sphinx-build -W -n docs build/docs``."""

from __future__ import annotations

import inspect
import re
import sys
from importlib.metadata import version as _version
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, get_origin

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.writers.html5 import HTML5Translator

from pgfast.learning.help import ListsSettings

project = "pgfast"
author = "the pgfast authors"
project_copyright = "the pgfast authors"
version = release = _version("pgfast")

sys.path.insert(0, str(Path(__file__).parent))
extensions = ["myst_parser", "sphinx.ext.autodoc", "tables"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "results/*.md"]  # included by other pages

html_theme = "furo"
html_title = f"pgfast {release}"
html_static_path = ["results", "theme"]  # the video of the Breakout page; the style sheet
html_css_files = ["pgfast.css"]
html_copy_source = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # Gymnasium's docstrings do not parse here; our base classes are on the same page
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

# Type aliases are shown by name; docs/reference/index.md defines them.
_ARRAYS = ("Array", "ArrayLike", "FloatArray", "BoolArray", "IntArray", "NDArray", "DTypeLike")
_CHOICES = ("Activation", "Memory", "RmspropForm", "Vectorization")
_KINDS = (
    *("Actions", "AgentT", "AnyVectorEnv", "CallbackLike", "EnvironmentLike", "Key", "LinearMap", "LinearOperator"),
    *("Row", "T", "Tree"),
)
autodoc_type_aliases = {name: name for name in (*_ARRAYS, *_CHOICES, *_KINDS)}

# Not resolved: names of other packages (a build must not need the network), native classes, the aliases.
_FOREIGN = (
    *("numpy", "np", "NDArray", "gymnasium", "AutoresetMode", "EnvSpec", "Space", "VectorEnv", "spaces"),
    *("abc", "collections", "pathlib", "Path", "typing"),
)
_NATIVE = r"pgfast\._core\w*\..*"
nitpick_ignore_regex = [
    (r"py:.*", rf"({'|'.join(_FOREIGN)})(\..*)?"),
    (r"py:.*", _NATIVE),
    (r"py:.*", rf"(pgfast\.(\w+\.)*)?({'|'.join(autodoc_type_aliases)})"),
    (r"py:.*", r"(dict|tuple)\[.*"),  # in the signature of a msgspec.Struct, which Sphinx does not parse
]

_ALIAS_IN_UNION = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
_EQUATION = re.compile(r"^\S.* (=|<-) ")
_SENTENCE = re.compile(r"[.:;]$")


def format_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Renders paragraphs that are equations alone as literal blocks, and sections such as ``Args:`` by Napoleon."""
    text = lines
    if isinstance(obj, ListsSettings):  # without the settings, which have a page
        text = inspect.cleandoc(vars(obj)["__doc__"]).splitlines()
    result: list[str] = []
    for has_text, group in groupby(text, lambda line: bool(line.strip())):
        paragraph = list(group)
        if has_text and _is_equations(paragraph):
            paragraph = [".. code-block:: none", "", *(f"    {line}" for line in paragraph)]
        result += paragraph
    # As of a function: Napoleon takes a colon in the docstring of an attribute for the end of a type.
    lines[:] = GoogleDocstring(result, Config(), what="function").lines()


def _is_equations(paragraph: list[str]) -> bool:
    """Whether every line is an equation or the indented continuation of one."""
    is_equation = [
        bool(_EQUATION.match(line) or (index and line.startswith("  "))) for index, line in enumerate(paragraph)
    ]
    return all(is_equation) and not any(_SENTENCE.search(line) for line in paragraph)


def skip_member(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool:
    """Skips what a module does not export, and the fields of a named tuple, which its class's docstring describes."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    is_private = what == "module" and name not in getattr(module, "__all__", (name,))
    return skip or is_private or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def format_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Shows aliases by name, an empty default of msgspec as such, and no signature that would list every setting."""
    if what == "class" and name.endswith("Settings"):
        return "", None
    if isinstance(obj, ListsSettings):
        return "(env: EnvironmentLike, *, preset: str | None = 'default', **settings)", None
    shown = [
        None if text is None else _ALIAS_IN_UNION.sub(r"\1", text).replace("<factory>", "{}")
        for text in (signature, returned)
    ]
    return shown[0], shown[1]


def name_bases(app: Sphinx, name: str, obj: object, options: object, bases: list[Any]) -> None:
    """Shows bases without their type arguments, and the bases of a private base in its place."""
    plain = [get_origin(base) or base for base in bases if get_origin(base) is not Generic]
    bases[:] = [shown for base in plain for shown in (base.__bases__ if base.__name__.startswith("_") else [base])]


def find_where_documented(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.reference | None:
    """Resolves pgfast.a.b.C, as annotations name a class, to pgfast.a.C, where its package exports and documents it."""
    parts = str(node.get("reftarget", "")).split(".")
    if node.get("refdomain") != "py" or parts[0] != "pgfast" or len(parts) < 4:
        return None
    target = ".".join([*parts[:-2], parts[-1]])
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, shown)


def show_inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Writes MathML, which browsers render without a script; MathJax would be fetched from the network."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def show_display_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Writes MathML in a block that scrolls by itself on a narrow screen."""
    translator.body.append(f'<div class="equation">{convert(node.astext(), display="block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (show_inline_math, None), (show_display_math, None))
    app.connect("missing-reference", find_where_documented)
    app.connect("autodoc-process-bases", name_bases)
    app.connect("autodoc-process-signature", format_signature)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", format_docstring)
