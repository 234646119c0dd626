"""The line of the access log for people, and what of a path may stand in it. Pure.

15:40:30.289  GET /v1/verify  200  deliverable  local  95 ms  sign-up form  192.0.2.7
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.observability.printable import printable

MAX_PATH_CHARACTERS = 200
SHORT_LABEL_CHARACTERS = 12
"""Of a key's label, in a narrow terminal."""
LIKELY_KEY = re.compile(r"(?=[\w-]*\d)[\w-]{12,}|[\w-]{24,}")
"""A part of an unknown path that may be a key."""
PLAIN_WORD = re.compile(r"[\w.~-]*")
"""What may be shown of an unknown path; any other character may encode a part of a key."""
BATCH_ID = re.compile(r"[A-Za-z0-9-]{1,31}|[a-z0-9-]{36}")
"""No key has such a length without an underscore."""

GREEN, YELLOW, RED, DIM, RESET = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"

_AT = re.compile("@|%40", re.IGNORECASE)


def loggable_path(path: str, *, is_known: bool) -> str:
    """The path without mailboxes, and without what may be a key, however it is encoded.

    The ids of batches, which are in known paths, are no secrets.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        # the last part may be the beginning of a key
        path = f"{path[:MAX_PATH_CHARACTERS].rpartition('/')[0]}/…"
    return "/".join(_loggable_segment(segment, is_known) for segment in path.split("/"))


def _loggable_segment(segment: str, is_known: bool) -> str:
    *mailbox, rest = _AT.split(segment)
    if mailbox:
        return f"…@{_loggable_segment(rest, is_known)}"
    if is_known and BATCH_ID.fullmatch(segment):
        return segment
    if LIKELY_KEY.fullmatch(segment):
        return f"…{segment[-4:]}"
    return segment if PLAIN_WORD.fullmatch(segment) else "…"


def access_line(time: str, fields: Mapping[str, Any], *, width: int | None, colour: bool) -> str:
    """The line of one request; `width` is that of the terminal, None for a file."""
    parts = _parts(time, fields)
    if width is not None:
        for shorter in _shortenings(parts):
            if _length(parts) <= width:
                break
            parts = shorter
    words = [
        _coloured(name, text, fields) if colour else text for name, text in parts.items() if text
    ]
    line = "  ".join(words)
    if not (hint := printable(str(fields.get("hint", "")))):
        return line
    if width is None:
        return f"{line}  {hint}"
    return f"{line}\n  {YELLOW}{hint}{RESET}" if colour else f"{line}\n  {hint}"


def _parts(time: str, fields: Mapping[str, Any]) -> dict[str, str]:
    source = str(fields.get("source", ""))
    if str(fields.get("cache", "")).startswith("hit"):
        source = f"{source}, cached"
    milliseconds = float(fields.get("ms", 0.0))
    return {
        "time": time,
        "path": printable(f"{fields.get('method', '')} {fields.get('path', '')}").strip(),
        "status": str(fields.get("status", "")),
        "result": str(fields.get("problem") or fields.get("verdict", "")).replace("_", " "),
        "source": printable(source),
        "ms": f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms",
        "key": printable(str(fields.get("key", ""))),
        "client": printable(str(fields.get("client", ""))),
        "worker": f"worker={fields['worker']}" if "worker" in fields else "",
    }


def _shortenings(parts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The parts with less and less of what matters least."""
    left = dict(parts)
    for name, text in (
        ("time", left["time"].rpartition(".")[0] or left["time"]),
        ("key", _shortened(left["key"])),
        ("ms", ""),
        ("client", ""),
        ("worker", ""),
        ("source", ""),
        ("key", ""),
        ("time", ""),
    ):
        left = {**left, name: text}
        yield left


def _shortened(label: str) -> str:
    is_long = len(label) > SHORT_LABEL_CHARACTERS
    return f"{label[: SHORT_LABEL_CHARACTERS - 1]}…" if is_long else label


def _length(parts: Mapping[str, str]) -> int:
    return sum(len(text) + 2 for text in parts.values() if text) - 2


def _coloured(name: str, text: str, fields: Mapping[str, Any]) -> str:
    status = int(fields.get("status", 0))
    if name in ("time", "ms", "key", "client", "worker"):
        return f"{DIM}{text}{RESET}"
    if name == "status" or (name == "result" and fields.get("problem")):
        colour = GREEN if status < 400 else YELLOW if status < 500 else RED
        return f"{colour}{text}{RESET}"
    return text
