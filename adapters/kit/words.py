"""Values as vendors read and write them: booleans, numbers, texts, dates, ids, words of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar, overload
from urllib.parse import quote

from adapters.contract.batch_rules import IdSource
from engine.model import MxHost, Reason, Verdict, Verification

MAX_JOB_ID_CHARACTERS = 200
MAX_INTEGER_DIGITS = 18
"""So that it fits into 64 bits."""

T = TypeVar("T")

# -- reading ------------------------------------------------------------------------------


@overload
def parse_bool(value: object) -> bool | None: ...
@overload
def parse_bool(value: object, default: bool) -> bool: ...
def parse_bool(value: object, default: bool | None = None) -> bool | None:
    """A boolean that came as one, as 0 or 1, or as text in any case; else the default."""
    return _BOOLS.get(str(value).strip().lower(), default)


_BOOLS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


def parse_integer(value: object) -> int | None:
    """A whole number, or text of digits; None for anything else, booleans included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) else ""
    return int(text) if is_digits(text) else None


def is_digits(text: str) -> bool:
    """Whether a text is a whole number in ASCII digits, and not too long."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_INTEGER_DIGITS


def clamped_integer(value: object, default: int, lowest: int, highest: int) -> int:
    """A number or its text, moved into its bounds; the default for anything else."""
    try:
        wanted = int(str(value))
    except ValueError:
        return default
    return min(max(wanted, lowest), highest)


def text_or_none(value: object) -> str | None:
    """A non-empty text."""
    return value.strip() or None if isinstance(value, str) else None


def datetime_or_none(value: object) -> datetime | None:
    """An ISO 8601 date with a zone, in UTC."""
    try:
        moment = datetime.fromisoformat(str(value))
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def parse_mx_hosts(*names: object) -> tuple[MxHost, ...]:
    """Mail hosts from names alone, the preferred first; their position is their preference."""
    hosts = (name.strip().rstrip(".").lower() for name in names if isinstance(name, str))
    return tuple(MxHost(host, position) for position, host in enumerate(filter(None, hosts)))


def first_job_id(*values: object) -> str | None:
    """The first that can be a job's id: a text that is not too long, or a whole number."""
    for value in values:
        text = str(value) if type(value) is int else text_or_none(value)
        if text is not None and len(text) <= MAX_JOB_ID_CHARACTERS:
            return text
    return None


# -- writing ------------------------------------------------------------------------------


def bool_word(value: bool) -> str:
    return "true" if value else "false"


def utc_millis(at: datetime) -> str:
    """`2026-05-15T10:30:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def word_for(
    v: Verification,
    words: Mapping[Verdict, Mapping[Reason, T]],
    fallbacks: Mapping[Verdict, T],
) -> T:
    """The word for a verdict and its reason; the verdict's fallback for a reason without one."""
    return words[v.verdict].get(v.reason, fallbacks[v.verdict])


def clamped_score(v: Verification, ranges: Mapping[Verdict, tuple[int, int]]) -> int:
    """The score, moved into the range of its verdict (lowest, highest)."""
    lowest, highest = ranges[v.verdict]
    return min(max(v.score, lowest), highest)


def bearer(key: str) -> dict[str, str]:
    """The header `Authorization: Bearer …` (RFC 6750)."""
    return {"authorization": f"Bearer {key}"}


def path_segment(job_id: str) -> str:
    """An id as one segment of a path: it is the vendor's text, and may be anything."""
    return quote(job_id, safe="")


def random_id(alphabet: str, length: int) -> Callable[[IdSource], str]:
    """For `BatchRules.new_id`: `length` characters drawn from an alphabet."""

    def new_id(source: IdSource) -> str:
        return "".join(alphabet[source.random_below(len(alphabet))] for _ in range(length))

    return new_id
