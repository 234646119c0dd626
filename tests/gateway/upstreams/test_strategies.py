"""Which source is asked, which answer is believed, what it costs."""

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.model import Reason, Verdict
from tests.dialects import NAMES
from tests.fakes.clock import Clock
from tests.fakes.vendor import GOOD_KEY, Mood, Says, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, Local, front, settings_for

DELIVERABLE = (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL)
UNDELIVERABLE = (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL)
RISKY = (Verdict.RISKY, Reason.CATCH_ALL)
UNKNOWN = (Verdict.UNKNOWN, Reason.TIMEOUT)


def always(said: tuple[Verdict, Reason]) -> Says:
    return lambda _: said


@pytest.fixture
async def stack() -> Any:
    async with AsyncExitStack() as stack:
        yield stack


async def made(
    stack: AsyncExitStack, *said: tuple[Verdict, Reason], **options: Any
) -> tuple[list[Vendor], Front]:
    """A server in front of one vendor for each verdict."""
    local = options.pop("local", None)
    label = options.pop("label", "a key")
    clock = options.pop("clock", time.time)
    vendors = [
        await stack.enter_async_context(vendor(BY_NAME["emailable"], says=always(one)))
        for one in said
    ]
    settings = settings_for(vendors, **options)
    return vendors, await stack.enter_async_context(front(settings, local, label, clock))


def asked(vendors: list[Vendor]) -> list[int]:
    return [sum(v.asked.values()) for v in vendors]


async def verify_natively(here: Front, email: str = "a@example.com") -> dict[str, Any]:
    reply = await here.ask(email)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


# -- strategies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted", "asks"),
    [
        ((DELIVERABLE, DELIVERABLE), "deliverable", [1, 0]),
        ((UNDELIVERABLE, DELIVERABLE), "undeliverable", [1, 0]),
        ((UNKNOWN, DELIVERABLE), "deliverable", [1, 1]),
        ((RISKY, UNDELIVERABLE), "undeliverable", [1, 1]),
        ((RISKY, UNKNOWN), "risky", [1, 1]),
        ((UNKNOWN, RISKY), "risky", [1, 1]),
        ((UNKNOWN, UNKNOWN), "unknown", [1, 1]),
    ],
)
async def test_a_waterfall_goes_on_while_little_is_known(
    stack: AsyncExitStack, said: Any, wanted: str, asks: list[int]
) -> None:
    vendors, here = await made(stack, *said, routing={"strategy": "waterfall"})
    answer = await verify_natively(here)
    assert answer["verdict"] == wanted
    assert asked(vendors) == asks
    assert len(answer["attempts"]) == sum(asks)


async def test_a_waterfall_starts_at_home(stack: AsyncExitStack) -> None:
    routing = {"strategy": "waterfall", "order": ["local", "v0"]}
    vendors, here = await made(stack, DELIVERABLE, routing=routing)
    answer = await verify_natively(here)
    assert [(a["source"], a["outcome"]) for a in answer["attempts"]] == [
        ("local", "unknown"),
        ("v0", "deliverable"),
    ]
    assert asked(vendors) == [1]


async def test_an_engine_that_knows_costs_nothing(stack: AsyncExitStack) -> None:
    routing = {"strategy": "waterfall", "order": ["local", "v0"]}
    local = Local(Verdict.UNDELIVERABLE)
    vendors, here = await made(stack, DELIVERABLE, routing=routing, local=local)
    assert (await verify_natively(here))["source"] == "local"
    assert asked(vendors) == [0]


async def test_only_verdicts_that_the_settings_list_are_final(stack: AsyncExitStack) -> None:
    vendors, here = await made(stack, UNDELIVERABLE, DELIVERABLE, v0={"final": ["deliverable"]})
    answer = await verify_natively(here)
    assert answer["source"] == "v1"
    assert asked(vendors) == [1, 1]


@pytest.mark.parametrize(
    ("said", "wanted", "reason"),
    [
        ((DELIVERABLE, DELIVERABLE, UNDELIVERABLE), "deliverable", "accepted_email"),
        ((DELIVERABLE, UNDELIVERABLE, UNDELIVERABLE), "undeliverable", "rejected_email"),
        ((DELIVERABLE, UNDELIVERABLE, RISKY), "risky", "low_quality"),
        ((DELIVERABLE, UNKNOWN, UNKNOWN), "unknown", "timeout"),
        ((UNKNOWN, UNKNOWN, UNKNOWN), "unknown", "timeout"),
    ],
)
async def test_a_quorum_has_to_agree(
    stack: AsyncExitStack, said: Any, wanted: str, reason: str
) -> None:
    _, here = await made(stack, *said, routing={"strategy": "quorum"})
    answer = await verify_natively(here)
    assert (answer["verdict"], answer["reason"]) == (wanted, reason)
    assert len(answer["attempts"]) >= 2


async def test_a_quorum_asks_others_in_place_of_those_that_fail(stack: AsyncExitStack) -> None:
    vendors, here = await made(
        stack,
        DELIVERABLE,
        DELIVERABLE,
        DELIVERABLE,
        routing={"strategy": "quorum", "quorum_ask": 2},
    )
    vendors[0].mood = Mood.ERROR
    assert (await verify_natively(here))["verdict"] == "deliverable"
    assert asked(vendors) == [1, 1, 1]


async def test_who_is_asked_and_not_waited_for_counts(stack: AsyncExitStack) -> None:
    """The third was asked, and will be paid, though two agree before it speaks."""
    routing = {"strategy": "quorum"}
    vendors, here = await made(
        stack, DELIVERABLE, DELIVERABLE, DELIVERABLE, routing=routing, v2={"price": 0.02}
    )
    vendors[2].mood, vendors[2].slow_s = Mood.SLOW, 0.5
    reply = await here.ask("a@example.com")
    assert reply.headers["x-veriplex-attempts"] == "3"
    *first_two, third = reply.json()["attempts"]
    assert [a["outcome"] for a in first_two] == ["deliverable", "deliverable"]
    assert (third["source"], third["outcome"], third["cost"]) == ("v2", "outrun", 0.02)


async def test_the_cheapest_goes_first(stack: AsyncExitStack) -> None:
    vendors, here = await made(
        stack,
        DELIVERABLE,
        DELIVERABLE,
        routing={"strategy": "cheapest"},
        v0={"price": 0.01},
        v1={"price": 0.002},
    )
    answer = await verify_natively(here)
    assert answer["attempts"][0]["cost"] == 0.002
    assert asked(vendors) == [0, 1]


async def test_shares_follow_weights(stack: AsyncExitStack) -> None:
    vendors, here = await made(
        stack,
        DELIVERABLE,
        DELIVERABLE,
        DELIVERABLE,
        routing={"strategy": "weighted"},
        v0={"weight": 9},
        v1={"weight": 1},
        v2={"weight": 0},
    )
    for number in range(200):
        await verify_natively(here, f"a{number}@example.com")
    first, second, third = asked(vendors)
    assert first + second == 200
    assert 160 <= first < 200
    assert third == 0


async def test_the_fastest_goes_first(stack: AsyncExitStack) -> None:
    vendors, here = await made(stack, DELIVERABLE, DELIVERABLE, routing={"strategy": "fastest"})
    vendors[0].mood, vendors[0].slow_s = Mood.SLOW, 0.1
    sources = Counter(
        [(await verify_natively(here, f"a{n}@example.com"))["source"] for n in range(40)]
    )
    assert sources["v1"] > 30


async def test_a_slow_source_is_hedged(stack: AsyncExitStack) -> None:
    vendors, here = await made(stack, DELIVERABLE, DELIVERABLE, routing={"hedge": True})
    for number in range(30):
        await verify_natively(here, f"a{number}@example.com")
    assert asked(vendors)[1] <= 5
    vendors[0].mood, vendors[0].slow_s = Mood.SLOW, 0.5
    began = asyncio.get_running_loop().time()
    answer = await verify_natively(here, "slow@example.com")
    assert answer["source"] == "v1"
    assert asyncio.get_running_loop().time() - began < 0.4
    assert [(a["source"], a["outcome"]) for a in answer["attempts"]] == [
        ("v1", "deliverable"),
        ("v0", "outrun"),
    ]


async def test_without_leave_nothing_is_hedged(stack: AsyncExitStack) -> None:
    vendors, here = await made(stack, DELIVERABLE, DELIVERABLE)
    for number in range(30):
        await verify_natively(here, f"a{number}@example.com")
    vendors[0].mood = Mood.SLOW
    assert (await verify_natively(here, "slow@example.com"))["source"] == "v0"
    assert asked(vendors)[1] == 0


async def test_a_busy_source_is_passed_over_and_waited_for_only_if_it_is_the_last(
    stack: AsyncExitStack,
) -> None:
    vendors, here = await made(
        stack, DELIVERABLE, DELIVERABLE, v0={"connections": 1}, v1={"connections": 1}
    )
    for one in vendors:
        one.mood = Mood.SLOW
    replies = await asyncio.gather(*(verify_natively(here, f"a{n}@example.com") for n in range(6)))
    assert Counter(reply["source"] for reply in replies).keys() == {"v0", "v1"}


# -- routes of keys ----------------------------------------------------------------------


async def test_keys_have_routes_of_their_own(stack: AsyncExitStack) -> None:
    vendors, here = await made(
        stack,
        DELIVERABLE,
        UNDELIVERABLE,
        label="sign-up",
        routing={"order": ["v0"]},
        routes=[{"name": "sign-up", "keys": ["sign-up"], "order": ["v1"], "complete": "none"}],
    )
    assert (await verify_natively(here))["source"] == "v1"
    assert asked(vendors) == [0, 1]


# -- money -------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", ["daily_budget", "monthly_budget"])
async def test_nothing_is_spent_beyond_the_last_cent(stack: AsyncExitStack, cap: str) -> None:
    """At the cap the policy moves on: the next source answers, no request fails."""
    vendors, here = await made(
        stack, DELIVERABLE, DELIVERABLE, v0={"price": 0.01, cap: 0.375}, v1={"price": 0.05}
    )
    answers = await asyncio.gather(
        *(verify_natively(here, f"a{n}@example.com") for n in range(100))
    )
    assert Counter(answer["source"] for answer in answers) == {"v0": 37, "v1": 63}
    assert asked(vendors) == [37, 63]
    over = next(answer for answer in answers if answer["source"] == "v1")
    assert over["attempts"][0] == {
        "source": "v0",
        "outcome": "over_budget",
        "latency_ms": 0,
        "cost": 0.0,
        "status": None,
        "detail": "",
        "asked": False,
    }


async def test_spending_survives_a_restart(stack: AsyncExitStack, tmp_path: Path) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    settings = settings_for(
        [one],
        v0={"price": 0.01, "daily_budget": 0.05},
        storage={"url": f"sqlite:///{tmp_path / 'a.db'}"},
    )
    for wanted in ([200] * 3, [200, 200, 503]):
        async with front(settings) as here:
            for number, status in enumerate(wanted):
                email = f"a{number}-{len(one.seen)}@example.com"
                assert (await here.ask(email)).status_code == status
    assert asked([one]) == [5]


async def test_what_was_not_billed_is_not_spent(stack: AsyncExitStack) -> None:
    vendors, here = await made(stack, DELIVERABLE, v0={"price": 0.01, "daily_budget": 0.02})
    vendors[0].mood = Mood.ERROR
    assert (await here.ask("a@example.com")).status_code == 503
    vendors[0].mood = Mood.GOOD
    for number in range(2):
        assert (await verify_natively(here, f"b{number}@example.com"))["source"] == "v0"
    assert (await here.ask("c@example.com")).status_code == 503


@pytest.mark.parametrize(("dialect", "cost"), [("kickbox", 0.0), ("emailable", 0.01)])
async def test_a_verdict_that_the_vendor_gives_away_is_not_spent(
    stack: AsyncExitStack, dialect: str, cost: float
) -> None:
    async with vendor(BY_NAME[dialect], says=lambda _: UNKNOWN) as one:
        here = await stack.enter_async_context(front(settings_for([one], v0={"price": 0.01})))
        answer = await verify_natively(here, "a@example.com")
        assert [(a["outcome"], a["cost"]) for a in answer["attempts"]] == [("unknown", cost)]


async def test_a_key_has_a_budget_of_its_own(stack: AsyncExitStack) -> None:
    vendors, here = await made(
        stack, DELIVERABLE, v0={"price": 0.01}, routing={"daily_budget": 0.03}
    )
    statuses = [(await here.ask(f"a{n}@example.com")).status_code for n in range(5)]
    assert statuses == [200, 200, 200, 503, 503]
    reply = await here.verify("validto", "b@example.com")
    assert reply.status_code == 200, "another key of the same account"
    assert asked(vendors) == [4]


async def test_an_empty_account_is_seen_in_its_balance(stack: AsyncExitStack) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["validto"], credits=0))
    other = await stack.enter_async_context(vendor(BY_NAME["validto"]))
    settings = settings_for([one, other], upstream={"balance_every_s": 3600})
    here = await stack.enter_async_context(front(settings))
    known = 'veriplex_upstream_credits{key="1",source="v0"} 0.0'
    metrics = ""
    async with asyncio.timeout(10):
        while known not in metrics or not other.balances:
            await asyncio.sleep(0)
            metrics = (await here.client.get("/metrics")).text
    assert (one.balances, other.balances) == (1, 1)
    assert (await verify_natively(here))["source"] == "v1"
    assert asked([one, other]) == [0, 1]


# -- what is seen ------------------------------------------------------------------------


async def test_counters_tell_sources_outcomes_circuits_and_spending(stack: AsyncExitStack) -> None:
    vendors, here = await made(
        stack, DELIVERABLE, DELIVERABLE, v0={"price": 0.01}, v1={"price": 0.02}
    )
    vendors[0].mood = Mood.GARBAGE
    for number in range(6):
        await verify_natively(here, f"a{number}@example.com")
    await verify_natively(here, "a0@example.com")
    metrics = (await here.client.get("/metrics")).text
    for line in (
        'veriplex_attempts_total{outcome="garbage",source="v0"} 3.0',
        'veriplex_attempts_total{outcome="deliverable",source="v1"} 6.0',
        'veriplex_circuit{source="v0",state="open"} 1.0',
        'veriplex_circuit{source="v1",state="closed"} 1.0',
        'veriplex_spent_total{source="v1"} 0.12',
        'veriplex_cache_total{outcome="hit"} 1.0',
        'veriplex_cache_total{outcome="miss"} 6.0',
    ):
        assert line in metrics


async def test_a_stale_answer_is_given_while_it_is_renewed(stack: AsyncExitStack) -> None:
    clock = Clock()
    cache = {"ttl_s": {"deliverable": 1}, "stale_s": 60, "stored": False}
    vendors, here = await made(stack, DELIVERABLE, cache=cache, clock=clock)
    await verify_natively(here)
    vendors[0].was_asked.clear()
    clock.now += 1.1
    reply = await here.ask("a@example.com")
    assert reply.headers["cache-status"] == "veriplex; hit; ttl=-1"
    await vendors[0].was_asked.wait()
    statuses = {"veriplex; hit; ttl=-1"}
    async with asyncio.timeout(10):
        while statuses == {"veriplex; hit; ttl=-1"}:
            await asyncio.sleep(0)
            statuses.add((await here.ask("a@example.com")).headers["cache-status"])
    assert statuses == {"veriplex; hit; ttl=-1", "veriplex; hit; ttl=1"}
    assert asked(vendors) == [2]


@pytest.mark.parametrize("name", ["generic", "whoisxml"])
async def test_a_refresh_goes_through_to_the_vendor(stack: AsyncExitStack, name: str) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME[name]))
    here = await stack.enter_async_context(front(settings_for([one])))
    await here.ask("a@example.com")
    await here.ask("a@example.com", refresh="true")
    plain, refreshed = one.seen
    assert "refresh" not in (plain.query_string + plain.body.decode()).lower()
    assert "refresh" in (refreshed.query_string + refreshed.body.decode()).lower()


@pytest.mark.parametrize("name", NAMES)
async def test_exchanges_are_recorded_without_keys_and_addresses(tmp_path: Path, name: str) -> None:
    async with vendor(BY_NAME[name]) as one:
        settings = settings_for([one], upstream={"record": True, "record_to": str(tmp_path)})
        async with front(settings) as here:
            await verify_natively(here, "private.person+tag@secret-firm.example")
            one.mood = Mood.ERROR
            await here.ask("other.person@secret-firm.example")
    files = sorted((tmp_path / name).glob("*.json"))
    assert len(files) == 2
    for file in files:
        text = file.read_text()
        for private in (GOOD_KEY, "private", "secret-firm", "other.person"):
            assert private not in text
        case = json.loads(text)
        assert {"about", "source", "request", "reply"} <= case.keys()
        assert case["request"]["url"].startswith(BY_NAME[name].base_path)
