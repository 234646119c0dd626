"""Writers of verified lists: the list's own columns, and the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import orjson

from adapters.contract.jobs import JobRow
from adapters.kit.csv import csv_cell, csv_line, neutralise_formula
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
}
"""The columns that a CSV file has after the list's own."""


class OutputFormat(StrEnum):
    """A format of the output."""

    CSV = "csv"
    JSONL = "jsonl"


class CsvWriter:
    """Writes a line for each row, with the list's own columns first."""

    def __init__(self, headers: Sequence[str], *, raw: bool = False) -> None:
        """`raw`: leave cells that a spreadsheet would run as a formula."""
        self._headers = tuple(headers) or ("email",)
        self._raw = raw

    @property
    def header(self) -> bytes:
        taken = {header.strip().lower() for header in self._headers}
        # a list that was verified before has these columns
        ours = (f"veriplex_{name}" if name in taken else name for name in COLUMNS)
        return self._line((*self._headers, *ours))

    def render_row(self, row: JobRow) -> bytes:
        found = (csv_cell(show(row.verification)) for show in COLUMNS.values())
        return self._line((*(row.cells or (row.email,)), *found))

    def _line(self, cells: Iterable[str]) -> bytes:
        return csv_line(cells if self._raw else map(neutralise_formula, cells))


class JsonWriter:
    """Writes a JSON object for each row: the internal model, and the list's columns as `row`."""

    header = b""

    def __init__(self, headers: Sequence[str], *, raw: bool = False) -> None:
        """`raw` changes nothing: no program runs JSON as a formula."""
        self._headers = tuple(headers)

    def render_row(self, row: JobRow) -> bytes:
        fields = verification_as_dict(with_guessed_person(row.verification))
        if row.cells:
            fields = {"row": dict(zip(self._headers, row.cells, strict=True)), **fields}
        return orjson.dumps(fields) + b"\n"


WRITERS: Mapping[OutputFormat, type[CsvWriter] | type[JsonWriter]] = {
    OutputFormat.CSV: CsvWriter,
    OutputFormat.JSONL: JsonWriter,
}
