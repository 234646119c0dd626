"""Lists of addresses in files: CSV, one address a line, or JSON lines.

Rows are read one by one, so that a file may be as long as it likes. Raises Refusal for what
is no list.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from adapters.contract.jobs import MAX_ENTRY_CHARACTERS, Entry
from gateway.cli.terminal import USAGE, Refusal

MAX_LINE_BYTES = 1_000_000
LOOKED_AT = 1_000
"""Rows looked at to find the column with the addresses."""
EMAIL_NAMES = ("email", "e-mail", "email address", "e-mail address", "emailaddress", "mail")
DELIMITERS = ",;\t|"


class Form(StrEnum):
    """How a list is written."""

    CSV = "csv"
    TXT = "txt"
    JSONL = "jsonl"


SUFFIXES = {
    ".csv": Form.CSV,
    ".tsv": Form.CSV,
    ".txt": Form.TXT,
    ".jsonl": Form.JSONL,
    ".ndjson": Form.JSONL,
    ".json": Form.JSONL,
}


@dataclass(frozen=True, slots=True)
class AddressList:
    """A list, its rows still to be read."""

    form: Form
    headers: tuple[str, ...]
    """Of the cells; empty if there are only addresses."""
    entries: Iterator[Entry]


def form_of(name: str, first_line: str) -> Form:
    """By the name's suffix, else by what the list begins with."""
    if form := SUFFIXES.get(Path(name).suffix.lower()):
        return form
    if first_line.lstrip("\ufeff \t").startswith("{"):
        return Form.JSONL
    return Form.CSV if any(mark in first_line for mark in DELIMITERS) else Form.TXT


def read_list(name: str, file: BinaryIO, column: str | None) -> AddressList:
    """`column` names the one with the addresses; None finds it. `file` is open from its start."""
    lines = _lines(name, file)
    first = next(lines, "")
    form = form_of(name, first)
    lines = chain([first.removeprefix("\ufeff")], lines)
    if form is Form.JSONL:
        return _json_lines(name, lines, column)
    if form is Form.TXT:
        return AddressList(form, (), _plain(name, lines))
    return _csv(name, lines, column)


def _lines(name: str, file: BinaryIO) -> Iterator[str]:
    """Lines, bounded; whatever is not UTF-8 text is refused."""
    number = 0
    while True:
        try:
            raw = file.readline(MAX_LINE_BYTES + 1)
        except OSError as exc:
            raise Refusal(f"{name}: cannot read: {exc.strerror}") from exc
        if not raw:
            return
        number += 1
        if number == 1 and raw.startswith(b"PK\x03\x04"):
            raise Refusal(f"{name}: is a ZIP or Excel file; save the sheet as CSV", USAGE)
        if len(raw) > MAX_LINE_BYTES:
            raise Refusal(f"{name}: line {number} is too long", USAGE)
        if b"\0" in raw:
            raise Refusal(f"{name}: line {number} is not text", USAGE)
        try:
            yield raw.decode()
        except UnicodeDecodeError as exc:
            raise Refusal(f"{name}: line {number} is not UTF-8 text", USAGE) from exc


def _entry(name: str, email: str, cells: tuple[str, ...] = ()) -> Entry:
    if len(email) > MAX_ENTRY_CHARACTERS:
        raise Refusal(f"{name}: {email[:40]}… is too long for an address", USAGE)
    return Entry(email, cells)


def _plain(name: str, lines: Iterator[str]) -> Iterator[Entry]:
    for line in lines:
        if email := line.strip():
            yield _entry(name, email)


def _csv(name: str, lines: Iterator[str], column: str | None) -> AddressList:
    first = next(lines, "")
    delimiter = max(DELIMITERS, key=first.count)
    rows = _csv_rows(name, chain([first], lines), delimiter)
    head = list(islice(rows, LOOKED_AT))
    if not head:
        return AddressList(Form.CSV, (), iter(()))
    width = max(map(len, head))
    titles = [cell.strip() for cell in head[0]]
    if any("@" in cell for cell in titles):
        headers = [f"col{i}" for i in range(width)]
    else:
        headers = titles + [f"col{i}" for i in range(len(titles), width)]
        head = head[1:]
    place = _column(name, headers, head, column)
    return AddressList(
        Form.CSV, tuple(headers), _csv_entries(name, chain(head, rows), place, width)
    )


def _csv_rows(name: str, lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield row
    except csv.Error as exc:
        raise Refusal(f"{name}: line {reader.line_num}: {exc}", USAGE) from exc


def _csv_entries(name: str, rows: Iterator[list[str]], place: int, width: int) -> Iterator[Entry]:
    for row in rows:
        cells = (*row, *("",) * (width - len(row)))[:width]
        # a row without an address keeps its line in the result
        yield _entry(name, cells[place].strip(), cells)


def _column(
    name: str, headers: Sequence[str], rows: Sequence[Sequence[str]], wanted: str | None
) -> int:
    names = [header.strip().lower() for header in headers]
    if wanted is not None:
        if wanted.strip().lower() not in names:
            known = ", ".join(headers)
            raise Refusal(f"{name}: there is no column {wanted!r}; there are {known}", USAGE)
        return names.index(wanted.strip().lower())
    for known_name in EMAIL_NAMES:
        if known_name in names:
            return names.index(known_name)
    counts = [0] * len(names)
    for row in rows:
        for place, cell in enumerate(row[: len(names)]):
            counts[place] += "@" in cell
    best = max(counts, default=0)
    if not best:
        raise Refusal(f"{name}: no column has addresses in it; name it with --column", USAGE)
    return counts.index(best)


def _json_lines(name: str, lines: Iterator[str], column: str | None) -> AddressList:
    objects = _objects(name, lines)
    head = list(islice(objects, LOOKED_AT))
    headers: dict[str, None] = {}
    for row in head:
        headers.update(dict.fromkeys(row))
    titles = list(headers)
    if not titles:
        return AddressList(Form.JSONL, (), iter(()))
    rows = [[_text(row.get(title)) for title in titles] for row in head]
    place = _column(name, titles, rows, column)

    def entries() -> Iterator[Entry]:
        for row in chain(head, objects):
            cells = tuple(_text(row.get(title)) for title in titles)
            yield _entry(name, cells[place].strip(), cells)

    return AddressList(Form.JSONL, tuple(titles), entries())


def _objects(name: str, lines: Iterator[str]) -> Iterator[dict[str, object]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as exc:
            raise Refusal(f"{name}: line {number} is not JSON", USAGE) from exc
        if isinstance(value, str):
            value = {"email": value}
        if not isinstance(value, dict):
            raise Refusal(f"{name}: line {number} is neither a JSON object nor a text", USAGE)
        yield value


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
