"""An account does not learn what another one asked, unless the settings let accounts share."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from adapters.contract.dialect import Dialect
from gateway.settings import Settings
from tests.fakes.vendor import Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import Front, front, settings_for

ADDRESS = "ada@example.com"


class Two:
    """A server with two accounts."""

    def __init__(self, here: Front, other_key: str) -> None:
        self.here = here
        self.other_key = other_key

    async def ask(self, email: str = ADDRESS) -> httpx.Response:
        return await self.here.ask(email)

    async def ask_as_other(self, email: str = ADDRESS) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.other_key}"}
        return await self.here.client.get(f"/emailable/v1/verify?email={email}", headers=headers)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def two(stack: AsyncExitStack, settings: Settings) -> Two:
    here = await stack.enter_async_context(front(settings))
    account = await here.services.accounts.create_account()
    key = await here.services.accounts.create_key(account, "emailable")
    return Two(here, key.key)


def provenance(reply: httpx.Response) -> tuple[str, str]:
    assert reply.status_code == 200, reply.text
    status = reply.headers["cache-status"].removeprefix("veriplex; ").partition("; ttl")[0]
    return status, reply.headers["x-veriplex-attempts"]


MISS, HIT = ("fwd=miss; stored", "1"), ("hit", "0")


async def test_an_account_does_not_learn_what_another_one_asked(
    stack: AsyncExitStack, emailable: Dialect
) -> None:
    v = await stack.enter_async_context(vendor(emailable))
    accounts = await two(stack, settings_for([v]))
    assert provenance(await accounts.ask()) == MISS
    assert provenance(await accounts.ask()) == HIT
    assert provenance(await accounts.ask_as_other()) == MISS
    assert provenance(await accounts.ask_as_other()) == HIT
    assert v.asked.total() == 2


async def test_an_account_does_not_join_a_verification_of_another(
    stack: AsyncExitStack, emailable: Dialect
) -> None:
    v: Vendor = await stack.enter_async_context(vendor(emailable, mood=Mood.SLOW, slow_s=0.2))
    accounts = await two(stack, settings_for([v]))
    replies = await asyncio.gather(accounts.ask(), accounts.ask(), accounts.ask_as_other())
    statuses = sorted(reply.headers["cache-status"] for reply in replies)
    assert statuses == [
        "veriplex; fwd=miss; stored",
        "veriplex; fwd=miss; stored",
        "veriplex; fwd=miss; stored; collapsed",
    ]
    assert "collapsed" not in replies[2].headers["cache-status"]


async def test_accounts_share_if_the_settings_say_so(
    stack: AsyncExitStack, emailable: Dialect
) -> None:
    v = await stack.enter_async_context(vendor(emailable))
    accounts = await two(stack, settings_for([v], cache={"shared": True}))
    assert provenance(await accounts.ask()) == MISS
    assert provenance(await accounts.ask_as_other()) == HIT


@pytest.mark.parametrize(("shared", "asked"), [(False, 2), (True, 1)])
async def test_batches_keep_to_the_same_rule_across_restarts(
    stack: AsyncExitStack, emailable: Dialect, tmp_path: Path, shared: bool, asked: int
) -> None:
    v = await stack.enter_async_context(vendor(emailable))
    settings = settings_for(
        [v],
        storage={"url": f"sqlite:///{tmp_path}/v.db"},
        cache={"shared": shared},
        upstream={"bulk": False},
    )

    async def submit(here: Front, key: str) -> None:
        reply = await here.client.post(
            "/emailable/v1/batch",
            headers={"Authorization": f"Bearer {key}"},
            files={"file": ("list.csv", io.BytesIO(f"email\n{ADDRESS}\n".encode()))},
            data={"emails": ADDRESS},
        )
        assert reply.status_code == 200, reply.text
        await here.services.batch_services.drain()

    async with front(settings, run_workers=False) as here:
        own = here.keys["emailable"]
        await submit(here, own)
        assert v.asked.total() == 1
    async with front(settings, run_workers=False) as here:  # with an account of its own
        await submit(here, own)
        assert v.asked.total() == 1
        await submit(here, here.keys["emailable"])
        assert v.asked.total() == asked
