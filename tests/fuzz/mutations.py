"""Changes of an input that keep most of it: of its bytes, of its lines, and of JSON in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MAX_GROWTH = 4_000
"""Bytes that one change may add."""

TOKENS: tuple[bytes, ...] = (
    b"\0", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b'"', b"'", b"\\", b",", b";", b":", b"/",
    b"@", b"%", b"%00", b"%zz", b"&", b"=", b"?", b"#", b"{", b"[", b"]", b"}", b"<", b">", b"-",
    b"--", b".", b"..", b"\xff", b"\xc0\x0c", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8", b"0", b"-1", b"1e999", b"9" * 40, b"null", b"true", b"NaN", b"\\ud800",
    b"&#x0;", b"450 ", b"421-", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"filename=", b"name=", b"boundary=",
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**18, -(10**30), 1e300, "", " ", "0", "true", "yes", "x" * 500,
    "\ud83d", "a@example.com", "2026-02-30T25:61:00Z", [], {}, [[]], [None], {"": None},
)  # fmt: skip

_DEEP = "nested deeply"
"""Stands for a value that the JSON module would not write."""


def mutate(data: bytes, random: Random) -> bytes:
    """The input with one to four changes."""
    for _ in range(random.randint(1, 4)):
        change = random.choice(CHANGES)
        data = change(data, random)
    return data


def _flip(data: bytes, random: Random) -> bytes:
    at = random.randrange(max(len(data), 1))
    return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]


def _insert(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(TOKENS) + data[at:]


def _replace(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + random.choice(TOKENS) + data[end:]


def _delete(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    times = min(random.choice((2, 3, 20, 400)), MAX_GROWTH // max(end - start, 1))
    return data[:end] + data[start:end] * times + data[end:]


def _move(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    at = random.randint(0, len(data))
    return data[:at] + data[start:end] + data[at:]


def _swap_lines(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _change_json(data: bytes, random: Random) -> bytes:
    """Another value, or one value less, in JSON at the end of the input."""
    start = min((at for at in (data.find(b"{"), data.find(b"[")) if at >= 0), default=-1)
    try:
        value = json.loads(data[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        return _flip(data, random)
    places = list(_places_in(value))
    if not places:
        return _insert(data, random)
    holder, key = random.choice(places)
    match random.randrange(4):
        case 0:
            del holder[key]
        case 1:
            holder[key] = _DEEP
        case 2:
            other_holder, other_key = random.choice(places)
            holder[key] = json.loads(json.dumps(other_holder[other_key]))
        case _:
            holder[key] = random.choice(VALUES)
    try:
        text = json.dumps(value)
    except RecursionError:
        return data
    depth = random.choice((2, 300, 1_000))
    left, right = random.choice((("[", "]"), ('{"a":', "}")))
    text = text.replace(f'"{_DEEP}"', left * depth + "1" + right * depth)
    return data[:start] + text.encode("utf-8", "replace")


def _places_in(value: Any) -> Sequence[tuple[Any, Any]]:
    """Every value in a JSON document, by what holds it and where; not very deep ones."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < 2_000:
        holder = waiting.pop()
        keys = (
            list(holder)
            if isinstance(holder, dict)
            else range(len(holder) if isinstance(holder, list) else 0)
        )
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 2, 5, 30, 200)))


CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip, _insert, _replace, _delete, _repeat, _move, _swap_lines, _change_json, _change_json,
)  # fmt: skip
