"""The scenarios of the mail testbed as one batch of each dialect, read as its clients read it."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import Pending, UpstreamReply, UpstreamRequest, UpstreamResult
from adapters.contract.upstream_jobs import JobQuery, ResultPage
from adapters.registry import DIALECTS
from engine.address.syntax import parse_address
from engine.model import Checks
from tests.clients.conftest import Served
from tests.dialects import send
from tests.mail_testbed import SCENARIOS

pytestmark = pytest.mark.testbed

ROWS = [row for row in SCENARIOS if row["verdict"] != "unknown"]
"""Of the others some are greylisted, and verified again after minutes."""
PATIENCE_S = 60.0


class Client:
    """A dialect's upstream client, as somebody with a batch uses it."""

    def __init__(self, http: httpx.AsyncClient, dialect: Dialect, key: str) -> None:
        assert dialect.vendor_jobs is not None
        self._http, self._dialect, self._key = http, dialect, key
        self._vendor = dialect.vendor_jobs

    async def verify(self, emails: list[str]) -> dict[str, UpstreamResult]:
        addresses = [parse_address(email) for email in emails]
        request = self._vendor.create.build(self._key, addresses, Checks())
        made = self._vendor.create.parse(await self._send(request), addresses, Checks())
        if isinstance(made, ResultPage):
            return dict(made.rows)
        assert isinstance(made, str), made
        found = await self._poll(made)
        rows = dict(found.rows)
        while found.next_page:
            found = await self._page(made, found.next_page)
            rows |= dict(found.rows)
        return rows

    async def _poll(self, job_id: str) -> ResultPage:
        give_up_at = time.monotonic() + PATIENCE_S
        query = JobQuery(job_id, Checks())
        while True:
            reply = await self._send(self._vendor.poll.build(self._key, query))
            found = self._vendor.poll.parse(reply, query)
            if not isinstance(found, Pending):
                assert isinstance(found, ResultPage), found
                return found
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.1)  # as clients do

    async def _page(self, job_id: str, page: str) -> ResultPage:
        call, query = self._vendor.page or self._vendor.poll, JobQuery(job_id, Checks(), page)
        found = call.parse(await self._send(call.build(self._key, query)), query)
        assert isinstance(found, ResultPage), found
        return found

    async def _send(self, request: UpstreamRequest) -> UpstreamReply:
        if request.link:
            reply = await self._http.request(request.method, request.link)
        else:
            reply = await send(self._http, self._dialect, request)
        headers = dict(reply.headers)
        return UpstreamReply(reply.status_code, headers, reply.content, received_at=0.0)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_every_scenario_in_a_batch(served: Served, dialect: Dialect) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        client = Client(http, dialect, served.keys[dialect.name])
        found = await client.verify([row["address"] for row in ROWS])
    by_mailbox = {parse_address(email).normalized.lower(): row for email, row in found.items()}
    wrong = []
    for row in ROWS:
        # equal addresses have one row at some vendors, with the spelling of one of them
        result = by_mailbox.get(parse_address(row["address"]).normalized.lower())
        if result is None and row["reason"] == "invalid_email":
            continue  # at some vendors they have none
        if result is None or result.verdict not in {row["verdict"], *row.get("also", [])}:
            wrong.append((row["id"], result and result.verdict, row["verdict"]))
    assert not wrong
