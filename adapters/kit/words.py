"""Values as vendors write them: booleans, texts, dates, names of hosts, ids of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from engine.model import MxHost

MAX_JOB_ID_CHARACTERS = 200


def parse_flag(value: object) -> bool | None:
    """A tri-state that came as a boolean, a number or text; None for anything else."""
    return _FLAG_WORDS.get(str(value).strip().lower())


_FLAG_WORDS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


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
    """Mail hosts from names alone, best first; their place stands in for the preference."""
    hosts = (name.strip().rstrip(".").lower() for name in names if isinstance(name, str))
    return tuple(MxHost(host, place) for place, host in enumerate(filter(None, hosts)))


def first_job_id(*found: object) -> str | None:
    """The first that can be a job's id: a text that is not too long, or a whole number."""
    for value in found:
        text = str(value) if type(value) is int else text_or_none(value)
        if text is not None and len(text) <= MAX_JOB_ID_CHARACTERS:
            return text
    return None


def path_segment(job_id: str) -> str:
    """An id as one segment of a path: it is the vendor's text, and may be anything."""
    return quote(job_id, safe="")
