"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def table_head(*cells: str) -> Iterator[str]:
    yield row(*cells)
    yield row(*("---" for _ in cells))
