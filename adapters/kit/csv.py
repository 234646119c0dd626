"""CSV (RFC 4180) as clients upload it and as vendors write it.

An uploaded table may lack a header, its delimiter depends on the spreadsheet that wrote it, and its
addresses may be in any column. Reading is lazy, so that files may be large.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from adapters.kit.csv_rows import Remarks, RowLimits, RowReader, unquoted
from adapters.kit.decoding import MAX_LINE_CHARACTERS, Decoder, NotCsv, split_lines
from adapters.kit.layout import (
    DELIMITERS,
    Top,
    find_delimiter,
    find_email_column,
    find_top,
    named_delimiter,
    usual_width,
)

__all__ = [
    "CSV_MEDIA_TYPE",
    "MAX_LINES",
    "MAX_LINE_CHARACTERS",
    "CsvTable",
    "NotCsv",
    "csv_cell",
    "csv_line",
    "escape_quotes",
    "find_email_column",
    "fit_row",
    "neutralise_formula",
    "read_lines",
    "read_table",
]

CSV_MEDIA_TYPE = "text/csv; charset=utf-8"
MAX_LINES = 1_000_000
"""In one file, blank ones included, which take time too."""
SAMPLE_ROWS = 1_000
"""Rows that are read to find the width of the table and the column with the addresses."""
SAMPLE_CHARACTERS = 500_000
MAX_SHOWN = 60
"""Characters of a line that is shown in a remark."""

FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""OWASP's list, "CSV Injection". The last four are the full-width forms of the first, which
spreadsheets in Japanese run, too."""
_NUMBER = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?")


# -- reading ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A table whose rows are read while they are iterated."""

    headers: tuple[str, ...]
    """One for each column: `col0`, `col1`, … without a name. Empty for an empty table."""
    sample: Sequence[Sequence[str]]
    """The first rows."""
    rows: Iterator[Sequence[str]]
    """All rows but the header, those above it and blank ones; those of the sample included."""
    has_header: bool = False
    delimiter: str = ""
    """Empty for one column."""
    remarks: Remarks = field(default_factory=Remarks)
    """What was left out or read otherwise than it stands, so far."""

    @property
    def width(self) -> int:
        return len(self.headers)


def read_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text in UTF-8, or in the encoding that its mark names. Raises NotCsv."""
    return split_lines(Decoder(chunks).texts(), max_lines=MAX_LINES)


def read_table(
    lines: Iterator[str],
    *,
    delimiters: str = DELIMITERS,
    has_header: bool | None = None,
    column: str | None = None,
    titled: bool = True,
    max_cells: int | None = None,
    max_cell_characters: int | None = None,
    escape: str | None = None,
) -> CsvTable:
    """The table in `lines`. This and iterating the rows raise NotCsv.

    `has_header` is None if the dialect does not know it; then lines above the header are left out,
    too. `column` is a title that the header has. `titled`: a list with one column may have a title
    that we do not know. An empty line is a pause in a stream: the table is judged by the lines
    before it. `escape` is a character that makes the next one an ordinary one, such as a quote
    within quotes.
    """
    head, number = _head(lines)
    delimiter = named_delimiter(head[0]) if head else ""
    if delimiter is None:
        delimiter = find_delimiter(head, delimiters)
        if not delimiter and (inner := find_delimiter(_unquoted_lines(head), delimiters)):
            # a program took each line for one cell, and quoted it
            delimiter, head, lines = inner, _unquoted_lines(head), map(_unquoted_line, lines)
    else:
        head, number = head[1:], number + 1
    sample = list(RowReader(iter(head), delimiter, escape=escape))
    width = usual_width(sample)
    remarks = Remarks()
    reader = RowReader(
        chain(head, lines),
        delimiter,
        limits=RowLimits(max_cells, max_cell_characters),
        first_line=number,
        width=width,
        remarks=remarks,
        escape=escape,
    )
    rows = iter(reader)
    top = Top(None, 0) if has_header is False else Top(sample[0] if sample else None, 0)
    if has_header is None:
        top = find_top(sample, width, column=column, titled=titled)
    for skipped in islice(rows, top.skipped):
        remarks.add(reader.row_line, f"{_shown(skipped)} stands above the table and was left out")
    names = (
        tuple(cell.strip("\ufeff \t\r\n\u00a0") for cell in next(rows, ()))
        if top.header is not None
        else ()
    )
    sample = sample[top.skipped + (top.header is not None) :]
    first = list(islice(rows, 1))  # so that a mistake in it is known at once
    columns = max(map(len, (names, *sample)))
    headers = (*names, *(f"col{i}" for i in range(len(names), columns)))
    return CsvTable(headers, sample, chain(first, rows), top.header is not None, delimiter, remarks)


def _head(lines: Iterator[str]) -> tuple[list[str], int]:
    """The first lines, blank ones before them left out, and the number of the first of them."""
    head: list[str] = []
    number, characters = 1, 0
    for line in lines:
        if not line and head:
            break
        if head or line.strip():
            head.append(line)
            characters += len(line)
        elif line:
            number += 1
        if len(head) >= SAMPLE_ROWS or characters >= SAMPLE_CHARACTERS:
            break
    return head, number


def _unquoted_lines(lines: Sequence[str]) -> list[str]:
    """The lines without the quotes around each; none if a line has none."""
    whole = [line for line in lines if line.strip()]
    inner = [_unquoted_line(line) for line in whole]
    return inner if all(map(str.__ne__, whole, inner)) else []


def _unquoted_line(line: str) -> str:
    text = line.strip()
    return f"{unquoted(text)}\n" if text[:1] == '"' else line


def _shown(row: Sequence[str]) -> str:
    text = " ".join(filter(None, map(str.strip, row)))
    return repr(f"{text[:MAX_SHOWN]}…" if len(text) > MAX_SHOWN else text)


def fit_row(row: Sequence[str], width: int) -> tuple[str, ...]:
    """The row with exactly `width` cells: padded with empty ones, or cut."""
    return (*row, *("",) * (width - len(row)))[:width]


# -- writing ------------------------------------------------------------------------------


def csv_cell(value: object) -> str:
    """A value as a cell: `true` or `false`, empty for None, else its text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def csv_line(cells: Iterable[str], *, quote_all: bool = False) -> bytes:
    """One row with its line feed; cells are quoted where they must be, or all of them."""
    if quote_all:
        return (",".join(f'"{escape_quotes(cell)}"' for cell in cells) + "\n").encode()
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode("utf-8", "surrogateescape")


def neutralise_formula(cell: str) -> str:
    """The cell as text, where a spreadsheet would run it as a formula (CWE-1236).

    An apostrophe before it makes it text. A plain number stays as it is: `-1.5`, `+15551234567`.
    """
    return f"'{cell}" if cell[:1] in FORMULA_STARTS and not _NUMBER.fullmatch(cell) else cell


def escape_quotes(cell: str) -> str:
    """A cell's text as it stands between quotes."""
    return cell.replace('"', '""') if '"' in cell else cell
