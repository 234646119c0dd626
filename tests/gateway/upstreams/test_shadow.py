"""Shadow traffic: further sources are asked beside the requests, and never in their way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from engine.address.syntax import parse_address
from engine.model import Checks, Evidence, Reason, Verdict
from gateway.outcomes.agreements import AgreementFigures
from gateway.settings import Settings
from gateway.settings.checks import check_settings
from gateway.upstreams.shadow.source import MAX_IN_FLIGHT, MAX_WAITING, ShadowSource
from tests.fakes.vendor import Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, Local, front, settings_for

NOON = 1_780_000_000.0
SHADOWED = {"order": ["v0"], "shadow": ["v1"], "shadow_share": 1.0, "shadow_rate_per_s": 1e6}


@pytest.fixture
async def stack() -> Any:
    async with AsyncExitStack() as stack:
        yield stack


def differing(email: str) -> tuple[Verdict, Reason]:
    if email.startswith("bad"):
        return Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
    return Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL


async def opened(
    stack: AsyncExitStack,
    *,
    says: Callable[[str], tuple[Verdict, Reason]] = differing,
    routing: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.time,
    **options: Any,
) -> tuple[Vendor, Vendor, Front]:
    """A server with one vendor in the order, and another one as its shadow."""
    asked = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    shadow = await stack.enter_async_context(vendor(BY_NAME["kickbox"], says=says))
    asked.evidence = shadow.evidence = Evidence()
    settings = settings_for([asked, shadow], routing={**SHADOWED, **(routing or {})}, **options)
    return asked, shadow, await stack.enter_async_context(front(settings, clock=clock))


def shadow_of(here: Front) -> ShadowSource:
    assert here.services.shadow is not None
    (source,) = here.services.shadow.sources
    return source


async def until_answered(here: Front, count: int) -> None:
    """Wait until so many questions of the shadow have ended."""
    async with asyncio.timeout(20):
        while shadow_of(here).outcomes.total() < count:  # noqa: ASYNC110  # no event says so
            await asyncio.sleep(0)


async def figures(here: Front) -> dict[str, AgreementFigures]:
    outcomes = here.services.outcomes
    assert outcomes is not None
    await outcomes.write()
    return {row.provider: row for row in await outcomes.records.agreements.figures()}


async def test_agreement_accumulates_by_source_and_provider(stack: AsyncExitStack) -> None:
    asked, shadow, here = await opened(stack)
    for email in ("good@example.com", "bad@example.com", "good@gmail.com"):
        assert (await here.ask(email)).json()["verdict"] == "deliverable"
    await until_answered(here, 3)
    assert (sum(asked.asked.values()), sum(shadow.asked.values())) == (3, 3)
    by_provider = await figures(here)
    every = by_provider[""]
    assert (every.shadow, every.source) == ("v1", "v0")
    assert (every.agreement.same.hits, every.agreement.same.count) == (2, 3)
    assert every.verdicts[Verdict.UNDELIVERABLE, Verdict.DELIVERABLE] == 1
    assert by_provider["google"].agreement.same.count == 1

    headers = {"Authorization": f"Bearer {here.keys['emailable']}"}
    report = (await here.client.get("/veriplex/v1/sources/report", headers=headers)).json()
    first = report["agreement"][0]
    assert (first["shadow"], first["source"], first["provider"]) == ("v1", "v0", None)
    assert (first["same"]["hits"], first["same"]["count"], first["same"]["too_few"]) == (2, 3, True)
    metrics = (await here.client.get("/metrics")).text
    assert 'veriplex_shadow_questions_total{outcome="deliverable",source="v1"} 2.0' in metrics


async def test_its_answers_are_judged_by_outcomes_like_any(stack: AsyncExitStack) -> None:
    _, _, here = await opened(stack)
    await here.ask("bad@example.com")
    await until_answered(here, 1)
    outcomes = here.services.outcomes
    assert outcomes is not None
    await outcomes.write()
    headers = {"Authorization": f"Bearer {here.keys['emailable']}"}
    told = {"email": "bad@example.com", "outcome": "hard_bounce"}
    await here.client.post("/veriplex/v1/outcomes", json=told, headers=headers)
    tallies = {t.source: (t.verdict, t.bounced) for t in await outcomes.records.tallies()}
    assert tallies == {"v0": (Verdict.DELIVERABLE, 1), "v1": (Verdict.UNDELIVERABLE, 1)}


async def test_its_answer_is_neither_given_out_nor_cached(stack: AsyncExitStack) -> None:
    asked, shadow, here = await opened(stack)
    first = (await here.ask("bad@example.com")).json()
    await until_answered(here, 1)
    again = (await here.ask("bad@example.com")).json()
    assert (first["source"], again["source"], again["verdict"]) == ("v0", "v0", "deliverable")
    assert again["cached"] is True
    assert [a["source"] for a in again["attempts"]] == ["v0"]
    # and a cached answer is no new verification
    assert (sum(asked.asked.values()), sum(shadow.asked.values())) == (1, 1)
    assert shadow_of(here).waiting == 0


@pytest.mark.parametrize("mood", [Mood.HANG, Mood.RESET, Mood.ERROR, Mood.GARBAGE, Mood.THROTTLED])
async def test_no_request_waits_for_a_shadow_that_is_ill(stack: AsyncExitStack, mood: Mood) -> None:
    asked, shadow, here = await opened(stack)
    shadow.mood = mood
    count = MAX_WAITING + 10
    for number in range(count):
        reply = await here.ask(f"user{number}@example.com")
        assert (reply.status_code, reply.json()["source"]) == (200, "v0")
    assert sum(asked.asked.values()) == count
    source = shadow_of(here)
    assert source.waiting <= MAX_WAITING
    if mood is Mood.HANG:
        assert sum(shadow.asked.values()) <= MAX_IN_FLIGHT
        assert source.outcomes["dropped_full"] > 0
    assert not any(verdict.value in source.outcomes for verdict in Verdict)


async def test_a_shadow_that_is_dead_fails_no_request(stack: AsyncExitStack) -> None:
    _, shadow, here = await opened(stack)
    await shadow.kill()
    for number in range(10):
        assert (await here.ask(f"user{number}@example.com")).status_code == 200
    await until_answered(here, 10)
    assert set(shadow_of(here).outcomes) <= {"unreachable", "dropped_resting"}
    assert await figures(here) == {}


async def test_a_refused_key_is_tried_once(stack: AsyncExitStack) -> None:
    _, _, here = await opened(stack, v1={"api_key": "env:BAD"})
    for number in range(10):
        assert (await here.ask(f"user{number}@example.com")).status_code == 200
        await until_answered(here, number + 1)
    assert shadow_of(here).outcomes == {"dead_key": 1, "dropped_resting": 9}


async def test_its_budget_is_its_own_to_the_last_cent(stack: AsyncExitStack) -> None:
    asked, shadow, here = await opened(
        stack,
        routing={"shadow_daily_budget": 0.03},
        upstream={"price": 0.01, "daily_budget": 0.06},
        clock=lambda: NOON,
    )
    for number in range(6):
        assert (await here.ask(f"user{number}@example.com")).status_code == 200
        await until_answered(here, number + 1)
    # three shadow requests took nothing from the six of clients, which used up their own budget
    assert (sum(asked.asked.values()), sum(shadow.asked.values())) == (6, 3)
    assert shadow_of(here).outcomes["dropped_over_budget"] == 3
    assert shadow_of(here).spent_micros == 30_000
    assert (await here.ask("last@example.com")).status_code != 200


async def test_it_yields_while_clients_use_the_same_upstream(stack: AsyncExitStack) -> None:
    first = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    second = await stack.enter_async_context(vendor(BY_NAME["kickbox"]))
    settings = settings_for(
        [first, second],
        routing=SHADOWED | {"order": ["v0"]},
        v1={"connections": 1},
        routes=[{"name": "busy", "keys": ["nobody"], "order": ["v1"], "complete": "none"}],
    )
    here = await stack.enter_async_context(front(settings))
    second.mood = Mood.HANG
    policy = here.services.service._policy
    route = policy._routes["nobody"]  # type: ignore[attr-defined]
    held = asyncio.create_task(
        policy.verify_by_route(  # type: ignore[attr-defined]
            route, None, parse_address("held@example.com"), Checks()
        )
    )
    await second.was_asked.wait()
    await here.ask("user@example.com")
    await until_answered(here, 1)
    assert shadow_of(here).outcomes == {"dropped_yielded": 1}
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.2, 20, 60), (1.0, 200, 200)])
async def test_the_share_is_kept(
    stack: AsyncExitStack, share: float, least: int, most: int
) -> None:
    _, _, here = await opened(stack, routing={"shadow_share": share})
    for number in range(200):
        await here.ask(f"user{number}@example.com")
    assert here.services.shadow is not None
    sources = here.services.shadow.sources
    offered = sum(source.outcomes.total() + source.waiting for source in sources)
    in_flight = sum(len(source._tasks) for source in sources)
    assert least <= offered + in_flight
    assert offered <= most


async def test_only_the_check_of_the_mailbox_is_compared(stack: AsyncExitStack) -> None:
    _, _, here = await opened(stack)
    await here.ask("user@example.com", smtp="false")
    await here.ask("not an address")
    assert shadow_of(here).outcomes.total() + shadow_of(here).waiting == 0


async def test_a_source_that_took_part_is_not_asked_again(stack: AsyncExitStack) -> None:
    unknown = (Verdict.UNKNOWN, Reason.TIMEOUT)
    asked = await stack.enter_async_context(vendor(BY_NAME["emailable"], says=lambda _: unknown))
    other = await stack.enter_async_context(vendor(BY_NAME["kickbox"]))
    settings = settings_for(
        [asked, other],
        routing={**SHADOWED, "order": ["v0", "v1"], "strategy": "waterfall", "shadow": ["v0"]},
    )
    here = await stack.enter_async_context(front(settings))
    assert (await here.ask("user@example.com")).json()["source"] == "v1"
    assert shadow_of(here).outcomes.total() + shadow_of(here).waiting == 0


async def test_the_engine_is_a_shadow_of_a_vendor(stack: AsyncExitStack) -> None:
    asked = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    local = Local(Verdict.UNDELIVERABLE)
    settings = settings_for([asked], routing={**SHADOWED, "shadow": ["local"]})
    here = await stack.enter_async_context(front(settings, local))
    assert (await here.ask("user@example.com")).json()["verdict"] == "deliverable"
    await until_answered(here, 1)
    assert shadow_of(here).outcomes == {"undeliverable": 1}


async def test_addresses_of_batches_are_compared_too(stack: AsyncExitStack) -> None:
    _, _, here = await opened(stack, upstream={"bulk": False})
    headers = {"Authorization": f"Bearer {here.keys['emailable']}"}
    emails = [f"user{n}@example.com" for n in range(20)]
    made = await here.client.post("/veriplex/v1/batches", json={"emails": emails}, headers=headers)
    assert made.status_code < 300, made.text
    await until_answered(here, 20)
    assert (await figures(here))[""].agreement.same.count == 20


async def test_a_route_has_shadows_of_its_own(stack: AsyncExitStack) -> None:
    first = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    second = await stack.enter_async_context(vendor(BY_NAME["kickbox"]))
    settings = settings_for(
        [first, second],
        routing={"order": ["v0"]},
        routes=[{"name": "mine", "keys": ["a key"], **SHADOWED}],
    )
    here = await stack.enter_async_context(front(settings))
    await here.ask("user@example.com")
    await until_answered(here, 1)
    assert sum(second.asked.values()) == 1


def test_settings_that_contradict_each_other() -> None:
    def mistakes(routing: dict[str, Any], **more: Any) -> list[str]:
        tree = {
            "routing": {"order": ["local"], **routing},
            "upstreams": [
                {
                    "name": "kickbox",
                    "dialect": "kickbox",
                    "base_url": "http://127.0.0.1",
                    "api_key": "env:KEY",
                    "price": 0.01,
                }
            ],
            **more,
        }
        settings = Settings.model_validate(tree, context={"environ": {"KEY": "k"}})
        return [f"{path}: {message}" for path, message in check_settings(settings, ())]

    assert mistakes({"shadow": ["kickbox"]}) == []
    assert "did you mean" in mistakes({"shadow": ["kikbox"]})[0]
    assert "named twice" in mistakes({"shadow": ["kickbox", "kickbox"]})[0]
    assert "none to compare" in mistakes({"shadow": ["local"]})[0]
    assert "shadow_daily_budget" in mistakes({"shadow": ["kickbox"], "shadow_daily_budget": 0})[0]
    assert "keep_days" in mistakes({"shadow": ["kickbox"]}, outcomes={"keep_days": 0})[0]
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="shadow_share"):
            mistakes({"shadow_share": share})
