"""Reads lists of addresses from files. Raises CommandError if a file is not such a list."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from adapters.contract.batch_rules import MAX_ENTRY_CHARACTERS
from adapters.contract.jobs import BatchEntry
from adapters.kit.csv_rows import Remarks
from adapters.kit.decoding import NotCsv, WrongEncoding
from adapters.kit.list_file import AddressList, ListOptions, NoColumn
from adapters.kit.list_file import read_list as read_chunks
from gateway.cli.terminal import EXIT_USAGE, CommandError, print_error

CHUNK_BYTES = 65_536
MAX_CELLS = 16_384
"""Columns that a spreadsheet can have."""
TITLED_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv"})
"""Of tables: the first line of a list with one column is its title, even an unknown one."""
STANDARD_INPUT = "standard input"


def read_list(
    name: str,
    open_chunks: Callable[[], Iterable[bytes]],
    *,
    column: str | None = None,
    encoding: str | None = None,
    is_stream: bool = False,
) -> AddressList:
    """`column` is the title or the number of the address column, None to find it.

    An entry that is too long for an address is cut; its row keeps all of it.
    """
    options = ListOptions(
        column=column,
        encoding=encoding,
        titled=Path(name).suffix.lower() in TITLED_SUFFIXES,
        is_stream=is_stream,
        max_cells=MAX_CELLS,
    )
    shown = STANDARD_INPUT if name == "-" else name
    try:
        found = read_chunks(open_chunks, options)
    except NotCsv as exc:
        raise _refusal(shown, exc, column) from exc
    return AddressList(
        found.headers,
        _checked_entries(shown, found.entries),
        found.email_at,
        found.other_columns,
        found.shape,
        found.remarks,
    )


def file_chunks(file: BinaryIO) -> Callable[[], Iterator[bytes]]:
    """Opens the file at its start, as often as wanted at the same time."""

    def chunks() -> Iterator[bytes]:
        at = 0
        while True:
            file.seek(at)
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                return
            at += len(chunk)
            yield chunk

    return chunks


def check_encoding(name: str | None) -> str | None:
    """The name of an encoding of texts. Raises CommandError for any other."""
    if name is None:
        return None
    try:
        info = codecs.lookup(name)
        codecs.getincrementaldecoder(name)
        "".encode(name)  # refuses encodings of bytes, such as base64
    except LookupError as exc:
        raise CommandError(
            f"--encoding: {name!r} is not known; common ones are utf-8, utf-16, cp1252 (Windows),"
            " mac-roman, cp932 (Japanese), gb18030 (Chinese)",
            EXIT_USAGE,
        ) from exc
    return info.name


def print_remarks(name: str, remarks: Remarks) -> None:
    """Print what was done to read a list."""
    shown = STANDARD_INPUT if name == "-" else name
    for line, text in remarks.first:
        print_error(f"{shown}: line {line}: {text}")
    if (more := remarks.count - len(remarks.first)) > 0:
        print_error(f"{shown}: and {more:,} more of this kind")


def column_words(headers: Sequence[str], email_at: int, others: Sequence[str]) -> str:
    """Where the addresses were taken from; empty for a list of addresses alone."""
    if not headers:
        return ""
    also = f" (also in {', '.join(map(repr, others))})" if others else ""
    return f"addresses from column {headers[email_at]!r}{also}"


def _checked_entries(name: str, entries: Iterator[BatchEntry]) -> Iterator[BatchEntry]:
    try:
        for entry in entries:
            if len(entry.email) > MAX_ENTRY_CHARACTERS:
                cells = entry.cells or (entry.email,)
                entry = BatchEntry(entry.email[:MAX_ENTRY_CHARACTERS], cells)
            yield entry
    except NotCsv as exc:
        raise _refusal(name, exc) from exc


def _refusal(name: str, exc: NotCsv, column: str | None = None) -> CommandError:
    where = "" if exc.line is None else f"line {exc.line} "
    advice = ""
    if isinstance(exc, WrongEncoding):
        advice = (
            "; save it as “CSV UTF-8”, or name its encoding, such as --encoding cp1252"
            " (Windows) or mac-roman"
        )
    elif isinstance(exc, NoColumn) and column is None:
        advice = "; name one with --column"
    return CommandError(f"{name}: {where}{exc}{advice}", EXIT_USAGE)
