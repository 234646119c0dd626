"""Parameters, which may stand in the query, in a form and in JSON, with GET and POST alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest
from adapters.kit.words import clamped_integer, parse_bool, parse_integer

MAX_JOB_ID = 2**31 - 1


def params_of(request: WireRequest) -> Mapping[str, Any]:
    """All parameters; those of the body count, where the query has the same."""
    found = {**request.query, **request.fields}
    return {name: value for name, value in found.items() if value is not None}


def required(params: Mapping[str, Any], name: str) -> Any:
    """A parameter that must be there. Raises `Problem`."""
    value = params.get(name)
    if value is None or value in ("", [], {}):
        raise Problem(ProblemKind.MISSING, field=name)
    return value


def text_of(params: Mapping[str, Any], name: str) -> str:
    """A text without surrounding blanks, or that of a number; empty if it is missing.

    Raises `Problem` for a value of another type.
    """
    value = params.get(name, "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Problem(ProblemKind.INVALID, field=name)
    return str(value).strip()


def is_set(params: Mapping[str, Any], name: str) -> bool:
    """A switch: `1`, `true`; anything else is off."""
    return parse_bool(params.get(name), False)


def job_id_of(params: Mapping[str, Any]) -> str:
    """The id of a job, a number or the text of one. Raises `Problem`."""
    found = parse_integer(required(params, "job_id"))
    if found is None or not 0 <= found <= MAX_JOB_ID:
        raise Problem(ProblemKind.JOB_MALFORMED)
    return str(found)


def page_of(params: Mapping[str, Any]) -> tuple[int, int]:
    """The page, from 1, and the items on it."""
    page = clamped_integer(params.get("page"), 1, 1, 10**9)
    return page, clamped_integer(params.get("items_per_page"), 10, 1, 1_000)
