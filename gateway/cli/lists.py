"""Reads lists of addresses from files: CSV, text with an address a line, or JSON lines.

Rows are read one by one, so that the length of a file is not limited. Raises CommandError if a
file is not such a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from adapters.contract.batch_rules import MAX_ENTRY_CHARACTERS
from adapters.contract.jobs import BatchEntry
from adapters.contract.json_values import is_nested_too_deeply
from adapters.kit.csv import SAMPLE_ROWS, CsvTable, NotCsv, find_email_column, fit_row, read_table
from gateway.cli.terminal import EXIT_USAGE, CommandError

MAX_LINE_BYTES = 1_000_000
DELIMITERS = ",;\t|"


class ListFormat(StrEnum):
    """The format of a list."""

    CSV = "csv"
    TXT = "txt"
    JSONL = "jsonl"


FORMATS_BY_SUFFIX = {
    ".csv": ListFormat.CSV,
    ".tsv": ListFormat.CSV,
    ".txt": ListFormat.TXT,
    ".jsonl": ListFormat.JSONL,
    ".ndjson": ListFormat.JSONL,
    ".json": ListFormat.JSONL,
}


@dataclass(frozen=True, slots=True)
class AddressList:
    """A list whose rows are still to be read."""

    format: ListFormat
    headers: tuple[str, ...]
    """Names of the cells; empty if there are only addresses."""
    entries: Iterator[BatchEntry]


def detect_format(name: str, first_line: str) -> ListFormat:
    """The format by the name's suffix, else by the first line."""
    if form := FORMATS_BY_SUFFIX.get(Path(name).suffix.lower()):
        return form
    if first_line.lstrip("\ufeff \t").startswith("{"):
        return ListFormat.JSONL
    return ListFormat.CSV if any(mark in first_line for mark in DELIMITERS) else ListFormat.TXT


def read_list(name: str, file: BinaryIO, column: str | None) -> AddressList:
    """`column` is the name of the address column, None to find it. `file` is at its start."""
    lines = _read_lines(name, file)
    first = next(lines, "")
    form = detect_format(name, first)
    lines = chain([first.removeprefix("\ufeff")], lines)
    if form is ListFormat.JSONL:
        return _read_json_lines(name, lines, column)
    if form is ListFormat.TXT:
        return AddressList(form, (), _read_plain(name, lines))
    return _read_csv(name, lines, column)


def _read_lines(name: str, file: BinaryIO) -> Iterator[str]:
    """Lines of limited length; anything but UTF-8 text is refused."""
    number = 0
    while True:
        try:
            raw = file.readline(MAX_LINE_BYTES + 1)
        except OSError as exc:
            raise CommandError(f"{name}: cannot read: {exc.strerror}") from exc
        if not raw:
            return
        number += 1
        if number == 1 and raw.startswith(b"PK\x03\x04"):
            raise CommandError(f"{name}: is a ZIP or Excel file; save the sheet as CSV", EXIT_USAGE)
        if len(raw) > MAX_LINE_BYTES:
            raise CommandError(f"{name}: line {number} is too long", EXIT_USAGE)
        if b"\0" in raw:
            raise CommandError(f"{name}: line {number} is not text", EXIT_USAGE)
        try:
            yield raw.decode()
        except UnicodeDecodeError as exc:
            raise CommandError(f"{name}: line {number} is not UTF-8 text", EXIT_USAGE) from exc


def _entry(name: str, email: str, cells: tuple[str, ...] = ()) -> BatchEntry:
    if len(email) > MAX_ENTRY_CHARACTERS:
        raise CommandError(f"{name}: {email[:40]}… is too long for an address", EXIT_USAGE)
    return BatchEntry(email, cells)


def _read_plain(name: str, lines: Iterator[str]) -> Iterator[BatchEntry]:
    for line in lines:
        if email := line.strip():
            yield _entry(name, email)


def _read_csv(name: str, lines: Iterator[str], column: str | None) -> AddressList:
    try:
        table = read_table(lines, delimiters=DELIMITERS)
    except NotCsv as exc:
        raise _not_csv(name, exc) from exc
    if not table.headers:
        return AddressList(ListFormat.CSV, (), iter(()))
    email_at = _find_column(name, table.headers, table.sample, column)
    return AddressList(ListFormat.CSV, table.headers, _csv_entries(name, table, email_at))


def _csv_entries(name: str, table: CsvTable, email_at: int) -> Iterator[BatchEntry]:
    try:
        for row in table.rows:
            cells = fit_row(row, table.width)
            # a row without an address stays in the result
            yield _entry(name, cells[email_at].strip(), cells)
    except NotCsv as exc:
        raise _not_csv(name, exc) from exc


def _not_csv(name: str, exc: NotCsv) -> CommandError:
    return CommandError(f"{name}: line {exc.line} {exc}", EXIT_USAGE)


def _find_column(
    name: str, headers: Sequence[str], rows: Sequence[Sequence[str]], wanted: str | None
) -> int:
    if wanted is not None:
        names = [header.strip().lower() for header in headers]
        if wanted.strip().lower() not in names:
            known = ", ".join(headers)
            raise CommandError(
                f"{name}: there is no column {wanted!r}; there are {known}", EXIT_USAGE
            )
        return names.index(wanted.strip().lower())
    found = find_email_column(headers, rows)
    if found is None:
        raise CommandError(
            f"{name}: no column has addresses in it; name it with --column", EXIT_USAGE
        )
    return found


def _read_json_lines(name: str, lines: Iterator[str], column: str | None) -> AddressList:
    objects = _read_objects(name, lines)
    head = list(islice(objects, SAMPLE_ROWS))
    headers: dict[str, None] = {}
    for row in head:
        headers.update(dict.fromkeys(row))
    titles = list(headers)
    if not titles:
        return AddressList(ListFormat.JSONL, (), iter(()))
    rows = [[_cell_text(row.get(title)) for title in titles] for row in head]
    place = _find_column(name, titles, rows, column)

    def entries() -> Iterator[BatchEntry]:
        for row in chain(head, objects):
            cells = tuple(_cell_text(row.get(title)) for title in titles)
            yield _entry(name, cells[place].strip(), cells)

    return AddressList(ListFormat.JSONL, tuple(titles), entries())


def _read_objects(name: str, lines: Iterator[str]) -> Iterator[dict[str, object]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise CommandError(f"{name}: line {number} is not JSON", EXIT_USAGE) from exc
        if is_nested_too_deeply(value):
            raise CommandError(f"{name}: line {number} is nested too deeply", EXIT_USAGE)
        if isinstance(value, str):
            value = {"email": value}
        if not isinstance(value, dict):
            raise CommandError(
                f"{name}: line {number} is neither a JSON object nor a text", EXIT_USAGE
            )
        yield value


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
