"""CSV (RFC 4180) as clients upload it and as vendors write it.

An uploaded table may lack a header, its delimiter depends on the spreadsheet that wrote it, and its
addresses may be in any column. Reading is lazy, so that files may be large.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

CSV_MEDIA_TYPE = "text/csv; charset=utf-8"
MAX_LINE_CHARACTERS = 1_000_000
MAX_LINES = 1_000_000
"""In one file, blank ones included, which take time too."""
SAMPLE_ROWS = 1_000
"""Rows that are read to find the width of the table and the column with the addresses."""
EMAIL_HEADERS = ("email", "e-mail", "email address", "e-mail address", "emailaddress", "mail")
"""Names of a column with addresses, in lower case; the first that a table has counts."""

FORMULA_STARTS = frozenset("=+-@\t\r")
_NUMBER = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?")


class NotCsv(ValueError):
    """The file is not CSV. The message completes "The file …", or "Line 7 …" if `line` is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line
        """From 1; None if it is not known."""


# -- reading ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A table whose rows are read while they are iterated."""

    headers: tuple[str, ...]
    """One for each column: `col0`, `col1`, … without a name. Empty for an empty table."""
    sample: Sequence[Sequence[str]]
    """The first rows."""
    rows: Iterator[Sequence[str]]
    """All rows but the header and blank ones, those of the sample included."""

    @property
    def width(self) -> int:
        return len(self.headers)


def read_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a UTF-8 text, with or without a byte order mark. Raises NotCsv."""
    number = 0
    for block in _whole_lines(_decode(chunks)):
        lines = io.StringIO(block, newline="").readlines()
        if "\0" in block or len(block) >= MAX_LINE_CHARACTERS:
            _check_lines(lines, first=number + 1)
        number += len(lines)
        if number > MAX_LINES:
            raise NotCsv("has too many lines")
        yield from lines


def _check_lines(lines: Iterable[str], first: int) -> None:
    for number, line in enumerate(lines, start=first):
        if len(line) >= MAX_LINE_CHARACTERS:
            raise NotCsv("is too long", number)
        if "\0" in line:
            raise NotCsv("is not text", number)


def _decode(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        raise NotCsv("is not UTF-8 text") from exc


def _whole_lines(texts: Iterable[str]) -> Iterator[str]:
    """The text in blocks of whole lines; the last may be the start of a line that is too long."""
    rest = ""
    for text in texts:
        text = rest + text
        # a carriage return at the end may be half of a line end
        end = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
        rest = text[end:]
        if end:
            yield text[:end]
        if len(rest) >= MAX_LINE_CHARACTERS:
            break
    if rest:
        yield rest


def read_table(
    lines: Iterator[str],
    *,
    delimiters: str = ",;\t",
    has_header: bool | None = None,
    max_cells: int | None = None,
    max_cell_characters: int | None = None,
) -> CsvTable:
    """The table in `lines`. This and iterating the rows raise NotCsv.

    The delimiter is the one that occurs most often in the first line. Without `has_header` the
    first row is a header if none of its cells has an `@`.
    """
    first_line = next(lines, "")
    reader = csv.reader(
        chain((first_line,), lines), delimiter=max(delimiters, key=first_line.count)
    )
    rows = _read_rows(reader, max_cells, max_cell_characters)
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        return CsvTable((), (), iter(()))
    width = max(map(len, sample))
    head = [cell.strip() for cell in sample[0]]
    if has_header is None:
        has_header = not any("@" in cell for cell in head)
    names = tuple(head) if has_header else ()
    headers = (*names, *(f"col{i}" for i in range(len(names), width)))
    sample = sample[1:] if has_header else sample
    return CsvTable(headers, sample, chain(sample, rows))


def _read_rows(
    reader: Any, max_cells: int | None, max_cell_characters: int | None
) -> Iterator[list[str]]:
    try:
        for row in reader:
            if not row:
                continue
            if max_cells is not None and len(row) > max_cells:
                raise NotCsv("has too many cells", reader.line_num)
            if max_cell_characters is not None and max(map(len, row)) > max_cell_characters:
                raise NotCsv("has a cell that is too long", reader.line_num)
            if "".join(row).strip():
                yield row
    except csv.Error as exc:
        raise NotCsv(f"is not CSV: {exc}", reader.line_num) from exc


def find_email_column(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> int | None:
    """The column with the addresses: by its name, else the one with most cells that have an `@`.

    None if no cell has one.
    """
    names = [header.strip().lower() for header in headers]
    for name in EMAIL_HEADERS:
        if name in names:
            return names.index(name)
    counts = [0] * len(names)
    for row in rows:
        for column, cell in enumerate(row[: len(names)]):
            counts[column] += "@" in cell
    best = max(counts, default=0)
    return counts.index(best) if best else None


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
