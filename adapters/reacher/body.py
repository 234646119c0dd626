"""Request bodies, and what the server's parser says of those that it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import JSON, WireRequest
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
    if name not in members:
        detail = f"missing field `{name}` at {_end(request)}"
        raise Problem(ProblemKind.MISSING, detail, name)
    value = members[name]
    if not isinstance(value, kind):
        raise wrong_type(request, value, name, EXPECTED[kind])
    return value


def wrong_type(request: WireRequest, value: object, name: str, expected: str) -> Problem:
    detail = f"invalid type: {_described(value)}, expected {expected} at {_end(request)}"
    return Problem(ProblemKind.INVALID, detail, name)


EXPECTED: Mapping[type, str] = {str: "a string", list: "a sequence", dict: "a map"}


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
