"""Values in requests and replies: booleans, numbers, texts, dates, ids, and words from tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isnan
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
    """A boolean, 0 or 1, or the text of one in any case; the default for anything else.

    PHP writes a boolean as 1 or 0, Lua a number as 1.0.
    """
    return _BOOLS.get(str(value).strip().lower(), default)


_BOOLS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "1.0"), True),
    **dict.fromkeys(("false", "0", "0.0"), False),
}


def parse_integer(value: object) -> int | None:
    """An integer, a number without a fraction (`5.0`), or the text of one; None for anything else,
    booleans included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 10**MAX_INTEGER_DIGITS else None
    text = value.strip() if isinstance(value, str) else ""
    digits, point, fraction = text.partition(".")
    if point and (not fraction or fraction.strip("0")):
        return None
    return int(digits) if is_digits(digits) else None


def is_digits(text: str) -> bool:
    """Whether a text has only ASCII digits, and not too many."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_INTEGER_DIGITS


def clamped_integer(value: object, default: int, lowest: int, highest: int) -> int:
    """A number or its text, without its fraction and clamped; the default for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        wanted = float(value)
    except (ValueError, OverflowError):
        return default
    return default if isnan(wanted) else int(min(max(wanted, lowest), highest))


def text_or_none(value: object) -> str | None:
    """The text without surrounding blanks; None if it is empty or not a text."""
    return value.strip() or None if isinstance(value, str) else None


def datetime_or_none(value: object) -> datetime | None:
    """An ISO 8601 date and time with a zone, in UTC; None for anything else."""
    try:
        moment = datetime.fromisoformat(str(value))
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def parse_mx_hosts(*names: object) -> tuple[MxHost, ...]:
    """Mail hosts from names in the order of preference; the position becomes the preference."""
    hosts = (name.strip().rstrip(".").lower() for name in names if isinstance(name, str))
    return tuple(MxHost(host, position) for position, host in enumerate(filter(None, hosts)))


def first_job_id(*values: object) -> str | None:
    """The first value that can be the id of a job: an integer, or a text that is not too long."""
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
    """The word for the reason among those of its verdict; the verdict's fallback without one."""
    return words[v.verdict].get(v.reason, fallbacks[v.verdict])


def clamped_score(v: Verification, ranges: Mapping[Verdict, tuple[int, int]]) -> int:
    """The score, clamped to the range (lowest, highest) of its verdict."""
    lowest, highest = ranges[v.verdict]
    return min(max(v.score, lowest), highest)


def bearer(key: str) -> dict[str, str]:
    """The header `Authorization: Bearer …` (RFC 6750)."""
    return {"authorization": f"Bearer {key}"}


def path_segment(job_id: str) -> str:
    """An id of a vendor, which may be any text, as one segment of a path."""
    return quote(job_id, safe="")


def random_id(alphabet: str, length: int) -> Callable[[IdSource], str]:
    """For `BatchRules.new_id`: `length` characters drawn from an alphabet."""

    def new_id(source: IdSource) -> str:
        return "".join(alphabet[source.random_below(len(alphabet))] for _ in range(length))

    return new_id
