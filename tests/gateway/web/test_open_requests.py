"""Plans that limit how many requests are open at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from adapters.kickbox import DIALECT
from engine.address.offline import offline_evidence
from engine.model import Address, Checks, Reason, Verdict, Verification
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from gateway.web.open_requests import OpenRequest, OpenRequests

MOST = 25
PLAN = next(plan for plan in DIALECT.plans if plan.parallel is not None)


class Held:
    """A verifier whose results come when they are let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.let_go = asyncio.Semaphore(0)

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        self.asked.release()
        await self.let_go.acquire()
        evidence, at = offline_evidence(address), datetime(2026, 1, 1, tzinfo=UTC)
        return Verification(
            address, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, 100, evidence, checks, at
        )


@asynccontextmanager
async def served(
    plan: str | None, verifier: Held
) -> AsyncIterator[tuple[httpx.ASGITransport, dict[str, str]]]:
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with open_services(settings, verifier=verifier, run_workers=False) as services:
        account = await services.accounts.create_account("a@x.test", plan=plan, credits=None)
        key = (await services.accounts.create_key(account, DIALECT.name)).key
        yield httpx.ASGITransport(create_app(services)), {"Authorization": f"Bearer {key}"}


async def ask(
    transport: httpx.ASGITransport, headers: dict[str, str], number: int
) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport, base_url="http://veriplex.test") as client:
        params = {"email": f"a{number}@x.test", "timeout": "30000"}
        return await client.get("/v2/verify", params=params, headers=headers)


async def test_one_more_than_the_plan_allows_is_refused_until_another_is_answered() -> None:
    held = Held()
    async with served(PLAN.name, held) as (transport, headers):
        tasks = [asyncio.create_task(ask(transport, headers, i)) for i in range(MOST)]
        for _ in tasks:
            await held.asked.acquire()
        refused = await ask(transport, headers, MOST)
        assert (refused.status_code, refused.json()["message"]) == (429, "Rate Limit Exceeded")
        assert "retry-after" not in refused.headers
        held.let_go.release()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks.append(asyncio.create_task(ask(transport, headers, MOST)))
        await held.asked.acquire()
        for _ in tasks:
            held.let_go.release()
        assert {reply.status_code for reply in await asyncio.gather(*tasks)} == {200}


async def test_a_plan_without_the_limit_has_none() -> None:
    held = Held()
    async with served(None, held) as (transport, headers):
        tasks = [asyncio.create_task(ask(transport, headers, i)) for i in range(MOST + 1)]
        for _ in tasks:
            await held.asked.acquire()
            held.let_go.release()
        assert {reply.status_code for reply in await asyncio.gather(*tasks)} == {200}


async def test_a_request_whose_client_has_gone_no_longer_counts() -> None:
    requests = OpenRequests()
    gone = {"first": False}
    first = OpenRequest((1, "127.0.0.1"), lambda: gone["first"])
    second, third = (OpenRequest((1, "127.0.0.1"), lambda: False) for _ in range(2))
    assert await requests.begin(first, 2)
    assert await requests.begin(second, 2)
    assert not await requests.begin(third, 2)
    gone["first"] = True
    assert await requests.begin(third, 2)
    for request in (first, second, third):
        requests.end(request)
    assert len(requests) == 0


async def test_each_key_and_address_has_its_own_count() -> None:
    requests = OpenRequests()
    owners = [(1, "127.0.0.1"), (2, "127.0.0.1"), (1, "127.0.0.2")]
    for owner in owners:
        assert await requests.begin(OpenRequest(owner, lambda: False), 1)
    assert not await requests.begin(OpenRequest(owners[0], lambda: False), 1)
