"""Request bodies, and what the server's parser says of those that it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import JSON, WireRequest
from adapters.kit.words import parse_integer
from adapters.reacher.problems import CHUNKED, NOT_JSON


def read_object(request: WireRequest) -> dict[str, Any]:
    """The body as a JSON object, without members that are null. Raises `Problem`.

    Without a content type it is taken for JSON; a length must be known.
    """
    if "transfer-encoding" in request.headers:
        raise Problem(ProblemKind.INVALID, word=CHUNKED)
    if request.content_type not in ("", JSON):
        raise Problem(ProblemKind.INVALID, word=NOT_JSON)
    return request.json_object


def required(request: WireRequest, members: dict[str, Any], name: str, kind: type) -> Any:
    """A member that must be there, of a type. Raises `Problem`."""
    value = present(request, members, name)
    if not isinstance(value, kind):
        raise wrong_type(request, value, name, EXPECTED[kind])
    return value


def present(request: WireRequest, members: Mapping[str, Any], name: str) -> Any:
    """A member that must be there. Raises `Problem`."""
    if members.get(name) is None:
        detail = f"missing field `{name}` at {_end(request)}"
        raise Problem(ProblemKind.MISSING, detail, name)
    return members[name]


def wrong_type(request: WireRequest, value: object, name: str, expected: str) -> Problem:
    detail = f"invalid type: {_described(value)}, expected {expected} at {_end(request)}"
    return Problem(ProblemKind.INVALID, detail, name)


U16_MAX = 2**16 - 1
VARIANTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "yahoo_verif_method": (("Api", "Headless", "Smtp"), "one of `Api`, `Headless`, `Smtp`"),
    "hotmailb2c_verif_method": (("Headless", "Smtp"), "`Headless` or `Smtp`"),
}
"""The words of members that have a few, and how the parser lists them."""


def check_settings(request: WireRequest, members: dict[str, Any]) -> None:
    """The types of the optional members of a check. Raises `Problem`."""
    for name in ("from_email", "hello_name"):
        optional(request, members, name, str)
    _integer(request, members, "smtp_port", "u16", U16_MAX)
    timeout = optional(request, members, "smtp_timeout", dict)
    if timeout is not None:
        for name, kind, most in (("secs", "u64", 2**64 - 1), ("nanos", "u32", 2**32 - 1)):
            present(request, timeout, name)
            _integer(request, timeout, name, kind, most)
    proxy = optional(request, members, "proxy", dict)
    if proxy is not None:
        required(request, proxy, "host", str)
        present(request, proxy, "port")
        _integer(request, proxy, "port", "u16", U16_MAX)
        for name in ("username", "password"):
            optional(request, proxy, name, str)
        _integer(request, proxy, "timeout_ms", "u64", 2**64 - 1)
    for name, (words, listed) in VARIANTS.items():
        word = optional(request, members, name, str)
        if word is not None and word not in words:
            detail = f"unknown variant `{word[:100]}`, expected {listed} at {_end(request)}"
            raise Problem(ProblemKind.INVALID, detail, name)


def optional(request: WireRequest, members: Mapping[str, Any], name: str, kind: type) -> Any:
    """A member of a type, None if it is absent or null. Raises `Problem`."""
    value = members.get(name)
    if value is not None and not isinstance(value, kind):
        raise wrong_type(request, value, name, EXPECTED[kind])
    return value


def _integer(
    request: WireRequest, members: Mapping[str, Any], name: str, kind: str, most: int
) -> None:
    """An unsigned integer. Unlike the server's parser it may be a text or have a fraction of 0, as
    clients in other languages send numbers everywhere: it has no effect."""
    value = members.get(name)
    if value is None:
        return
    number = None if isinstance(value, bool) else parse_integer(value)
    if number is None:
        raise wrong_type(request, value, name, kind)
    if not 0 <= number <= most:
        detail = f"invalid value: integer `{number}`, expected {kind} at {_end(request)}"
        raise Problem(ProblemKind.INVALID, detail, name)


EXPECTED: Mapping[type, str] = {
    int: "an integer",
    str: "a string",
    list: "a sequence",
    dict: "a map",
}


def _described(value: object) -> str:
    """A JSON value as the parser names it."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f"string {value[:100]!r}".replace("'", '"')
        case list():
            return "sequence"
        case _:
            return "map"


def _end(request: WireRequest) -> str:
    """Where the body ends, as the parser counts: it notices a missing member there."""
    body = request.body.rstrip()
    last_line = body.rpartition(b"\n")[2]
    line = body.count(b"\n") + 1
    return f"line {line} column {len(last_line)}"
