"""Reads outcomes from JSON, lines of JSON, or CSV. Pure."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.kit.csv import NotCsv
from adapters.kit.list_file import ListOptions, read_list
from engine.address.syntax import parse_address
from engine.smtp.reputation import redact
from gateway.outcomes.terms import MailOutcome, Outcome

MEMBERS = ("email", "outcome", "at", "code", "text")
MAX_REFUSED_SHOWN = 100
"""Refused rows that an answer names; it counts all."""
MAX_TEXT, MAX_CODE = 200, 16
MAX_ROWS = 100_000
MAX_AHEAD_S = 86_400
"""How far in the future an outcome may lie, for clocks that are wrong."""


class UnreadableOutcomes(ValueError):
    """The body is not a list of outcomes."""


class WrongRow(ValueError):
    """One row is not an outcome."""


@dataclass(slots=True)
class ReadOutcomes:
    """The outcomes of one body, and the rows that are none."""

    outcomes: list[MailOutcome] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    """The number of a row, from 1, and why it is refused."""
    refused_count: int = 0
    ignored: int = 0
    """Events that say nothing of what became of a mail."""

    def refuse(self, row: int, why: str) -> None:
        self.refused_count += 1
        if len(self.refused) < MAX_REFUSED_SHOWN:
            self.refused.append((row, why))


def read_outcomes(body: bytes, content_type: str, now: float) -> ReadOutcomes:
    """The outcomes of a body; a CSV's columns have the names of `MEMBERS`.

    `now` is Unix time: that of outcomes without `at`. Raises UnreadableOutcomes.
    """
    is_csv = content_type.partition(";")[0].strip().lower() == "text/csv"
    rows = _csv_rows(body) if is_csv else _json_rows(body)
    read = ReadOutcomes()
    number = 0
    for number, row in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise UnreadableOutcomes(f"Send at most {MAX_ROWS:,} outcomes at a time.")
        try:
            read.outcomes.append(read_row(row, now))
        except WrongRow as exc:
            read.refuse(number, str(exc))
    if not number:
        raise UnreadableOutcomes("The body has no outcome.")
    return read


def _json_rows(body: bytes) -> Iterator[Any]:
    """Of one object, of an array of objects, of `{"outcomes": […]}`, or of an object a line."""
    body = body.removeprefix(BOM_UTF8)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        yield from _lines(body)
        return
    if isinstance(found, dict) and isinstance(found.get("outcomes"), list):
        found = found["outcomes"]
    if isinstance(found, list):
        yield from found
    else:
        yield found


def _lines(body: bytes) -> Iterator[Any]:
    for number, line in enumerate(body.splitlines(), start=1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as exc:
                raise UnreadableOutcomes(
                    f"Line {number} is not JSON. For CSV, send Content-Type: text/csv."
                ) from exc


def _csv_rows(body: bytes) -> Iterator[Mapping[str, str]]:
    try:
        table = read_list(lambda: [body], ListOptions(column="email", titled=True))
        titles = [title.strip().lower() for title in table.headers]
        if "outcome" not in titles:
            raise UnreadableOutcomes("The CSV has no column `outcome`.")
        for entry in table.entries:
            yield dict(zip(titles, entry.cells, strict=False))
    except NotCsv as exc:
        raise UnreadableOutcomes(f"The body is not CSV with a column `email`: {exc}.") from exc


def read_row(row: Any, now: float) -> MailOutcome:
    """The outcome of one row with the members of `MEMBERS`. Raises WrongRow."""
    if not isinstance(row, Mapping):
        raise WrongRow("is not an object")
    email, word = row.get("email"), row.get("outcome")
    if not isinstance(email, str) or not email.strip():
        raise WrongRow("has no `email`")
    address = parse_address(email.strip())
    if not address.valid:
        raise WrongRow("`email` is not an address")
    try:
        outcome = Outcome(word.strip().lower() if isinstance(word, str) else "")
    except ValueError:
        raise WrongRow(f"`outcome` is one of {', '.join(Outcome)}") from None
    code, text = row.get("code") or "", row.get("text") or ""
    if not isinstance(code, str | int) or not isinstance(text, str):
        raise WrongRow("`code` and `text` are texts")
    return MailOutcome(
        address=address,
        outcome=outcome,
        at=_read_time(row.get("at"), now),
        code="".join(filter(str.isprintable, str(code)))[:MAX_CODE],
        text=(redact(text) or "")[:MAX_TEXT],
    )


def _read_time(value: Any, now: float) -> float:
    """Unix seconds, or a time of ISO 8601; without a zone it is UTC. Raises WrongRow.

    A time before 1970 is refused: no mail is that old, and the first hours of the year 1 with a
    zone lie before the first moment that a database takes.
    """
    if value in (None, ""):
        return now
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value is no time")
        if isinstance(value, str) and not value.strip().replace(".", "", 1).isdigit():
            moment = datetime.fromisoformat(value.strip())
            at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        else:
            at = datetime.fromtimestamp(float(value), UTC).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        raise WrongRow("`at` is a time of ISO 8601, or Unix seconds") from None
    if at > now + MAX_AHEAD_S:
        raise WrongRow("`at` is in the future")
    if at < 0:
        raise WrongRow("`at` is before 1970")
    return at
