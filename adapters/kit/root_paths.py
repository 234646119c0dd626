"""Paths at the server's root that two vendors have, and how their requests are told apart.

A prefix of paths belongs to the dialect that has it in `root_paths`, the longest prefix first; of
two equal ones, that with a condition first. The conditions of shared paths are here, so that each
rule can be read in one place; `tests/adapters/test_root_paths.py` has cases for each.
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.contract.dialect import RootPath
from adapters.contract.wire import UnreadableRequest, WireRequest

BULK_PATH = "/v1/bulk"


def _is_of_reacher(head: WireRequest) -> bool:
    job_id, _, rest = head.path.removeprefix(BULK_PATH).strip("/").partition("/")
    is_number = job_id.isascii() and job_id.isdigit()  # of any length
    if is_number and rest == "results":
        return True
    return (
        not _has_apikey(head)
        and head.method not in ("PATCH", "DELETE")
        and not head.content_type.startswith("multipart/")
        and (not job_id or is_number)
    )


def _has_apikey(head: WireRequest) -> bool:
    try:
        return "apikey" in head.query
    except UnreadableRequest:
        return True  # Reacher's clients have no long queries


VALIDTO_VERIFY = RootPath("/v1/verify", parameter="apikey")
VALIDTO_BULK = RootPath(BULK_PATH)
REACHER_BULK = RootPath(BULK_PATH, when=_is_of_reacher)
ZEROBOUNCE_REST = RootPath("/v2", parameter="api_key")
KICKBOX_REST = RootPath("/v2")


class Rule(NamedTuple):
    """A row of the documentation: which of two dialects a request belongs to."""

    path: str
    owner: str
    """Name of the dialect."""
    when: str
    other: str
    """The dialect that any other request there belongs to."""


RULES = (
    Rule("`/v1/verify`", "validto", "the query has `apikey`", "emailable"),
    Rule(
        "`/v1/bulk`, `/v1/bulk/{id}`",
        "validto",
        "the query has `apikey`, the method is PATCH or DELETE, the body is multipart, or the id"
        " has other characters than digits",
        "reacher",
    ),
    Rule(
        "below `/v2`, where neither has such a path",
        "zerobounce",
        "the query has `api_key`",
        "kickbox",
    ),
)
