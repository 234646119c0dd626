"""An engine that finds nothing out: the next source is asked, and the engine's unknown is kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from engine.model import Address, Checks, Evidence, MxHost, Reason, Verdict, Verification
from gateway.settings import RoutingSettings
from tests.fakes.vendor import Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, Local, front, settings_for

LOCAL_FIRST = {"order": ["local", "v0"]}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class Engine(Local):
    """Gives the verdict it was made with, after a delay, and until its deadline at most."""

    def __init__(
        self,
        verdict: Verdict = Verdict.UNKNOWN,
        reason: Reason = Reason.NO_CONNECT,
        *,
        takes_s: float = 0.0,
    ) -> None:
        super().__init__(verdict)
        self.reason = reason
        self.takes_s = takes_s

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        if self.takes_s:
            await asyncio.sleep(min(self.takes_s, deadline_s or self.takes_s))
        evidence = Evidence(mx=(MxHost("mx.seen-by-the-engine.test", 5),))
        return replace(await super().verify(address, checks), reason=self.reason, evidence=evidence)


async def made(
    stack: AsyncExitStack, engine: Local | None = None, **options: Any
) -> tuple[Vendor, Front]:
    one = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    settings = settings_for([one], **{"routing": LOCAL_FIRST, **options})
    return one, await stack.enter_async_context(front(settings, engine or Engine()))


def trail(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(a["source"], a["outcome"]) for a in answer["attempts"]]


@pytest.mark.parametrize("order", [["local", "v0"], []])
@pytest.mark.parametrize("strategy", ["failover", "cheapest", "weighted", "fastest"])
async def test_what_the_engine_could_not_find_out_is_asked_elsewhere(
    stack: AsyncExitStack, strategy: str, order: list[str]
) -> None:
    routing = {"strategy": strategy, "order": order}
    _, here = await made(stack, routing=routing, v0={"price": 0.01, "weight": 0})
    for number in range(5):
        answer = (await here.ask(f"a{number}@example.com")).json()
        assert (answer["verdict"], answer["source"]) == ("deliverable", "v0")


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.UNKNOWN])
async def test_a_definite_verdict_of_the_engine_is_final(
    stack: AsyncExitStack, verdict: Verdict
) -> None:
    one, here = await made(stack, Engine(verdict))
    assert (await here.ask("a@example.com")).json()["source"] == "local"
    assert not one.asked


async def test_no_upstream_is_paid_for_a_check_that_was_not_requested(
    stack: AsyncExitStack,
) -> None:
    """Without its SMTP check the engine answers unknown, `not_checked`: all that was asked."""
    one, here = await made(stack, Engine(reason=Reason.NOT_CHECKED))
    reply = await here.verify("emailable", "a@example.com", smtp="false")
    assert reply.headers["x-veriplex-source"] == "local"
    assert not one.asked


async def test_the_settings_may_believe_its_unknown_too(stack: AsyncExitStack) -> None:
    routing = {**LOCAL_FIRST, "local_final": [v.value for v in Verdict]}
    one, here = await made(stack, routing=routing)
    assert (await here.ask("a@example.com")).json()["source"] == "local"
    assert not one.asked
    assert Verdict.UNKNOWN not in RoutingSettings().local_final


@pytest.mark.parametrize("mood", [Mood.ERROR, Mood.RESET, Mood.GARBAGE, Mood.EMPTY, Mood.HANG])
@pytest.mark.parametrize("on_failure", ["error", "unknown"])
async def test_its_unknown_is_the_answer_if_no_other_source_has_one(
    stack: AsyncExitStack, mood: Mood, on_failure: str
) -> None:
    routing = {**LOCAL_FIRST, "on_failure": on_failure}
    one, here = await made(stack, routing=routing, upstream={"timeout_s": 0.2})
    one.mood = mood
    reply = await here.ask("a@example.com")
    assert reply.status_code == 200
    answer = reply.json()
    assert (answer["verdict"], answer["reason"]) == ("unknown", "no_connect")
    assert answer["evidence"]["mx"][0]["host"] == "mx.seen-by-the-engine.test"
    assert reply.headers["x-veriplex-source"] == "local"
    assert reply.headers["x-veriplex-attempts"] == "2"


async def test_its_unknown_is_the_answer_if_no_other_source_knows_more(
    stack: AsyncExitStack,
) -> None:
    one, here = await made(stack)
    one.says = lambda _: (Verdict.UNKNOWN, Reason.TIMEOUT)
    answer = (await here.ask("a@example.com")).json()
    assert (answer["source"], answer["reason"]) == ("local", "no_connect")
    assert trail(answer) == [("local", "unknown"), ("v0", "unknown")]


async def test_it_is_the_answer_when_nothing_may_be_spent(stack: AsyncExitStack) -> None:
    one, here = await made(stack, v0={"price": 0.01, "daily_budget": 0.005})
    answer = (await here.ask("a@example.com")).json()
    assert trail(answer) == [("local", "unknown"), ("v0", "over_budget")]
    assert answer["verdict"] == "unknown"
    assert not one.asked


@pytest.mark.parametrize(
    ("mood", "outcome"), [(Mood.THROTTLED, "resting"), (Mood.UNAVAILABLE, "resting")]
)
async def test_it_is_the_answer_at_once_while_the_others_rest(
    stack: AsyncExitStack, mood: Mood, outcome: str
) -> None:
    one, here = await made(stack, circuit={"failures": 1, "pause_s": 60})
    one.mood, one.retry_after_s = mood, 60
    await here.ask("a@example.com")
    began = asyncio.get_running_loop().time()
    answer = (await here.ask("b@example.com")).json()
    assert asyncio.get_running_loop().time() - began < 0.5, "it is not waited for"
    assert trail(answer) == [("local", "unknown"), ("v0", outcome)]
    assert answer["verdict"] == "unknown"


async def test_it_is_the_answer_when_every_key_is_dead(stack: AsyncExitStack) -> None:
    one, here = await made(stack, v0={"api_key": "env:BAD"})
    outcomes = [trail((await here.ask(f"a{n}@example.com")).json())[1] for n in range(2)]
    assert outcomes == [("v0", "dead_key"), ("v0", "dead_key")]
    assert one.asked == {"bad-key": 1}


async def test_an_engine_that_takes_its_time_leaves_the_others_theirs(
    stack: AsyncExitStack,
) -> None:
    _, here = await made(stack, Engine(takes_s=30), routing={**LOCAL_FIRST, "deadline_s": 1.0})
    answer = (await here.ask("a@example.com")).json()
    assert trail(answer) == [("local", "unknown"), ("v0", "deliverable")]


async def test_an_unknown_that_comes_at_the_very_end_is_not_lost(stack: AsyncExitStack) -> None:
    """The engine speaks when its time is over, and what it saw until then counts."""
    one, here = await made(stack, Engine(takes_s=30), routing={**LOCAL_FIRST, "deadline_s": 0.6})
    one.mood = Mood.HANG
    began = asyncio.get_running_loop().time()
    reply = await here.ask("a@example.com")
    assert asyncio.get_running_loop().time() - began < 1.0
    assert reply.status_code == 200, reply.text
    assert reply.json()["evidence"]["mx"][0]["host"] == "mx.seen-by-the-engine.test"


@pytest.mark.parametrize(
    ("mood", "source", "ttl"), [(Mood.GOOD, "v0", "86"), (Mood.ERROR, "local", "29")]
)
async def test_an_answer_is_kept_as_long_as_the_one_that_was_given(
    stack: AsyncExitStack, mood: Mood, source: str, ttl: str
) -> None:
    one, here = await made(stack)
    one.mood = mood
    await here.ask("a@example.com")
    again = await here.ask("a@example.com")
    assert again.headers["x-veriplex-source"] == source
    assert again.headers["cache-status"].startswith(f"veriplex; hit; ttl={ttl}")


async def test_a_hedge_does_not_settle_for_what_is_not_enough(stack: AsyncExitStack) -> None:
    """The first says unknown while the second, asked beside it, is about to know."""
    vendors = [await stack.enter_async_context(vendor(BY_NAME["emailable"])) for _ in range(2)]
    settings = settings_for(vendors, routing={"strategy": "waterfall", "hedge": True})
    here = await stack.enter_async_context(front(settings))
    for number in range(30):
        await here.ask(f"a{number}@example.com")
    slow, slower = vendors
    slow.says = lambda _: (Verdict.UNKNOWN, Reason.TIMEOUT)
    slow.mood, slow.slow_s = Mood.SLOW, 0.3
    slower.mood, slower.slow_s = Mood.SLOW, 0.6
    answer = (await here.ask("slow@example.com")).json()
    assert (answer["source"], answer["verdict"]) == ("v1", "deliverable")
    assert trail(answer) == [("v0", "unknown"), ("v1", "deliverable")]


async def test_a_hedge_stays_inside_the_deadline(stack: AsyncExitStack) -> None:
    vendors = [await stack.enter_async_context(vendor(BY_NAME["emailable"])) for _ in range(2)]
    settings = settings_for(
        vendors, routing={"hedge": True, "deadline_s": 0.6}, upstream={"timeout_s": 5.0}
    )
    here = await stack.enter_async_context(front(settings))
    for number in range(30):
        await here.ask(f"a{number}@example.com")
    for one in vendors:
        one.mood = Mood.HANG
    asked = sum(vendors[0].asked.values())
    began = asyncio.get_running_loop().time()
    assert (await here.ask("slow@example.com")).status_code == 503
    assert asyncio.get_running_loop().time() - began < 1.2
    assert sum(vendors[0].asked.values()) == asked + 1
