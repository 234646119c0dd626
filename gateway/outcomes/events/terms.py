"""What the readers of events have in common. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from adapters.contract import json_values
from gateway.outcomes.reading import ReadOutcomes, UnreadableOutcomes, WrongRow, read_row
from gateway.outcomes.replies import bounce_outcome, find_codes
from gateway.outcomes.terms import Outcome

MAX_EVENTS = 20_000
"""In one request; SendGrid, which sends many at a time, ends a request at 768 KB."""

_WORD = re.compile(r"[A-Za-z][A-Za-z_ ]{0,29}")

Row = Mapping[str, Any]
"""An outcome as `POST /veriplex/v1/outcomes` takes it."""
RowsOf = Callable[[Mapping[str, Any]], Iterator[Row]]
"""The outcomes of one event; none if it says nothing of what became of a mail. Raises WrongRow."""


class WrongSignature(Exception):
    """The request is not from the service, or not as it sent it."""


class TryAgainLater(Exception):
    """The signature cannot be checked now."""


class MissingExtra(Exception):
    """What checks signatures is not installed."""


INSTALL = "Checking these signatures needs the extra `outcomes`: pip install 'veriplex[outcomes]'"


def parse_json(body: bytes) -> Any:
    """Raises UnreadableOutcomes."""
    try:
        return json_values.parse_json(body)
    except ValueError as exc:
        raise UnreadableOutcomes(f"The body is not valid JSON: {exc}.") from exc


def read_events(events: Iterable[Any], rows_of: RowsOf, now: float) -> ReadOutcomes:
    """The outcomes of events; `now` is Unix time. Raises UnreadableOutcomes."""
    read = ReadOutcomes()
    for number, event in enumerate(events, start=1):
        if number > MAX_EVENTS:
            raise UnreadableOutcomes(f"A request has at most {MAX_EVENTS:,} events.")
        try:
            if not isinstance(event, Mapping):
                raise WrongRow("is not an object")
            found = [read_row(row, now) for row in rows_of(event)]
        except WrongRow as exc:
            read.refuse(number, str(exc))
            continue
        read.outcomes += found
        read.ignored += not found
    return read


def unknown(name: str, word: str) -> WrongRow:
    """The refusal of a word that is not in a table; it is shown only if it looks like a word."""
    shown = f"`{word}`, which" if _WORD.fullmatch(word) else "a word that"
    return WrongRow(f"`{name}` is {shown} is not known")


def text_of(members: Mapping[str, Any], name: str) -> str:
    """A member that is a text or a number; empty if it is none. Raises WrongRow."""
    value = members.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise WrongRow(f"`{name}` is not a text")
    return str(value)


def object_of(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Raises WrongRow."""
    value = members.get(name)
    if not isinstance(value, Mapping):
        raise WrongRow(f"`{name}` is not an object")
    return value


def objects_of(members: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Raises WrongRow."""
    for value in list_of(members, name):
        if not isinstance(value, Mapping):
            raise WrongRow(f"`{name}` has what is not an object")
        yield value


def list_of(members: Mapping[str, Any], name: str) -> list[Any]:
    """Raises WrongRow."""
    value = members.get(name)
    if not isinstance(value, list):
        raise WrongRow(f"`{name}` is not an array")
    return value


def bounce_row(email: str, at: Any, status: str, text: str, *, is_permanent: bool) -> Row:
    """A bounce, hard if its reply is about the address."""
    outcome = bounce_outcome(email, status, text, is_permanent=is_permanent)
    code, enhanced = find_codes(status, text)
    return row(email, outcome, at, enhanced or code, text)


def row(email: Any, outcome: Outcome, at: Any, code: str = "", text: str = "") -> Row:
    """Raises WrongRow without a time, since the event would count twice if it came twice."""
    if at in (None, ""):
        raise WrongRow("has no time")
    return {"email": email, "outcome": outcome.value, "at": at, "code": code, "text": text}
