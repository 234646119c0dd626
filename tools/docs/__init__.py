"""The tables of the documentation that are made from the code.

    python -m tools.docs

fills them in anew, in README.md and docs/. A page marks the place of a table, and what stands
between the marks is replaced:

    <!-- table: sandbox-keys -->
    …
    <!-- end of table -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools.docs import (
    dialect_pairs,
    dialect_upstreams,
    dialect_verdicts,
    dialects,
    sandbox,
    settings,
)

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    **dialects.TABLES,
    **dialect_upstreams.TABLES,
    **dialect_verdicts.TABLES,
    **dialect_pairs.TABLES,
    **sandbox.TABLES,
    **settings.TABLES,
}
"""Lines of Markdown by the name in the mark."""

MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->\n)", re.DOTALL)


def fill(page: str) -> str:
    """The page with its tables as the code has them. Raises KeyError for an unknown table."""

    def replace(found: re.Match[str]) -> str:
        body = "\n".join(TABLES[found[2]]())
        return f"{found[1]}\n{body}\n\n{found[3]}"

    return MARKED.sub(replace, page)


def tables_in(page: str) -> list[str]:
    """The names of the tables that the page marks."""
    return [name for _, name, _ in MARKED.findall(page)]
