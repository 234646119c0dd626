"""Sources that fail, under steady load and one by one: real sockets, real faults."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from engine.model import Verdict
from tests.fakes.vendor import GOOD_KEY, Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, Local, front, settings_for

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
    stack: AsyncExitStack, first: str = "emailable", second: str = "validto", **told: object
) -> tuple[Vendor, Vendor, Front]:
    one = await stack.enter_async_context(vendor(BY_NAME[first]))
    other = await stack.enter_async_context(vendor(BY_NAME[second]))
    settings = settings_for([one, other], **told)
    return one, other, await stack.enter_async_context(front(settings))


@pytest.mark.parametrize("name", list(BY_NAME))
@pytest.mark.parametrize("mood", FAULTS)
async def test_the_next_source_answers(stack: AsyncExitStack, name: str, mood: Mood) -> None:
    bad, good, here = await two(stack, name, v0={"timeout_s": 0.2})
    bad.mood = mood
    reply = await here.ask("a@example.com")
    assert reply.status_code == 200
    told = reply.json()
    assert told["verdict"] == "deliverable"
    assert told["source"] == "v1"
    assert [a["outcome"] for a in told["attempts"]] == [OUTCOMES[mood], "deliverable"]
    assert reply.headers["x-veriplex-attempts"] == "2"
    assert sum(bad.asked.values()) == 1, "a request that may have been billed is not repeated"
    assert sum(good.asked.values()) == 1


@pytest.mark.parametrize("mood", [Mood.GOOD, *FAULTS])
async def test_no_client_request_fails_while_one_source_lives(
    stack: AsyncExitStack, mood: Mood
) -> None:
    """Two hundred requests, twenty at a time; the first source turns bad in the middle."""
    bad, _, here = await two(stack, upstream={"timeout_s": 0.3})
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
    # all but those that were under way when it turned bad
    assert sources["v0"] > 60 - 20
    if mood in (Mood.ERROR, Mood.RESET, Mood.HALF, Mood.GARBAGE, Mood.UNAVAILABLE):
        # five failures open the circuit; what was under way then still fails
        assert bad.asked[GOOD_KEY] - sources["v0"] <= 25


async def test_a_killed_vendor_costs_no_request(stack: AsyncExitStack) -> None:
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


@pytest.mark.parametrize("name", list(BY_NAME))
async def test_when_all_fail_the_client_gets_its_own_temporary_error(
    stack: AsyncExitStack, name: str
) -> None:
    one, other, here = await two(stack)
    one.mood = other.mood = Mood.ERROR
    reply = await here.verify(name, "a@example.com")
    assert reply.status_code == 503
    assert reply.headers["x-veriplex-source"] == "none"
    assert reply.headers["x-veriplex-attempts"] == "2"
    one.mood = Mood.GOOD
    assert (await here.verify(name, "a@example.com")).status_code == 200, "a failure is not kept"


async def test_the_native_api_shows_what_was_tried(stack: AsyncExitStack) -> None:
    one, other, here = await two(stack)
    one.mood, other.mood = Mood.ERROR, Mood.RESET
    reply = await here.ask("a@example.com")
    assert (reply.status_code, reply.headers["x-veriplex-source"]) == (503, "none")
    assert reply.headers["x-veriplex-attempts"] == "2"
    assert reply.headers["cache-status"] == "veriplex; fwd=miss"
    told = reply.json()
    assert "server_error (1)" in told["detail"]
    assert [(a["source"], a["outcome"]) for a in told["attempts"]] == [
        ("v0", "server_error"),
        ("v1", "broken"),
    ]


async def test_or_unknown_if_the_settings_want_that(stack: AsyncExitStack) -> None:
    one, other, here = await two(stack, routing={"on_failure": "unknown"})
    one.mood = other.mood = Mood.ERROR
    told = (await here.verify("emailable", "a@example.com")).json()
    assert (told["state"], told["reason"]) == ("unknown", "unexpected_error")
    one.mood = Mood.GOOD
    assert (await here.verify("emailable", "a@example.com")).json()["state"] == "deliverable"


async def test_a_bug_of_the_engine_does_not_take_the_upstreams_with_it(
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
async def test_an_answer_that_is_not_ready_is_asked_for_again(
    stack: AsyncExitStack, name: str
) -> None:
    one, _, here = await two(stack, name, upstream={"timeout_s": 10})
    one.mood, one.pending = Mood.PENDING, 1
    told = (await here.ask("a@example.com")).json()
    assert told["source"] == "v0"
    assert one.asked[GOOD_KEY] == 2


async def test_a_dead_key_is_never_tried_again_on_a_guess(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack, "dataoorts", v0={"api_key": "env:BAD"})
    for number in range(10):
        assert (await here.ask(f"a{number}@example.com")).json()["source"] == "v1"
    assert one.asked["bad-key"] == 1


async def test_a_spare_key_takes_over_from_a_dead_one(stack: AsyncExitStack) -> None:
    one, _, here = await two(
        stack, "whoisxml", v0={"api_key": "env:BAD", "spare_api_keys": ["env:KEY"]}
    )
    for number in range(3):
        assert (await here.ask(f"a{number}@example.com")).json()["source"] == "v0"
    assert one.asked == {"bad-key": 1, GOOD_KEY: 3}


async def test_a_throttled_source_rests_as_long_as_it_said(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack, "generic")
    one.mood, one.retry_after_s = Mood.THROTTLED, 30
    await here.ask("a@example.com")
    one.mood = Mood.GOOD
    told = (await here.ask("b@example.com")).json()
    assert told["source"] == "v1"
    assert [(a["outcome"], a["asked"]) for a in told["attempts"]] == [
        ("resting", False),
        ("deliverable", True),
    ]
    assert one.asked[GOOD_KEY] == 1


async def test_the_only_source_is_waited_for_while_it_rests(stack: AsyncExitStack) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["generic"], mood=Mood.THROTTLED))
    here = await stack.enter_async_context(front(settings_for([one])))
    asking = asyncio.create_task(here.ask("a@example.com"))
    await asyncio.sleep(0.2)  # it rests for a second
    one.mood = Mood.GOOD
    assert (await asking).json()["verdict"] == "deliverable"


async def test_nobody_waits_for_a_source_that_rests_too_long(stack: AsyncExitStack) -> None:
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
    await asyncio.sleep(0.05)
    await one.start()
    told = (await asking).json()
    assert told["verdict"] == "deliverable"
    assert told["attempts"][0]["outcome"] == "unreachable"


async def test_one_deadline_holds_for_all_sources(stack: AsyncExitStack) -> None:
    one, other, here = await two(stack, routing={"deadline_s": 0.4})
    one.mood = other.mood = Mood.HANG
    began = asyncio.get_running_loop().time()
    assert (await here.ask("a@example.com")).status_code == 503
    assert asyncio.get_running_loop().time() - began < 0.8


async def test_no_key_is_logged(stack: AsyncExitStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    one, _, here = await two(stack, "validto", "whoisxml")
    for mood in (Mood.GOOD, Mood.RESET, Mood.GARBAGE, Mood.ERROR):
        one.mood = mood
        reply = await here.ask(f"{mood}@example.com")
        assert GOOD_KEY not in reply.text
    assert GOOD_KEY not in caplog.text


async def test_what_is_wrong_with_an_address_costs_nothing(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack)
    told = (await here.ask("not an address")).json()
    assert (told["verdict"], told["reason"]) == (Verdict.UNDELIVERABLE, "invalid_email")
    assert not one.asked


async def test_one_question_in_flight_is_asked_once(stack: AsyncExitStack) -> None:
    one, _, here = await two(stack)
    one.mood = Mood.SLOW
    replies: list[httpx.Response] = await asyncio.gather(
        *(here.ask("a@example.com") for _ in range(20))
    )
    assert {reply.status_code for reply in replies} == {200}
    assert one.asked[GOOD_KEY] == 1


async def test_equal_questions_at_a_time_are_asked_once() -> None:
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


async def test_a_client_is_told_when_to_come_back_while_all_sources_rest() -> None:
    async with (
        vendor(BY_NAME["emailable"], keys=set()) as one,
        front(settings_for([one])) as here,
    ):
        reply = await here.verify("generic", "a@b.test")
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) == 300
