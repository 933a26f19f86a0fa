"""The Python blocks of README.md and docs/ run, README.md marks commands of .ci/run, and pages list all algorithms.

The ``python`` blocks of a page run one after another, as a reader would type them; a block with ``>>>`` must also print
the output that it shows. A block that must not run has another word after the backticks, such as ``python no-test``.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from pgfast.algorithms import ALGORITHMS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the blocks may write files
    text, names = page.read_text(), {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        if ">>>" in block[1]:
            example = doctest.DocTestParser().get_doctest(block[1], names, page.name, str(page), line)
            assert runner.run(example, clear_globs=False).failed == 0
            names |= example.globs
        else:
            exec(compile("\n" * line + block[1], page, "exec"), names)


@pytest.mark.parametrize(
    "path",
    [
        *("README.md", "CHANGELOG.md", "pyproject.toml", ".ci/run", "docs/algorithms.md", "docs/method.md"),
        *("docs/reference/agents.md", "docs/reference/index.md", "docs/reference/settings.md"),
    ],
)
def test_lists_of_the_algorithms_are_whole(path: str) -> None:
    words = set(re.findall(r"\w+", (ROOT / path).read_text().lower()))
    assert not ALGORITHMS.keys() - words


@pytest.mark.parametrize("name", ["test", "train"])
def test_the_marked_commands_are_single_lines(name: str) -> None:
    (marked,) = re.findall(rf"<!-- {name} -->(.*?)<!-- /{name} -->", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for line in marked.splitlines() if line and not line.startswith("```")]
    assert len(lines) == 1
