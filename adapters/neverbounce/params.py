"""Parameters, which may stand in the query, in a form and in JSON, with GET and POST alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest
from adapters.kit.words import clamped_integer, is_digits, parse_bool

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


def is_set(params: Mapping[str, Any], name: str) -> bool:
    """A switch: `1`, `true`; anything else is off."""
    return parse_bool(params.get(name), False)


def job_id_of(params: Mapping[str, Any]) -> str:
    """The id of a job, a number or the text of one. Raises `Problem`."""
    text = str(required(params, "job_id")).strip()
    if not is_digits(text) or int(text) > MAX_JOB_ID:
        raise Problem(ProblemKind.JOB_MALFORMED)
    return str(int(text))


def page_of(params: Mapping[str, Any]) -> tuple[int, int]:
    """The page, from 1, and the items on it."""
    page = clamped_integer(params.get("page"), 1, 1, 10**9)
    return page, clamped_integer(params.get("items_per_page"), 10, 1, 1_000)
