"""The shared server: waiting for it, losing it, and what can be read from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from statistics import median

import pytest

from adapters.contract.operations import Rate
from gateway.cluster.limits import RateLimitExceeded
from gateway.cluster.shared import Shared
from gateway.cluster.shared.connection import FAILURES_UNTIL_DOWN
from gateway.settings.storage import SharedSettings
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.valkey

Pair = tuple[Shared, Shared]
OpenPair = Callable[[SharedSettings], AbstractAsyncContextManager[Pair]]


@pytest.fixture
async def pair(valkey_server: ValkeyServer, pair_of: OpenPair) -> AsyncIterator[Pair]:
    settings = SharedSettings(url=valkey_server.url, timeout_ms=1_000)
    async with pair_of(settings) as opened:
        yield opened


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server to stop and to freeze."""
    server = ValkeyServer()
    yield server
    server.close()


def everything(server: ValkeyServer) -> bytes:
    """All keys and values there."""
    return server.command(
        "EVAL",
        """
        local all = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
          table.insert(all, key)
          table.insert(all, redis.call('DUMP', key))
        end
        return all
        """,
        "0",
    )


def change_time(server: ValkeyServer, kind: str, by: int) -> None:
    """Move the times in the keys of a kind, as if so many microseconds had passed."""
    server.command(
        "EVAL",
        """
        for _, key in ipairs(redis.call('KEYS', 'veriplex:' .. ARGV[1] .. ':*')) do
          for i = 0, redis.call('LLEN', key) - 1 do
            local at = redis.call('LINDEX', key, i)
            redis.call('LSET', key, i, string.format('%d', at - ARGV[2]))
          end
        end
        """,
        "0",
        kind,
        str(by),
    )


async def test_a_call_leaves_the_window_by_the_servers_clock(
    pair: Pair, valkey_server: ValkeyServer
) -> None:
    limiter = pair[0].limiter
    rate = Rate(2, 60)
    assert [await limiter.hit("a", rate), await limiter.hit("a", rate)] == [1, 0]
    with pytest.raises(RateLimitExceeded):
        await limiter.hit("a", rate)
    change_time(valkey_server, "rate", 60_000_000)
    assert await limiter.hit("a", rate) == 1


async def test_a_place_given_back_goes_to_a_process_that_waits(pair: Pair) -> None:
    first, second = (one.places_of("default") for one in pair)
    token = await first.take("operator", 1)
    waiting = asyncio.ensure_future(second.take("operator", 1))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    first.give_back("operator", token)
    async with asyncio.timeout(5):
        assert await waiting


async def test_a_process_with_its_share_gives_way_to_one_that_waits(
    pair: Pair, valkey_server: ValkeyServer
) -> None:
    first, second = (one.places_of("default") for one in pair)
    tokens = [await first.take("operator", 4) for _ in range(4)]
    waiting = asyncio.ensure_future(second.take("operator", 4))
    await until(lambda: b":waiting" in valkey_server.command("KEYS", "*:waiting"))
    first.give_back("operator", tokens.pop())
    greedy = asyncio.ensure_future(first.take("operator", 4))
    async with asyncio.timeout(5):
        assert await waiting
    assert not greedy.done()
    greedy.cancel()
    await asyncio.gather(greedy, return_exceptions=True)


async def test_a_cancelled_wait_holds_no_place(pair: Pair) -> None:
    first, second = (one.places_of("default") for one in pair)
    for _ in range(50):
        taking = asyncio.ensure_future(first.take("operator", 2))
        await asyncio.sleep(0.0005)
        taking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            first.give_back("operator", await taking)
    async with asyncio.timeout(5):
        assert [await second.take("operator", 2) for _ in range(2)]


async def test_the_places_of_a_killed_process_are_free_after_a_while(
    pair: Pair, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cluster.shared.pacing.LEASE_S", 0.05)
    first, second = (one.places_of("default") for one in pair)
    assert await first.take("operator", 1)
    async with asyncio.timeout(5):
        assert await second.take("operator", 1)


async def test_held_places_that_the_server_lost_are_there_again_when_they_are_renewed(
    pair: Pair, valkey_server: ValkeyServer
) -> None:
    first, second = (one.places_of("default") for one in pair)
    assert await first.take("operator", 1)
    valkey_server.flush()
    pair[0].held.renew()
    await pair[0].store.settle()  # type: ignore[union-attr]
    waiting = asyncio.ensure_future(second.take("operator", 1))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_burst_may_go_at_once_and_a_delay_holds_for_all(pair: Pair) -> None:
    first, second = (one.paces_of("default") for one in pair)
    waits = []
    for _ in range(4):
        waits.append(await second.wait_s("burst", 50, burst_s=100))
        await asyncio.sleep(0.003)  # longer than what is known of a turn might be kept
    assert waits[:3] == [0, 0, 0]
    assert 0 < waits[3] <= 50
    first.delay("operator", 30)
    await pair[0].store.settle()  # type: ignore[union-attr]
    assert 29 < await second.wait_s("operator", 0) <= 30
    first.delay("operator", 1)
    await pair[0].store.settle()  # type: ignore[union-attr]
    assert 29 < await second.wait_s("operator", 0) <= 30, "the longer delay stays"


async def test_a_script_is_sent_again_to_a_server_that_has_forgotten_it(
    pair: Pair, valkey_server: ValkeyServer
) -> None:
    rate = Rate(10, 3_600)
    await pair[0].limiter.hit("a", rate)
    valkey_server.command("SCRIPT", "FLUSH")
    assert await pair[0].limiter.hit("a", rate) == 8


async def test_a_lead_that_is_not_renewed_ends(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cluster.shared.flights.LEAD_S", 0.05)
    first, second = pair
    async with first.flights.join("q", 5), second.flights.join("q", 5) as flight:
        assert flight.answer is None


async def test_neither_addresses_nor_domains_can_be_read_from_the_server(
    pair: Pair, valkey_server: ValkeyServer
) -> None:
    first, _ = pair
    secret = "someone@private-domain.test"
    await first.limiter.hit(("single", secret), Rate(2, 60))
    first.notes.put(secret, "1", 60)
    await first.notes.claim(secret, 60)
    await first.places_of("default").take(secret, 2)
    await first.paces_of("default").wait_s(secret, 1)
    async with first.flights.join(secret, 1) as flight:
        flight.publish(b"verdict", 60)
    assert first.store is not None
    await first.store.settle()
    found = everything(valkey_server)
    assert b"verdict" in found
    assert found.count(b"veriplex:") >= 6
    assert b"someone" not in found
    assert b"private-domain" not in found


# -- faults -----------------------------------------------------------------------------


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - what it waits for is the server's
            await asyncio.sleep(0.005)


async def until_up(shared: Shared, is_up: bool) -> None:
    store = shared.store
    assert store is not None
    await until(lambda: store.is_up is is_up)


async def use_everything(shared: Shared) -> None:
    """One call of each kind, none of which may fail."""
    await shared.limiter.hit("account", Rate(1_000_000, 3_600))
    await shared.notes.get("a")
    shared.notes.put("a", "1", 60)
    await shared.notes.claim("a", 60)
    places = shared.places_of("default")
    places.give_back("operator", await places.take("operator", 1_000))
    paces = shared.paces_of("default")
    await paces.wait_s("operator", 0.000001)
    paces.delay("other", 1)
    async with shared.flights.join("question", 0.1) as flight:
        flight.publish(b"answer", 60)


@pytest.mark.parametrize("fault", ["stop", "freeze"])
async def test_no_call_fails_while_the_server_is_away_and_it_is_used_again(
    own_server: ValkeyServer, pair_of: OpenPair, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with pair_of(SharedSettings(url=own_server.url)) as (first, _):
        assert first.store is not None
        first.store._first_pause_s = 0.05
        await use_everything(first)
        getattr(own_server, fault)()
        for _ in range(20):
            await use_everything(first)
        await until_up(first, is_up=False)
        assert first.is_degraded
        assert first.store.down_s >= 0
        if fault == "stop":
            own_server.start()
        else:
            own_server.thaw()
        await until_up(first, is_up=True)
        await use_everything(first)
        assert await first.notes.get("nothing") is None
        assert not first.is_degraded
        assert first.store.changes == 2
    events = [record.message for record in caplog.records if record.name.startswith("gateway")]
    assert events == ["shared.down", "shared.up"], "a line for each change, none for a call"


async def test_a_process_without_calls_notices_too(
    own_server: ValkeyServer, pair_of: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cluster.shared.connection.LOOK_EVERY_S", 0.01)
    async with pair_of(SharedSettings(url=own_server.url)) as (first, _):
        own_server.stop()
        await until_up(first, is_up=False)


async def test_a_frozen_server_costs_the_first_five_calls_its_time_limit_and_then_nothing(
    own_server: ValkeyServer, pair_of: OpenPair
) -> None:
    async with pair_of(SharedSettings(url=own_server.url, timeout_ms=50)) as (first, _):
        assert first.store is not None
        rate = Rate(1_000_000, 3_600)
        await first.limiter.hit("a", rate)
        before = first.store.calls
        own_server.freeze()
        took_ms = []
        for _ in range(50):
            began = time.perf_counter()
            await first.limiter.hit("a", rate)
            took_ms.append((time.perf_counter() - began) * 1_000)
        own_server.thaw()
        assert first.store.calls - before == first.store.failures == FAILURES_UNTIL_DOWN
        # the shortest and the median, since the machine may be busy
        assert 45 <= min(took_ms[:FAILURES_UNTIL_DOWN]) < 60
        assert median(took_ms[FAILURES_UNTIL_DOWN:]) < 5


async def test_calls_at_once_wait_for_a_frozen_server_no_longer_than_one(
    own_server: ValkeyServer, pair_of: OpenPair
) -> None:
    async with pair_of(SharedSettings(url=own_server.url, timeout_ms=50)) as (first, _):
        own_server.freeze()
        began = time.perf_counter()
        rate = Rate(1_000_000, 3_600)
        await asyncio.gather(*(first.limiter.hit(n, rate) for n in range(500)))
        assert time.perf_counter() - began < 1.0
        own_server.thaw()


async def test_a_limit_is_passed_at_most_twice_in_the_window_in_which_the_server_goes(
    own_server: ValkeyServer, pair_of: OpenPair
) -> None:
    rate = Rate(20, 3_600)
    async with pair_of(SharedSettings(url=own_server.url)) as pair:
        passed = 0
        for number in range(200):
            if number == 30:
                own_server.stop()
            try:
                await pair[number % 2].limiter.hit("account", rate)
                passed += 1
            except RateLimitExceeded:
                pass
        assert rate.count < passed <= rate.count * 2


@pytest.mark.parametrize("options", [("--requirepass", "right"), ("--maxmemory", "1")])
async def test_a_server_that_refuses_us_is_done_without(
    pair_of: OpenPair, options: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    server = ValkeyServer(*options)
    try:
        async with pair_of(SharedSettings(url=server.url)) as (first, _):
            await until_up(first, is_up=False)
            await use_everything(first)
        assert "shared.down" in caplog.text
    finally:
        server.close()


async def test_a_password_is_used_and_never_logged(
    pair_of: OpenPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = ValkeyServer("--requirepass", "right-sekrit")
    environ = {"RIGHT": "right-sekrit", "WRONG": "wrong-sekrit"}
    try:
        for name, is_up in (("RIGHT", True), ("WRONG", False)):
            settings = SharedSettings.model_validate(
                {"url": server.url, "password": f"env:{name}", "timeout_ms": 1_000},
                context={"environ": environ},
            )
            async with pair_of(settings) as (first, _):
                assert first.store is not None
                if not is_up:
                    await until_up(first, is_up=False)
                await use_everything(first)
                assert first.store.is_up is is_up
    finally:
        server.close()
    assert "sekrit" not in caplog.text


async def test_cancelled_calls_get_no_other_calls_reply(pair: Pair) -> None:
    store = pair[0].store
    assert store is not None
    for number in range(200):
        await store.call("SET", f"veriplex:{number}", number)
    for number in range(200):
        doomed = asyncio.ensure_future(store.call("GET", f"veriplex:{number}"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        assert await store.call("GET", "veriplex:7") == b"7"
