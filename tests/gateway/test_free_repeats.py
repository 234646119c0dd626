"""A verification that was charged and not ready is repeated free of charge for some minutes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from adapters.contract.dialect import Dialect
from adapters.contract.operations import Verify
from adapters.contract.wire import WireRequest
from engine.model import Address, Checks, Verification
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.dialects import ALL, endpoint_of, send, verify_request
from tests.gateway.upstreams.conftest import Local

EMAIL = "bob@postfix.test"


def may_be_late(dialect: Dialect) -> bool:
    """Whether its clients wait for a limited time, and are then told to send the request again."""
    if dialect.upstream is None:
        return False
    sent = verify_request(dialect, "key", EMAIL)
    query = str(httpx.QueryParams(dict(sent.query)))
    request = WireRequest(sent.method, sent.path, query, dict(sent.headers), sent.body or b"")
    op = endpoint_of(dialect, sent).read(request)
    return (
        isinstance(op, Verify)
        and op.wait_s is not None
        and not op.unknown_if_late
        and dialect.free_repeat_s > 0
    )


LATE = [dialect for dialect in ALL if may_be_late(dialect)]


class Slow(Local):
    """Answers once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        await self.may_answer.wait()
        return await super().verify(address, checks, deadline_s)


@pytest.mark.parametrize("dialect", LATE, ids=lambda d: d.name)
async def test_repeats_are_free_also_after_the_answer(dialect: Dialect) -> None:
    """A client whose reply was lost on the way sends its request once more."""
    now, slow = 1_800_000_000.0, Slow()

    async def wait(task: asyncio.Task[Any], wait_s: float) -> bool:
        """As long as the answer takes once it may come; no time before."""
        if slow.may_answer.is_set():
            await asyncio.wait({task})
        return task.done()

    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with (
        open_services(
            settings,
            verifier=slow,
            clock=lambda: now,
            wait=wait,
            dialects=ALL,
            run_workers=False,
        ) as services,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
        ) as client,
    ):
        account = await services.accounts.create_account(credits=10)
        key = (await services.accounts.create_key(account, dialect.name)).key
        caller = await services.accounts.authenticate(dialect.name, key)
        assert caller is not None

        async def ask() -> httpx.Response:
            return await send(client, dialect, verify_request(dialect, key, EMAIL))

        async def left() -> int | None:
            return (await services.accounts.usage(caller)).credits_left

        late = await ask()
        assert await left() == 9
        slow.may_answer.set()
        for _ in range(3):
            reply = await ask()
            assert reply.status_code == 200
            assert reply.content != late.content
        assert await left() == 9
        now += dialect.free_repeat_s
        await ask()
        assert await left() == 8


async def test_repeats_are_free_in_another_process_too(database_url: str) -> None:
    slow = Slow()

    async def wait(task: asyncio.Task[Any], wait_s: float) -> bool:
        if slow.may_answer.is_set():
            await asyncio.wait({task})
        return task.done()

    settings = Settings.model_validate({"storage": {"url": database_url}})
    (dialect,) = (each for each in LATE if each.name == "emailable")
    async with contextlib.AsyncExitStack() as stack:
        clients, services = [], []
        for _ in range(2):
            opened = await stack.enter_async_context(
                open_services(
                    settings,
                    verifier=slow,
                    clock=lambda: 1_800_000_000.0,
                    wait=wait,
                    run_workers=False,
                    is_alone=False,
                )
            )
            transport = httpx.ASGITransport(create_app(opened))
            client = httpx.AsyncClient(transport=transport, base_url="http://veriplex.test")
            clients.append(await stack.enter_async_context(client))
            services.append(opened)
        account = await services[0].accounts.create_account(credits=10)
        key = (await services[0].accounts.create_key(account, "emailable")).key
        caller = await services[0].accounts.authenticate("emailable", key)
        assert caller is not None

        late = await send(clients[0], dialect, verify_request(dialect, key, EMAIL))
        slow.may_answer.set()
        reply = await send(clients[1], dialect, verify_request(dialect, key, EMAIL))
        assert (reply.status_code, reply.content != late.content) == (200, True)
        assert (await services[1].accounts.usage(caller)).credits_left == 9
