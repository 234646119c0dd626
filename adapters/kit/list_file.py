"""A list of addresses as people have it: CSV, text with an address a line, or JSON. Pure.

The command line and the dialects that take files read all lists here, so that a file gives the same
addresses everywhere. Rows are read one by one; only JSON that is not lines of JSON is read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from adapters.contract.jobs import BatchEntry
from adapters.kit.csv import SAMPLE_ROWS, CsvTable, NotCsv, read_table
from adapters.kit.csv_rows import Remarks
from adapters.kit.decoding import Decoder, split_lines
from adapters.kit.json_list import Row, cell_text, is_json, rows_and_members
from adapters.kit.layout import count_addresses, find_email_column
from adapters.kit.marks import MAX_SPLIT_CHARACTERS, split_addresses
from adapters.kit.words import is_digits

TEXT_FILES = (
    ("begin:vcard", "is a vCard file; export the contacts as CSV"),
    ("<!doctype", "is a web page; save the table as CSV"),
    ("<html", "is a web page; save the table as CSV"),
    ("<table", "is a web page; save the table as CSV"),
    ("<?xml", "is XML; save the table as CSV"),
)
"""First words of texts that are no lists, in lower case."""


class NoColumn(NotCsv):
    """No column has addresses in it, or none has the title that was asked for."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a list was written, for a result that opens where the list did."""

    delimiter: str = ","
    line_end: str = "\n"
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class AddressList:
    """A list whose rows are still to be read."""

    headers: tuple[str, ...]
    """Titles of the cells; empty for addresses alone."""
    entries: Iterator[BatchEntry]
    """A row without an address has an empty text. Iterating raises NotCsv."""
    email_at: int = 0
    """The column with the addresses."""
    other_columns: tuple[str, ...] = ()
    """Titles of other columns that have addresses."""
    shape: Shape = Shape()
    remarks: Remarks = field(default_factory=Remarks)
    """What was left out or read otherwise than it stands, so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """What is known of a list beforehand, and what is allowed; None is no limit."""

    column: str | None = None
    """Title of the addresses' column, or its number, from 1."""
    encoding: str | None = None
    otherwise: str | None = None
    """The encoding of a list that is neither UTF-8 nor marked, where nobody can name it."""
    has_header: bool | None = None
    """None if only the list itself shows it."""
    titled: bool = True
    """A list with one column may have a title that we do not know."""
    is_stream: bool = False
    """There is no way back to its start."""
    max_lines: int | None = None
    max_cells: int | None = None
    max_cell_characters: int | None = None
    escape: str | None = None
    """A character that makes the next one an ordinary one, such as a quote within quotes."""


def read_list(
    open_chunks: Callable[[], Iterable[bytes]], options: ListOptions | None = None
) -> AddressList:
    """The list in a file. This and iterating its entries raise NotCsv.

    `open_chunks` opens the file at its start; lines of JSON are read twice. An empty chunk is a
    pause in a stream: the list is judged by what came before it.
    """
    options = options or ListOptions()
    if options.max_lines is not None and _count_line_ends(open_chunks()) > options.max_lines:
        raise NotCsv("has too many lines")  # before the time that a million lines take
    decoder = Decoder(open_chunks(), options.encoding, otherwise=options.otherwise)
    lines = split_lines(decoder.texts(), max_lines=options.max_lines)
    head = _first_lines(lines)
    text = next((line for line in head if line.strip()), "").lstrip("\ufeff \t")
    for start, reason in TEXT_FILES:
        if text[: len(start)].lower() == start:
            raise NotCsv(reason)
    lines = chain(head, lines)
    if is_json(text):
        shape = Shape()
        table = _read_json(lines, None if options.is_stream else _lines(open_chunks(), options))
    else:
        table = read_table(
            lines,
            has_header=options.has_header,
            column=options.column,
            titled=options.titled,
            max_cells=options.max_cells,
            max_cell_characters=options.max_cell_characters,
            escape=options.escape,
        )
        shape = Shape(table.delimiter or ",", _line_end(text), decoder.encoding)
    return _address_list(table, options.column, shape)


def find_column(table: CsvTable, wanted: str | None) -> int:
    """The addresses' column: the one that is wanted, by title or number, else by content.

    Raises NoColumn.
    """
    if wanted is None:
        found = find_email_column(table.headers, table.sample)
        if found is None and table.width > 1:
            raise NoColumn("no column has addresses in its first rows")
        return found or 0
    titles = [title.casefold() for title in table.headers]
    if (title := wanted.strip().casefold()) in titles:
        return titles.index(title)
    if is_digits(wanted) and 1 <= int(wanted) <= table.width:
        return int(wanted) - 1
    raise NoColumn(f"there is no column {wanted!r}; there are {', '.join(table.headers)}")


def split_note(cell: str, headers: Sequence[str]) -> str:
    """What a result says of a row if the cell of its address has several; else empty."""
    count = len(_split(cell, headers)) if cell.count("@") > 1 else 1
    return f"One of {count} addresses in this cell; each has a row." if count > 1 else ""


def _count_line_ends(chunks: Iterable[bytes]) -> int:
    """At least so many lines there are."""
    feeds = returns = 0
    for chunk in chunks:
        feeds += chunk.count(b"\n")
        returns += chunk.count(b"\r")
    return max(feeds, returns)


def _lines(chunks: Iterable[bytes], options: ListOptions) -> Iterator[str]:
    decoder = Decoder(chunks, options.encoding, otherwise=options.otherwise)
    return split_lines(decoder.texts())


def _read_json(lines: Iterator[str], again: Iterator[str] | None) -> CsvTable:
    remarks = Remarks()
    sample, others, members = rows_and_members(lines, again, remarks, SAMPLE_ROWS)

    def cells(row: Row) -> list[str]:
        return [cell_text(row.get(name)) for name in members]

    rows = map(cells, chain(sample, others))
    titles = tuple(cell_text(name) for name in members)
    first = [cells(row) for row in sample[:SAMPLE_ROWS]]
    return CsvTable(titles, first, rows, has_header=True, remarks=remarks)


def _first_lines(lines: Iterator[str]) -> list[str]:
    """The lines until the first that is not blank."""
    head = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    return head


def _line_end(line: str) -> str:
    return next((end for end in ("\r\n", "\r", "\n") if line.endswith(end)), "\n")


def _address_list(table: CsvTable, column: str | None, shape: Shape) -> AddressList:
    if not table.headers:
        return AddressList((), iter(()), shape=shape, remarks=table.remarks)
    if column is None and not table.has_header and table.width == 1:
        return AddressList((), _lines_of_addresses(table.rows), shape=shape, remarks=table.remarks)
    at = find_column(table, column)
    counts, _ = count_addresses(table.width, table.sample)
    others = tuple(title for n, title in enumerate(table.headers) if counts[n] and n != at)
    entries = _entries(table.rows, at, table.headers, table.delimiter)
    return AddressList(table.headers, entries, at, others, shape, table.remarks)


def _lines_of_addresses(rows: Iterable[Sequence[str]]) -> Iterator[BatchEntry]:
    """An entry for each address of a list with one column; a line may have several."""
    for (cell,) in rows:
        if cell.startswith("#"):
            yield BatchEntry("", (cell,))
            continue
        found = split_addresses(cell)
        # what stands around several addresses is kept unless each is all that its part is
        several = len(found) > 1 and cell.count("@") == len(found)
        alone = found[0] == cell or several or len(cell) > MAX_SPLIT_CHARACTERS
        yield from (BatchEntry(text, () if alone else (cell,)) for text in found)


def _entries(
    rows: Iterable[Sequence[str]], at: int, headers: Sequence[str], delimiter: str
) -> Iterator[BatchEntry]:
    width = len(headers)
    for row in rows:
        cells = (*row, *("",) * (width - len(row)))
        if len(cells) > width:  # nothing of a row that is too long may be lost
            cells = (*cells[: width - 1], delimiter.join(cells[width - 1 :]))
        found = _split(cells[at], headers)
        for text in found:
            yield BatchEntry(text, (text,) if width == 1 < len(found) else cells)


def _split(cell: str, headers: Sequence[str]) -> Sequence[str]:
    """The addresses of a cell, each of which repeats the cells of its row."""
    if len(headers) > 1 and len(cell) > MAX_SPLIT_CHARACTERS:
        return (cell.strip(),)
    return split_addresses(cell)
