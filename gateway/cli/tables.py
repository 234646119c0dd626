"""Tables for people: drawn by rich on a terminal, plain columns in a pipe or a file.

Plain columns stay as they are from release to release, since scripts read them: every cell on a
line of its own row, two spaces between columns, nothing coloured, wrapped or cut.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat, zip_longest
from typing import TYPE_CHECKING, TextIO

from gateway.cli.terminal import is_terminal
from gateway.observability.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

GAP = 2
"""Spaces between two columns."""
MAX_UNFOLDED_WIDTH = 40
"""On a terminal, cells before the last column are folded beyond this."""

MIN_LAST_WIDTH = 24
"""With less room for its last column, a table is drawn as rows below each other."""
STACKED_INDENT = 6
"""Of the last cell of such a row."""

UNBOUNDED_WIDTH = 10_000
"""Wider than any table."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a cell."""

    text: str
    style: str = ""
    """A style of rich, for terminals."""


Cell = str | Sequence[Line]
"""The content of a cell: a text, or lines one below the other."""

TableRow = Sequence[Cell]


def styled(texts: Iterable[str], style: str) -> TableRow:
    """A row in one style."""
    return [[Line(text, style)] for text in texts]


def print_table(
    rows: Sequence[TableRow], *, headings: Sequence[str] = (), first_width: int = 0
) -> None:
    """Print a table to standard output."""
    if is_terminal(sys.stdout):
        console, table = open_console(sys.stdout), rich_table(rows, headings=headings)
        needed = console.measure(table, options=console.options.update(width=UNBOUNDED_WIDTH))
        fixed = sum(min(width, MAX_UNFOLDED_WIDTH) + GAP for width in _first_widths(rows, headings))
        last = min(needed.maximum - fixed, MIN_LAST_WIDTH)
        if max(needed.minimum, fixed + last) > console.width:
            _print_stacked(console, rows)
        else:
            console.print(table)
    else:
        for line in plain_lines([headings, *rows], first_width=first_width):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def plain_lines(rows: Iterable[TableRow], *, first_width: int = 0) -> Iterator[str]:
    """The table as plain columns; the first is at least `first_width` wide."""
    texts = _texts(rows)
    widths = _column_widths(texts)
    widths[:1] = [max(first_width, width) for width in widths[:1]]
    for row in texts:
        for line in zip_longest(*row, fillvalue=""):
            cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False))
            yield (" " * GAP).join(cells).rstrip()


def rich_table(rows: Sequence[TableRow], *, headings: Sequence[str] = ()) -> Table:
    """The table for a terminal: the last column is folded to fit, others only if they are long."""
    from rich.table import Table

    table = Table.grid(padding=(0, GAP))
    table.show_header, table.header_style = bool(headings), "dim"
    widths = _first_widths(rows, headings)
    # `min_width` would do, but with it rich measures the last column wrongly and cuts it
    fixed = [*(min(width, MAX_UNFOLDED_WIDTH) for width in widths), None]
    for width, heading in zip(fixed, headings or repeat(""), strict=False):
        table.add_column(heading, overflow="fold", width=width)
    for row in rows:
        table.add_row(*map(_rich_cell, row))
    return table


def _first_widths(rows: Sequence[TableRow], headings: Sequence[str]) -> list[int]:
    """The widths of all columns but the last."""
    from rich.cells import cell_len

    *widths, _ = _column_widths(_texts((headings, *rows)), cell_len)
    return widths


def _print_stacked(console: Console, rows: Sequence[TableRow]) -> None:
    """Each row below the other, its last cell below its others, where columns do not fit."""
    from rich.padding import Padding
    from rich.text import Text

    for row in rows:
        *cells, last = map(_rich_cell, row)
        first = Text(" " * GAP).join(cell for cell in cells if cell)
        console.print(first, overflow="fold")
        if last:
            console.print(Padding(last, (0, 0, 0, STACKED_INDENT)), overflow="fold")


def open_console(stream: TextIO) -> Console:
    """A console that writes what it is given: no markup, no highlighting, no emoji codes."""
    from rich.console import Console

    return Console(file=stream, highlight=False, emoji=False, markup=False)


def _texts(rows: Iterable[TableRow]) -> list[list[list[str]]]:
    """Rows of cells of lines, fit for a terminal."""
    return [[[printable(line.text) for line in _lines(cell)] for cell in row] for row in rows]


def _column_widths(
    rows: Iterable[Sequence[Sequence[str]]], measure: Callable[[str], int] = len
) -> list[int]:
    """The width of each column: that of its longest line."""
    columns = zip_longest(*rows, fillvalue=())
    return [
        max((measure(line) for cell in column for line in cell), default=0) for column in columns
    ]


def _lines(cell: Cell) -> Sequence[Line]:
    return (Line(cell),) if isinstance(cell, str) else cell


def _rich_cell(cell: Cell) -> Text:
    from rich.text import Text

    return Text("\n").join(Text(printable(line.text), line.style) for line in _lines(cell))
