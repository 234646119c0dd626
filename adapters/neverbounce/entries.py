"""The `input` of a new job: rows in any of the shapes that clients send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from adapters.contract.batch_rules import MAX_ENTRY_CHARACTERS
from adapters.contract.jobs import BatchEntry
from adapters.contract.problems import Problem, ProblemKind

EMAIL_NAMES = frozenset({"email", "e-mail", "email_address", "emailaddress", "mail"})
MAX_COLUMNS = 500
SAMPLE = 100
"""Rows that show which column has the addresses."""


def read_rows(value: object) -> tuple[tuple[str, ...], list[BatchEntry], int]:
    """The columns, the entries, and the number of the column with the addresses.

    Raises `Problem`.
    """
    rows = [_row(row) for row in _listed(value)]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        raise Problem(ProblemKind.MISSING, field="input")
    if len(columns) > MAX_COLUMNS:
        raise Problem(ProblemKind.TOO_MANY, field="input")
    at = _email_column(columns, rows)
    return columns, list(_entries(rows, columns, at)), at


def _listed(value: object) -> Sequence[object]:
    """The rows; one client writes a list as an object with the numbers as names."""
    if isinstance(value, dict):
        return [value[name] for name in sorted(value, key=_number_first)]
    if not isinstance(value, list):
        raise Problem(ProblemKind.INVALID, field="input")
    return value


def _number_first(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() and len(name) < 10 else 10**9, name)


def _row(row: object) -> Mapping[str, Any]:
    """A row by column; a positional one has numbers as names."""
    if isinstance(row, dict):
        return row
    if isinstance(row, list):
        return {str(place): cell for place, cell in enumerate(row)}
    return {"0": row}


def _email_column(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    for place, name in enumerate(columns):
        if name.strip().lower() in EMAIL_NAMES:
            return place
    sample = list(islice(rows, SAMPLE))
    found = [sum("@" in str(row.get(name, "")) for row in sample) for name in columns]
    return found.index(max(found))


def _entries(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], at: int
) -> Iterator[BatchEntry]:
    for row in rows:
        cells = tuple(_cell(row.get(name)) for name in columns)
        email = cells[at].strip()
        if len(email) > MAX_ENTRY_CHARACTERS:
            raise Problem(ProblemKind.INVALID, field="input")
        yield BatchEntry(email, cells)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, dict | list):
        raise Problem(ProblemKind.INVALID, field="input")
    return str(value)
