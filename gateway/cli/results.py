"""Writers of verified lists: the list's own columns, and the results."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import orjson

from adapters.contract.jobs import JobRow
from adapters.kit.csv import csv_cell, neutralise_formula
from adapters.kit.json_list import unique_titles
from adapters.kit.list_file import Shape, split_note
from engine.model import Verification
from gateway.verdicts.as_json import verification_as_dict
from gateway.verdicts.owners import with_guessed_person

COLUMNS: Mapping[str, Callable[[Verification], object]] = {
    "verdict": lambda v: v.verdict,
    "reason": lambda v: v.reason,
    "score": lambda v: v.score,
    "did_you_mean": lambda v: v.evidence.did_you_mean,
    "catch_all": lambda v: v.evidence.catch_all,
    "disposable": lambda v: v.evidence.disposable,
    "role": lambda v: v.evidence.role,
    "free": lambda v: v.evidence.free,
    "mailbox_full": lambda v: v.evidence.mailbox_full,
    "provider": lambda v: v.evidence.provider,
    "mx": lambda v: v.evidence.mx_host,
    "smtp_code": lambda v: v.evidence.smtp.code if v.evidence.smtp else None,
    "verified_at": lambda v: v.verified_at.isoformat(timespec="seconds"),
    "address": lambda v: v.address.raw,
}
"""The columns that a CSV file has after the list's own, and `error` after them."""
ERROR_COLUMN = "error"
NO_ADDRESS = "There is no address in this row."


class OutputFormat(StrEnum):
    """A format of the output."""

    CSV = "csv"
    JSONL = "jsonl"


class Writer(Protocol):
    """Renders a verified list."""

    @property
    def header(self) -> bytes: ...

    def render_row(self, row: JobRow) -> bytes: ...


class _Rows:
    """What both formats say of a row."""

    def __init__(self, headers: Sequence[str], email_at: int) -> None:
        self.headers = tuple(headers) or ("email",)
        self._email_at = email_at

    def cells(self, row: JobRow) -> Sequence[str]:
        """The list's own cells."""
        return row.cells or (row.email,)

    def error(self, row: JobRow) -> str:
        """What is wrong with the address, or with its cell."""
        if not row.email:
            return NO_ADDRESS
        return row.verification.address.error or split_note(
            self.cells(row)[self._email_at], self.headers
        )


class CsvWriter(_Rows):
    """Writes a line for each row, with the list's own columns first.

    A row without an address has empty results, and says so in `error`.
    """

    def __init__(
        self, headers: Sequence[str], email_at: int, shape: Shape, *, raw: bool = False
    ) -> None:
        """`shape` is that of the list; `raw`: leave cells that a spreadsheet would run."""
        super().__init__(headers, email_at)
        self._raw = raw
        self._line = io.StringIO()
        # each write belongs to one stream, so only the first has the mark
        self._encoding = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(
            shape.encoding, shape.encoding
        )
        self._mark = b"" if self._encoding == shape.encoding else "\ufeff".encode(self._encoding)
        self._csv = csv.writer(self._line, delimiter=shape.delimiter, lineterminator=shape.line_end)

    @property
    def header(self) -> bytes:
        taken = {header.strip().lower() for header in self.headers}
        # a list that was verified before has these columns
        ours = [f"veriplex_{name}" if name in taken else name for name in (*COLUMNS, ERROR_COLUMN)]
        given = len(self.headers)
        return self._mark + self._render(
            (*self.headers, *unique_titles([*self.headers, *ours])[given:])
        )

    def render_row(self, row: JobRow) -> bytes:
        found = (csv_cell(show(row.verification)) for show in COLUMNS.values())
        if not row.email:
            found = ("" for _ in COLUMNS)
        return self._render((*self.cells(row), *found, self.error(row)))

    def _render(self, cells: Iterable[str]) -> bytes:
        self._csv.writerow(cells if self._raw else map(neutralise_formula, cells))
        text = self._line.getvalue()
        self._line.seek(0)
        self._line.truncate()
        return text.encode(self._encoding, "backslashreplace")


class JsonWriter(_Rows):
    """Writes a JSON object for each row: the internal model, and the list's columns as `row`.

    Verdict, reason and score of a row without an address are null.
    """

    header = b""

    def __init__(
        self, headers: Sequence[str], email_at: int, shape: Shape, *, raw: bool = False
    ) -> None:
        """`shape` and `raw` change nothing: JSON is UTF-8, and no program runs it."""
        super().__init__(headers, email_at)
        self._titles = unique_titles(self.headers)

    def render_row(self, row: JobRow) -> bytes:
        fields: dict[str, Any] = verification_as_dict(with_guessed_person(row.verification))
        if not row.email:
            fields |= {"verdict": None, "reason": None, "score": None}
        if row.cells:
            fields = {"row": dict(zip(self._titles, row.cells, strict=True)), **fields}
        return orjson.dumps({**fields, ERROR_COLUMN: self.error(row) or None}) + b"\n"


WRITERS: Mapping[OutputFormat, type[CsvWriter] | type[JsonWriter]] = {
    OutputFormat.CSV: CsvWriter,
    OutputFormat.JSONL: JsonWriter,
}
