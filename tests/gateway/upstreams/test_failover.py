"""Sources that fail, under steady load and one by one: real sockets, real faults."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from engine.model import Verdict
from tests.dialects import NAMES
from tests.fakes.vendor import GOOD_KEY, Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, Local, front, settings_for

FIRST_TIMEOUT_S = 0.3
"""Of a vendor that never answers; for all others the time-out is not the point, and is long."""
FAULTS = [mood for mood in Mood if mood not in (Mood.GOOD, Mood.SLOW, Mood.PENDING, Mood.BANNED)]
OUTCOMES = {
    Mood.HANG: "timed_out",
    Mood.RESET: "broken",
    Mood.HALF: "broken",
    Mood.GARBAGE: "garbage",
    Mood.ERROR: "server_error",
    Mood.UNAVAILABLE: "server_error",
    Mood.THROTTLED: "too_fast",
    Mood.EMPTY: "no_credits",
}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def two(
    stack: AsyncExitStack, first: str = "emailable", second: str = "validto", **options: object
) -> tuple[Vendor, Vendor, Front]:
    one = await stack.enter_async_context(vendor(BY_NAME[first]))
    other = await stack.enter_async_context(vendor(BY_NAME[second]))
    settings = settings_for([one, other], **options)
    return one, other, await stack.enter_async_context(front(settings))


def first_timeout(mood: Mood) -> dict[str, float]:
    return {"timeout_s": FIRST_TIMEOUT_S} if mood is Mood.HANG else {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mood", FAULTS)
async def test_the_next_source_answers(stack: AsyncExitStack, name: str, mood: Mood) -> None:
    bad, good, here = await two(stack, name, v0=first_timeout(mood))
    bad.mood = mood
    reply = await here.ask("a@example.com")
    assert reply.status_code == 200
    shown = reply.json()
    assert shown["verdict"] == "deliverable"
    assert shown["source"] == "v1"
    assert [a["outcome"] for a in shown["attempts"]] == [OUTCOMES[mood], "deliverable"]
    assert reply.headers["x-veriplex-attempts"] == "2"
    assert sum(bad.asked.values()) == 1, "a request that may have been billed is not repeated"
    assert sum(good.asked.values()) == 1


@pytest.mark.parametrize("mood", [Mood.GOOD, *FAULTS])
async def test_no_client_request_fails_while_one_source_lives(
    stack: AsyncExitStack, mood: Mood
) -> None:
    """Two hundred requests, twenty at a time; the first source fails from the 60th to the 140th."""
    bad, _, here = await two(stack, v0=first_timeout(mood))
    sources: Counter[str] = Counter()
    numbers = iter(range(200))

    async def client() -> None:
        for number in numbers:
            if number == 60:
                bad.mood = mood
            if number == 140:
                bad.mood = Mood.GOOD
            reply = await here.verify("generic", f"a{number}@example.com")
            assert reply.status_code == 200
            assert reply.json()["tier"] == "deliverable"
            sources[reply.headers["x-veriplex-source"]] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(client())
    assert sources.total() == 200
    # Of the first sixty, all but those that were in flight when it began to fail.
    assert sources["v0"] > 60 - 20
    if mood in (Mood.ERROR, Mood.RESET, Mood.HALF, Mood.GARBAGE, Mood.UNAVAILABLE):
        # Five failures open the circuit; requests that are in flight then still fail.
        assert bad.asked[GOOD_KEY] - sources["v0"] <= 25


async def test_no_request_fails_while_a_vendor_is_restarted(stack: AsyncExitStack) -> None:
    bad, _, here = await two(stack, circuit={"pause_s": 0.05, "ramp_s": 0.05})
    for number in range(10):
        assert (await here.ask(f"a{number}@example.com")).json()["source"] == "v0"
    await bad.kill()
    for number in range(10, 20):
        assert (await here.ask(f"a{number}@example.com")).json()["source"] == "v1"
    await bad.start()
    seen: set[str] = set()
    for number in range(20, 2000):
        seen.add((await here.ask(f"a{number}@example.com")).json()["source"])
        if "v0" in seen:
            break
    assert "v0" in seen


@pytest.mark.parametrize("name", NAMES)
async def test_the_error_is_worded_in_the_clients_dialect_if_all_sources_fail(
    stack: AsyncExitStack, name: str
) -> None:
    one, other, here = await two(stack)
    one.mood = other.mood = Mood.ERROR
    reply = await here.verify(name, "a@example.com")
    assert reply.status_code == 503
    assert reply.headers["x-veriplex-source"] == "none"
    assert reply.headers["x-veriplex-attempts"] == "2"
    one.mood = Mood.GOOD
    assert (await here.verify(name, "a@example.com")).status_code == 200, "a failure is not cached"


async def test_the_native_api_shows_all_attempts(stack: AsyncExitStack) -> None:
    one, other, here = await two(stack)
    one.mood, other.mood = Mood.ERROR, Mood.RESET
    reply = await here.ask("a@example.com")
    assert (reply.status_code, reply.headers["x-veriplex-source"]) == (503, "none")
    assert reply.headers["x-veriplex-attempts"] == "2"
    assert reply.headers["cache-status"] == "veriplex; fwd=miss"
    shown = reply.json()
    assert "server_error (1)" in shown["detail"]
    assert [(a["source"], a["outcome"]) for a in shown["attempts"]] == [
        ("v0", "server_error"),
        ("v1", "broken"),
    ]


async def test_the_settings_may_want_an_unknown_verdict_in_place_of_the_error(
    stack: AsyncExitStack,
) -> None:
    one, other, here = await two(stack, routing={"on_failure": "unknown"})
    one.mood = other.mood = Mood.ERROR
    shown = (await here.verify("emailable", "a@example.com")).json()
    assert (shown["state"], shown["reason"]) == ("unknown", "unexpected_error")
    one.mood = Mood.GOOD
    assert (await here.verify("emailable", "a@example.com")).json()["state"] == "deliverable"


async def test_a_bug_of_the_engine_leads_to_the_next_source(
    stack: AsyncExitStack,
) -> None:
    class Broken(Local):
        async def verify(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise RuntimeError("a bug, on purpose")

    one = await stack.enter_async_context(vendor(BY_NAME["generic"]))
    settings = settings_for([one], routing={"order": ["local", "v0"]})
    here = await stack.enter_async_context(front(settings, Broken()))
    assert (await here.ask("a@example.com")).json()["source"] == "v0"


@pytest.mark.parametrize("name", ["emailable"])
async def test_a_pending_answer_is_asked_for_again(stack: AsyncExitStack, name: str) -> None:
    one, _, here = await two(stack, name, upstream={"timeout_s": 10})
    one.mood, one.pending = Mood.PENDING, 1
    shown = (await here.ask("a@example.com")).json()
    assert shown["source"] == "v0"
    assert one.asked[GOOD_KEY] == 2


async def test_a_refused_key_is_not_tried_again_soon(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack, "dataoorts", v0={"api_key": "env:BAD"})
    for number in range(10):
        assert (await here.ask(f"a{number}@example.com")).json()["source"] == "v1"
    assert one.asked["bad-key"] == 1


async def test_a_spare_key_takes_over_from_a_refused_one(stack: AsyncExitStack) -> None:
    one, _, here = await two(
        stack, "whoisxml", v0={"api_key": "env:BAD", "spare_api_keys": ["env:KEY"]}
    )
    for number in range(3):
        assert (await here.ask(f"a{number}@example.com")).json()["source"] == "v0"
    assert one.asked == {"bad-key": 1, GOOD_KEY: 3}


async def test_a_throttled_source_is_out_of_rotation_as_long_as_it_asked(
    stack: AsyncExitStack,
) -> None:
    one, _, here = await two(stack, "generic")
    one.mood, one.retry_after_s = Mood.THROTTLED, 30
    await here.ask("a@example.com")
    one.mood = Mood.GOOD
    shown = (await here.ask("b@example.com")).json()
    assert shown["source"] == "v1"
    assert [(a["outcome"], a["asked"]) for a in shown["attempts"]] == [
        ("resting", False),
        ("deliverable", True),
    ]
    assert one.asked[GOOD_KEY] == 1


async def test_the_only_source_is_waited_for_while_it_is_out_of_rotation(
    stack: AsyncExitStack,
) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["generic"], mood=Mood.THROTTLED))
    here = await stack.enter_async_context(front(settings_for([one])))
    asking = asyncio.create_task(here.ask("a@example.com"))
    await one.was_asked.wait()  # and has asked for a pause of a second
    one.mood = Mood.GOOD
    assert (await asking).json()["verdict"] == "deliverable"


async def test_a_long_pause_is_passed_on_to_the_client_as_retry_after(
    stack: AsyncExitStack,
) -> None:
    one = await stack.enter_async_context(
        vendor(BY_NAME["generic"], mood=Mood.THROTTLED, retry_after_s=100)
    )
    here = await stack.enter_async_context(front(settings_for([one])))
    reply = await here.verify("generic", "a@example.com")
    assert reply.status_code == 503
    assert 95 <= int(reply.headers["retry-after"]) <= 101


async def test_a_source_that_could_not_be_reached_is_asked_again(stack: AsyncExitStack) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["generic"]))
    here = await stack.enter_async_context(front(settings_for([one])))
    await one.kill()
    asking = asyncio.create_task(here.ask("a@example.com"))
    async with asyncio.timeout(10):
        while 'outcome="unreachable"' not in (await here.client.get("/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await one.start()
    shown = (await asking).json()
    assert shown["verdict"] == "deliverable"
    assert shown["attempts"][0]["outcome"] == "unreachable"


async def test_one_deadline_holds_for_all_sources(stack: AsyncExitStack) -> None:
    one, other, here = await two(stack, upstream={"timeout_s": 60.0}, routing={"deadline_s": 2.0})
    one.mood = other.mood = Mood.HANG
    async with asyncio.timeout(20):
        assert (await here.ask("a@example.com")).status_code == 503
    assert one.asked.total() == other.asked.total() == 1


async def test_no_key_is_logged(stack: AsyncExitStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    one, _, here = await two(stack, "validto", "whoisxml")
    for mood in (Mood.GOOD, Mood.RESET, Mood.GARBAGE, Mood.ERROR):
        one.mood = mood
        reply = await here.ask(f"{mood}@example.com")
        assert GOOD_KEY not in reply.text
    assert GOOD_KEY not in caplog.text


async def test_no_upstream_is_asked_about_a_malformed_address(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack)
    shown = (await here.ask("not an address")).json()
    assert (shown["verdict"], shown["reason"]) == (Verdict.UNDELIVERABLE, "invalid_email")
    assert not one.asked


async def test_equal_questions_in_flight_make_one_request(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack)
    one.mood = Mood.SLOW
    replies: list[httpx.Response] = await asyncio.gather(
        *(here.ask("a@example.com") for _ in range(20))
    )
    assert {reply.status_code for reply in replies} == {200}
    assert one.asked[GOOD_KEY] == 1


async def test_a_shared_answer_says_so_and_shows_the_address_as_written() -> None:
    async with (
        vendor(BY_NAME["emailable"], mood=Mood.SLOW) as one,
        front(settings_for([one])) as here,
    ):
        replies = await asyncio.gather(*(here.ask(f"bob@{name}") for name in ("b.test", "B.TEST")))
        assert one.asked.total() == 1
    first, second = replies
    assert first.headers["cache-status"] == "veriplex; fwd=miss; stored"
    assert second.headers["cache-status"] == "veriplex; fwd=miss; stored; collapsed"
    assert second.json()["address"] == "bob@B.TEST"


async def test_retry_after_is_bounded_while_all_sources_are_out_of_rotation() -> None:
    async with (
        vendor(BY_NAME["emailable"], keys=set()) as one,
        front(settings_for([one])) as here,
    ):
        reply = await here.verify("generic", "a@b.test")
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) == 300
