"""Extracts code blocks and tables from README.md, docs/ and docstrings."""

import csv
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.rst"))]
MODULES = sorted((ROOT / "dxlthreateventclient").rglob("*.py"))

_DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?:code-block|csv-table):: *(?P<argument>.*)\n"
    r"(?P<options>(?:(?P=indent) +:.+\n)*)"
    r"(?P<content>(?:(?P=indent) +.*\n|[ ]*\n)+)",
    re.MULTILINE,
)
_FENCE = re.compile(
    r"^(?P<indent>)```(?P<argument>\w+)(?P<options>)\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Matches the comment that says why the following block cannot be run.
_NOT_RUN = re.compile(r"(?:\.\. |<!-- )not run: (.+?)(?: -->)?\n\s*\Z")


@dataclass(frozen=True)
class Block:
    """A code block or a table."""

    page: Path
    line: int
    argument: str
    options: dict[str, str]
    content: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def table(page: str, name: str) -> list[list[str]]:
    """Return a named table's rows, with each cell as plain text."""
    [found] = (block for block in blocks(DOCS / page) if block.options.get("name") == name)
    file = found.options.get("file")
    content = (DOCS / file).read_text(encoding="utf-8") if file else found.content
    rows = list(csv.reader(content.splitlines(), skipinitialspace=True))
    heads = int(found.options.get("header-rows", 0))
    return [[cell.replace("``", "") for cell in row] for row in rows[heads:]]


def blocks(page: Path, *arguments: str) -> list[Block]:
    """Return all of a page's blocks in order, or only those in the given languages."""
    return [block for block in _blocks(page) if not arguments or block.argument in arguments]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in (_FENCE if page.suffix == ".md" else _DIRECTIVE).finditer(text):
        reason = _NOT_RUN.search(text[: match.start()])
        yield Block(
            page=page,
            line=text[: match.start()].count("\n") + 1,
            argument=match["argument"].strip(),
            options=dict(re.findall(r":([\w-]+): *(.*)", match["options"])),
            content=textwrap.dedent(match["content"]).strip("\n") + "\n",
            not_run=reason[1] if reason else None,
        )
