"""JSON from outside, which may be nested as deeply as its author likes. Pure."""

from __future__ import annotations

from typing import Any

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Before the JSON of .NET and PowerShell. A reader may ignore it (RFC 8259, section 8.1)."""

MAX_DEPTH = 64
"""Arrays and objects inside each other. No vendor's or client's JSON has more than ten; Python
raises RecursionError where it shows or writes a value that has some hundreds."""


def parse_json(data: bytes) -> Any:
    """The value. Raises ValueError for what is not JSON, and for what is nested too deeply."""
    value = orjson.loads(data.removeprefix(BYTE_ORDER_MARK))
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_nested_too_deeply(value):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    return value


def is_nested_too_deeply(value: object) -> bool:
    """Whether a JSON value has more than `MAX_DEPTH` levels."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return bool(level)


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """An object without members that are null, also in objects inside it, but not in arrays."""
    if None not in value.values() and not any(type(inner) is dict for inner in value.values()):
        return value
    return {
        name: without_nulls(inner) if type(inner) is dict else inner
        for name, inner in value.items()
        if inner is not None
    }
