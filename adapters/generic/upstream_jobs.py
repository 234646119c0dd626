"""The vendor's jobs, as a source: created, polled, and read a page of 1,000 rows at a time.

The page does not show what results look like: rows come as an array, bare or in an object, and
their members in camel or snake case, as the API has both. It gives a number of requests a
minute, of which the smallest plan has ten, so that it is polled seldom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    Told,
    UpstreamReply,
    UpstreamRequest,
    fault_of,
    text_or_none,
)
from adapters.contract.upstream_jobs import Page, UpstreamList, in_path, job_id_or_none
from adapters.generic.upstream import FAULTS, authorization, told
from engine.model import Address, Checks

MOST = 50_000
PER_PAGE = 1_000
ROWS_NAMES = ("results", "data", "items")
FIRST_PAGE = "1"

NEXT: Mapping[str, Page | Fault] = {
    "completed": Page((), FIRST_PAGE),
    "failed": Fault(FaultKind.REFUSED, "the job failed", 200),
}
"""What a status leads to; any other is on the way there."""


def build_create(key: str, addresses: Sequence[Address]) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/api/v1/verify/bulk",
        headers={**authorization(key), "content-type": "application/json"},
        body=orjson.dumps({"emails": [address.raw for address in addresses]}),
    )


def parse_create(reply: UpstreamReply) -> str | Fault:
    body = reply.json_object
    job_id = job_id_or_none(body.get("jobId"), body.get("job_id"), body.get("id"))
    if reply.status // 100 == 2 and job_id is not None:
        return job_id
    return fault_of(reply, FAULTS, body.get("message"))


def build_poll(key: str, job_id: str) -> UpstreamRequest:
    return UpstreamRequest(
        "GET", f"/api/v1/jobs/{in_path(job_id)}", headers=authorization(key), bills=False
    )


def parse_poll(_: Checks, reply: UpstreamReply) -> Page | Pending | Fault:
    body = reply.json_object
    status = text_or_none(body.get("status"))
    if reply.status != 200 or status is None:
        return _fault(reply, body)
    return NEXT.get(status.lower(), Pending())


def build_page(key: str, job_id: str, page: str) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        f"/api/v1/jobs/{in_path(job_id)}/results",
        query={"page": page, "limit": str(PER_PAGE)},
        headers=authorization(key),
        bills=False,
    )


def parse_page(_: Checks, page: str, reply: UpstreamReply) -> Page | Pending | Fault:
    value = reply.json
    body = value if isinstance(value, dict) else {}
    lists = (value, *map(body.get, ROWS_NAMES))
    rows = next((found for found in lists if isinstance(found, list)), None)
    if reply.status != 200 or rows is None:
        return _fault(reply, body)
    per_page = _per_page(body.get("limit"))
    # the bound ends a server that has no end of pages
    more = len(rows) >= per_page and int(page) * per_page < MOST
    return Page(tuple(_told(rows)), str(int(page) + 1) if more else "")


def _per_page(told: object) -> int:
    """What a page can hold: a server may allow less than was asked for, and say so."""
    return told if isinstance(told, int) and 0 < told < PER_PAGE else PER_PAGE


def _told(rows: Sequence[object]) -> list[tuple[str, Told]]:
    found = (_camel(row) for row in rows if isinstance(row, dict))
    return [
        (row["email"], told(row, valid=_looks_valid(row["email"])))
        for row in found
        if isinstance(row.get("email"), str) and "tier" in row
    ]


def _looks_valid(email: str) -> bool:
    """As far as a row tells."""
    local, _, domain = email.rpartition("@")
    return bool(local and domain)


def _camel(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _camel_name(name): _camel(value) if isinstance(value, dict) else value
        for name, value in members.items()
    }


def _camel_name(name: str) -> str:
    if "_" not in name:
        return name
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _fault(reply: UpstreamReply, body: Mapping[str, Any]) -> Fault:
    if reply.status == 404:
        return Fault(FaultKind.REFUSED, "no such job", 404)
    return fault_of(reply, FAULTS, body.get("message"))


LIST = UpstreamList(
    most=MOST,
    build_create=build_create,
    parse_create=parse_create,
    build_poll=build_poll,
    parse_poll=parse_poll,
    build_page=build_page,
    parse_page=parse_page,
    first_poll_s=5.0,
)
