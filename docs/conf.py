"""How Sphinx builds these pages: ``pip install ".[docs]" && sphinx-build -W -n docs build/docs``."""

from __future__ import annotations

import re
from importlib.metadata import version as _version
from typing import Any, Generic, get_origin

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.writers.html5 import HTML5Translator

project = "pgfast"
author = "the pgfast authors"
project_copyright = "the pgfast authors"
version = release = _version("pgfast")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "results/*.md"]  # what other pages take in

html_theme = "furo"
html_title = f"pgfast {release}"
html_static_path = ["results"]  # the curve and the film that the pages show
html_copy_source = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

# Type aliases are shown by name: what they stand for is said at the head of the reference.
_ARRAYS = ("Array", "FloatArray", "BoolArray", "IntArray", "NDArray", "DTypeLike")
_CHOICES = ("Activation", "RmspropForm", "Vectorization")
_KINDS = ("Actions", "AnyVectorEnv", "Callback", "EnvironmentLike", "Key", "LinearMap", "LinearOperator", "T", "Tree")
autodoc_type_aliases = {name: name for name in (*_ARRAYS, *_CHOICES, *_KINDS)}

# Not looked for: names of other packages, whose pages are not asked for during a build, native classes, the aliases.
_FOREIGN = (
    r"(numpy|np|gymnasium|typing|collections|pathlib|abc|NDArray|spaces|VectorEnv|AutoresetMode|EnvSpec|Space)(\..*)?"
)
_NATIVE = r"pgfast\._core\w*\..*"
nitpick_ignore_regex = [
    (r"py:.*", _FOREIGN),
    (r"py:.*", _NATIVE),
    (r"py:.*", rf"(pgfast\.(\w+\.)*)?({'|'.join(autodoc_type_aliases)})"),
]

_ALIAS_IN_UNION = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
_EQUATION = re.compile(r"^\S.* (=|<-) ")
_SENTENCE = re.compile(r"[.:;]$")


def format_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Sections such as ``Args:`` become fields, and paragraphs that are equations alone literal blocks."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    result: list[str] = []
    for paragraph in paragraphs:
        is_equations = all(_EQUATION.match(line) and not _SENTENCE.search(line) for line in paragraph)
        if paragraph and is_equations:
            result += ["::", "", *(f"    {line}" for line in paragraph), ""]
        else:
            result += [*paragraph, ""]
    # As of a function: Napoleon takes a colon in the docstring of an attribute for the end of a type.
    lines[:] = GoogleDocstring(result, Config(), what="function").lines()


def skip_member(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool:
    """Fields of a named tuple, whose docstring only counts them: the class's own says what they are."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def name_aliases(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """An alias in a union is shown by its name as well, where Sphinx shows its own wrapper of it."""
    shown = [None if text is None else _ALIAS_IN_UNION.sub(r"\1", text) for text in (signature, returned)]
    return shown[0], shown[1]


def name_bases(app: Sphinx, name: str, obj: object, options: object, bases: list[Any]) -> None:
    """Bases without their type arguments; a private one is left out for its own."""
    plain = [get_origin(base) or base for base in bases if get_origin(base) is not Generic]
    bases[:] = [shown for base in plain for shown in (base.__bases__ if base.__name__.startswith("_") else [base])]


def find_where_documented(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.reference | None:
    """A class that a package passes on is documented there: pgfast.a.b.C, as annotations have it, is pgfast.a.C."""
    parts = str(node.get("reftarget", "")).split(".")
    if node.get("refdomain") != "py" or parts[0] != "pgfast" or len(parts) < 4:
        return None
    target = ".".join([*parts[:-2], parts[-1]])
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, shown)


def show_inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    """MathML, which browsers show by themselves: MathJax would be fetched from the net by every reader."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def show_display_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    """The same in a line of its own, with room for tall brackets, which the theme would give a scroll bar."""
    shown = convert(node.astext(), display="block")
    translator.body.append(shown.replace("<math ", '<math style="padding: 0.5em 0" ', 1))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (show_inline_math, None), (show_display_math, None))
    app.connect("missing-reference", find_where_documented)
    app.connect("autodoc-process-bases", name_bases)
    app.connect("autodoc-process-signature", name_aliases)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", format_docstring)
