"""The vendor's batches, as a source.

Up to 1,000 addresses come back inside the status reply, in whole objects; larger batches come
as a file behind a link to somebody else's storage. So a batch has 1,000 addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    UpstreamReply,
    UpstreamRequest,
    fault_of,
)
from adapters.contract.upstream_jobs import Page, UpstreamList, job_id_or_none
from adapters.emailable.upstream import FAULTS, TRY_AGAIN, authorization, told
from engine.model import Address, Checks

MOST_INLINE = 1_000
REPEAT = "duplicate"
"""A state that only rows of a batch can have."""


def build_create(key: str, addresses: Sequence[Address]) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/v1/batch",
        headers={**authorization(key), "content-type": "application/json"},
        # as an array, which its Python client sends, since a local part may hold a comma
        body=orjson.dumps({"emails": [address.raw for address in addresses]}),
    )


def parse_create(reply: UpstreamReply) -> str | Fault:
    body = reply.json_object
    job_id = job_id_or_none(body.get("id"))
    if reply.status // 100 == 2 and job_id is not None:
        return job_id
    return fault_of(reply, FAULTS, body.get("message"))


def build_poll(key: str, job_id: str) -> UpstreamRequest:
    return UpstreamRequest(
        "GET", "/v1/batch", query={"id": job_id}, headers=authorization(key), bills=False
    )


def parse_poll(_: Checks, reply: UpstreamReply) -> Page | Pending | Fault:
    body = reply.json_object
    if reply.status == TRY_AGAIN:
        return Pending()
    if reply.status != 200:
        return _fault(reply, body.get("message"))
    rows = body.get("emails")
    counts = body.get("total_counts")
    if isinstance(rows, list) and isinstance(counts, dict) and _is_done(counts):
        return Page(tuple((str(row["email"]), told(row)) for row in rows if _is_row(row)))
    if isinstance(body.get("total"), int) or isinstance(rows, list):
        return Pending()
    if isinstance(counts, dict):
        return Fault(FaultKind.REFUSED, "the rows were removed after their time", 200)
    return _fault(reply, body.get("message"))


def _fault(reply: UpstreamReply, words: object) -> Fault:
    if reply.status == 404:
        return Fault(FaultKind.REFUSED, "no such batch", 404)
    return fault_of(reply, FAULTS, words)


def _is_done(counts: dict[str, Any]) -> bool:
    processed, total = counts.get("processed"), counts.get("total")
    return isinstance(processed, int) and isinstance(total, int) and processed >= total


def _is_row(row: object) -> bool:
    """A repeat has no answer of its own."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("email"), str)
        and row.get("state") not in (None, REPEAT)
    )


def build_page(key: str, job_id: str, _: str) -> UpstreamRequest:
    return build_poll(key, job_id)


def parse_page(checks: Checks, _: str, reply: UpstreamReply) -> Page | Pending | Fault:
    return parse_poll(checks, reply)


LIST = UpstreamList(
    most=MOST_INLINE,
    build_create=build_create,
    parse_create=parse_create,
    build_poll=build_poll,
    parse_poll=parse_poll,
    build_page=build_page,
    parse_page=parse_page,
    max_poll_s=15.0,
)
