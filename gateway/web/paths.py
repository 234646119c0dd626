"""Our own paths: numbers in them, a slash at their end, and the methods that they have."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

MAX_DIGITS = 10
"""Of a number in a path; Python reads no 5,000."""
MAX_ID = 2**31 - 1
"""Of the database's columns for them; PostgreSQL refuses to compare one with a larger number."""


class _Number(Convertor[int]):
    """As Starlette's `int`, which has no limit, so that a long number is a 500."""

    regex = f"[0-9]{{1,{MAX_DIGITS}}}"

    def convert(self, value: str) -> int:
        return min(int(value), MAX_ID)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())
"""For the paths of routes: `/batches/{id:number}`."""


def without_last_slash(path: str) -> str:
    """The path as routes have it. Starlette would redirect, to whatever host the request names."""
    return path.rstrip("/") or "/"


def allowed_methods(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """What `Allow` says of a path (RFC 9110, section 10.2.1); of Starlette's routes, one answers,
    and it knows its own methods alone."""
    found = {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return ", ".join(sorted(found))
