"""A refusal that fits a bad key as well as an empty account: the balance tells which it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest

from adapters.contract.wire import WireReply, WireRequest
from tests.fakes.vendor import Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, front, settings_for

TEXT = "Access restricted. Check credits balance or enter the correct API key."


@dataclass(eq=False)
class AmbiguousVendor(Vendor):
    """Says the same of a bad key and of an empty account, as WhoisXML's version 1 does."""

    async def _reply(self, request: WireRequest) -> WireReply | None:
        if request.path == "/api/v3":
            return WireReply(403, orjson.dumps({"ErrorMessage": {"msg": TEXT}}))
        return await super()._reply(request)


@asynccontextmanager
async def ambiguous() -> AsyncIterator[AmbiguousVendor]:
    made = AmbiguousVendor(BY_NAME["whoisxml"])
    await made.start()
    try:
        yield made
    finally:
        await made.kill()


@pytest.mark.parametrize(
    ("keys", "credits", "outcome"),
    [
        (set(), 1000, "dead_key"),
        ({"good-key"}, 0, "no_credits"),
        # the balance is no help: the kind that the dialect prefers
        ({"good-key"}, 5, "no_credits"),
    ],
)
async def test_the_balance_tells_a_bad_key_from_an_empty_account(
    keys: set[str], credits: int, outcome: str
) -> None:
    async with ambiguous() as v, vendor(BY_NAME["emailable"]) as spare:
        v.keys, v.credits = keys, credits
        async with front(settings_for([v, spare])) as here:
            answer = (await here.ask("a@example.com")).json()
    assert [a["outcome"] for a in answer["attempts"]] == [outcome, "deliverable"]
    assert v.balances == 1


async def test_a_plain_refusal_does_not_ask_the_balance() -> None:
    async with (
        vendor(BY_NAME["whoisxml"], keys=set()) as v,
        vendor(BY_NAME["emailable"]) as spare,
        front(settings_for([v, spare])) as here,
    ):
        answer = (await here.ask("a@example.com")).json()
    assert [a["outcome"] for a in answer["attempts"]] == ["dead_key", "deliverable"]
    assert v.balances == 0


async def test_the_balance_needs_no_second_connection() -> None:
    """It is asked while the refused request still holds the only place."""
    async with ambiguous() as v:
        v.credits = 0
        settings = settings_for([v], upstream={"connections": 1, "timeout_s": 60.0})
        async with front(settings) as here, asyncio.timeout(10):
            answer = (await here.ask("a@example.com")).json()
    assert [a["outcome"] for a in answer["attempts"]] == ["no_credits"]
    assert v.balances == 1
