"""Two servers on one database, with and without a shared server: what clients and vendors see."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.contract.dialect import ClientBlock
from adapters.contract.problems import ProblemKind
from adapters.contract.upstream import Fault, FaultKind
from engine.address.syntax import parse_address
from engine.model import Checks, Meaning, Stage, Verdict
from engine.smtp.context import CATCH_ALL_TTL_S, CatchAllCache
from engine.smtp.egress import Egress
from engine.smtp.pacing import Pacer
from engine.smtp.reputation import FIRST_PAUSE_S, REFUSALS_UNTIL_HOST_PAUSED, TRIAL_S
from engine.smtp.terms import EgressConfig, Identity, Target
from engine.smtp.unresponsive import UnresponsiveTargets
from gateway.app import Services, open_services
from gateway.cluster.claims import DatabaseClaims
from gateway.cluster.shared import Shared
from gateway.cluster.shared.connection import SharedStore
from gateway.settings.model import Settings
from gateway.settings.storage import SharedSettings
from gateway.store import open_store
from gateway.upstreams.opening import open_upstreams
from gateway.upstreams.source.balances import read_balances
from gateway.upstreams.source.circuit import CircuitState
from gateway.upstreams.source.sharing import CircuitNotes, UpstreamSharing
from gateway.upstreams.source.states import SourceStates
from gateway.upstreams.source.throttle import Throttle
from gateway.upstreams.source.upstream import UpstreamSource
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.database import SqlVerdictStore
from gateway.web.client_blocks import ClientBlocks
from gateway.web.dispatch import create_app
from gateway.web.open_requests import OpenRequest, OpenRequests
from tests.dialects import ALL, BY_NAME, send, verify_request
from tests.fakes.clock import Clock
from tests.fakes.vendor import Mood, Vendor, vendor
from tests.gateway.cluster.conftest import open_pair
from tests.gateway.upstreams.conftest import Local, settings_for
from tests.valkey_server import ValkeyServer

Pair = tuple[Shared, Shared]


class Servers:
    """Two servers, and a client of each with the same keys."""

    def __init__(
        self,
        services: list[Services],
        clients: list[httpx.AsyncClient],
        keys: dict[str, str],
    ) -> None:
        self.services = services
        self.clients = clients
        self.keys = keys

    async def verify(self, number: int, dialect: str, email: str) -> httpx.Response:
        request = verify_request(BY_NAME[dialect], self.keys[dialect], email)
        return await send(self.clients[number], BY_NAME[dialect], request)


@contextlib.asynccontextmanager
async def two_servers(
    path: Path, shared: SharedSettings, vendors: list[Vendor], plan: str = "unlimited"
) -> AsyncIterator[Servers]:
    settings = settings_for(vendors, storage={"url": f"sqlite:///{path / 'two.db'}"})
    settings = settings.model_copy(update={"shared": shared})
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_services(settings, verifier=Local(), dialects=ALL))
            for _ in range(2)
        ]
        account = await opened[0].accounts.create_account(plan=plan)
        keys = {d.name: (await opened[0].accounts.create_key(account, d.name)).key for d in ALL}
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(create_app(services)),
                    base_url="http://veriplex.test",
                    timeout=60,
                )
            )
            for services in opened
        ]
        for services in opened:
            await services.processes.beat()
        yield Servers(opened, clients, keys)


async def test_an_address_asked_of_both_at_once_is_verified_once(
    tmp_path: Path, shared_settings: SharedSettings
) -> None:
    async with (
        vendor(BY_NAME["emailable"], mood=Mood.SLOW, slow_s=0.2) as slow,
        two_servers(tmp_path, shared_settings, [slow]) as servers,
    ):
        replies = await asyncio.gather(
            *(servers.verify(n % 2, "emailable", "someone@example.com") for n in range(10))
        )
        assert {reply.status_code for reply in replies} == {200}
        states = {reply.json()["state"] for reply in replies}
        assert states == {"deliverable"}
        assert sum(slow.asked.values()) == (1 if shared_settings.url else 2)


async def test_an_answer_of_one_server_serves_the_other(
    tmp_path: Path, shared_settings: SharedSettings
) -> None:
    async with (
        vendor(BY_NAME["emailable"]) as good,
        two_servers(tmp_path, shared_settings, [good]) as servers,
    ):
        first = await servers.verify(0, "emailable", "someone@example.com")
        if (store := servers.services[0].shared.store) is not None:
            await store.settle()
        else:  # the database has it a little later
            database = servers.services[0].service._verdicts._store
            assert isinstance(database, SqlVerdictStore)
            await database.write()
        second = await servers.verify(1, "emailable", "someone@example.com")
        assert first.json()["state"] == second.json()["state"]
        assert sum(good.asked.values()) == 1


@pytest.mark.valkey
async def test_a_verdict_that_was_refreshed_takes_the_place_of_its_copy(
    pair_of_valkey: Pair,
) -> None:
    caches = [
        VerdictCache(
            ttl_s=dict.fromkeys(Verdict, 1_000.0), clock=time.time, shared_flights=one.flights
        )
        for one in pair_of_valkey
    ]
    local = Local(Verdict.UNDELIVERABLE)
    address = parse_address("someone@example.com")

    async def verify(cache: VerdictCache, *, refresh: bool = False) -> Verdict:
        found = await cache.verify(
            address, Checks(), lambda: local.verify(address), refresh=refresh
        ).task
        await settled(pair_of_valkey)
        return found.verdict

    assert await verify(caches[0]) is Verdict.UNDELIVERABLE
    local.verdict = Verdict.DELIVERABLE
    assert await verify(caches[0], refresh=True) is Verdict.DELIVERABLE
    assert await verify(caches[1]) is Verdict.DELIVERABLE
    assert local.times == 2
    for cache in caches:
        await cache.aclose()


async def test_a_plans_rate_holds_for_both_together(
    tmp_path: Path, shared_settings: SharedSettings
) -> None:
    limit = 120  # in a minute, by the plan of this vendor
    async with (
        vendor(BY_NAME["emailable"]) as good,
        two_servers(tmp_path, shared_settings, [good], plan="validto") as servers,
    ):
        replies = [
            await servers.verify(n % 2, "validto", "someone@example.com") for n in range(limit + 20)
        ]
        statuses = Counter(reply.status_code for reply in replies)
        assert statuses == {200: limit, 429: 20}


async def test_open_requests_are_those_at_both_servers(pair: Pair) -> None:
    servers = [OpenRequests(one.request_places()) for one in pair]
    requests = [OpenRequest((1, "192.0.2.1"), lambda: False) for _ in range(10)]
    begun = [
        request
        for number, request in enumerate(requests)
        if await servers[number % 2].begin(request, 4)
    ]
    assert len(begun) == 4
    assert await servers[0].begin(OpenRequest((2, "192.0.2.1"), lambda: False), 4)
    for request in begun:
        servers[requests.index(request) % 2].end(request)
    await settled(pair)
    again = [await servers[n % 2].begin(request, 4) for n, request in enumerate(requests[:4])]
    assert again == [True] * 4


@pytest.mark.valkey
async def test_no_request_fails_while_the_shared_server_is_lost(
    tmp_path: Path,
) -> None:
    server = ValkeyServer()
    try:
        async with (
            vendor(BY_NAME["emailable"]) as good,
            two_servers(tmp_path, SharedSettings(url=server.url), [good]) as servers,
        ):

            async def ask(number: int) -> httpx.Response:
                email = f"a{number}@example.com"
                return await servers.verify(number % 2, "emailable", email)

            faults = [server.flush, server.stop, server.start, server.freeze, server.thaw]
            for round_, fault in enumerate([*faults, server.flush]):
                replies = [await ask(round_ * 20 + n) for n in range(10)]
                fault()
                replies += await asyncio.gather(*(ask(round_ * 20 + 10 + n) for n in range(10)))
                assert {reply.status_code for reply in replies} == {200}
    finally:
        server.close()


@pytest.mark.valkey
async def test_a_server_without_its_shared_one_is_ready_and_says_so(tmp_path: Path) -> None:
    server = ValkeyServer()
    try:
        async with two_servers(tmp_path, SharedSettings(url=server.url), []) as servers:
            client, shared = servers.clients[0], servers.services[0].shared
            assert (await client.get("/readyz")).json() == {"status": "ok"}
            server.stop()
            assert shared.store is not None
            while shared.store.is_up:
                await shared.notes.get("anything")
            reply = await client.get("/readyz")
            assert reply.status_code == 200
            assert reply.json() == {"status": "ok", "degraded": ["shared"]}
            lines = (await client.get("/metrics")).text.splitlines()
            assert "veriplex_shared_up 0.0" in lines
            assert "veriplex_shared_changes_total 1.0" in lines
            values = dict(line.rsplit(" ", 1) for line in lines if line[:1] != "#")
            assert float(values["veriplex_shared_fallback_seconds_total"]) > 0
            assert float(values['veriplex_shared_calls_total{outcome="failed"}']) >= 5
            alive = [name for name in values if name.startswith("veriplex_processes{")]
            assert [values[name] for name in alive] == ["2.0"]
    finally:
        server.close()


@pytest.mark.valkey
async def test_no_request_fails_if_all_keys_vanish_before_every_call(
    tmp_path: Path, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    bounded = SharedStore._bounded

    async def forgetting(store: SharedStore, call: Callable[[], Any]) -> Any:
        nonlocal calls
        calls += 1
        valkey_server.flush()
        return await bounded(store, call)

    monkeypatch.setattr(SharedStore, "_bounded", forgetting)
    settings = SharedSettings(url=valkey_server.url, timeout_ms=1_000)
    async with (
        vendor(BY_NAME["emailable"], slow_s=0.01, mood=Mood.SLOW) as one,
        two_servers(tmp_path, settings, [one], plan="emailable") as servers,
    ):
        replies = await asyncio.gather(
            *(servers.verify(n % 2, "emailable", f"a{n % 5}@example.com") for n in range(20))
        )
        assert {reply.status_code for reply in replies} == {200}
        assert 5 <= sum(one.asked.values()) <= 10, "at most once by each server"
    assert calls > 40


# -- mail hosts -------------------------------------------------------------------------


async def test_the_connections_to_a_mail_host_are_those_of_both_processes(pair: Pair) -> None:
    pacers = [Pacer(4, Clock(), places=one.places_of("default")) for one in pair]
    open_now = most = 0

    async def connect(pacer: Pacer) -> None:
        nonlocal open_now, most
        async with pacer.slot("operator"):
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.001)
            open_now -= 1

    await asyncio.gather(*(connect(pacers[n % 2]) for n in range(40)))
    assert 2 <= most <= 4


async def test_another_egress_has_places_of_its_own(pair: Pair) -> None:
    first, second = pair
    pacers = [
        Pacer(1, Clock(), places=first.places_of("a")),
        Pacer(1, Clock(), places=second.places_of("b")),
    ]
    async with asyncio.timeout(5), pacers[0].slot("operator"), pacers[1].slot("operator"):
        pass


@pytest.mark.valkey
async def test_a_complaint_about_our_rate_holds_in_the_other_process(
    valkey_server: ValkeyServer, pair_of_valkey: Pair
) -> None:
    first, second = pair_of_valkey
    pacers = [
        Pacer(4, time.monotonic, places=one.places_of("e"), paces=one.paces_of("e"))
        for one in (first, second)
    ]
    pacers[0].record_throttling("operator", 30)
    assert first.store is not None
    await first.store.settle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5), pacers[1].slot("operator", has_alternative=True):
            pytest.fail("it should have backed off")
    assert 25 < pacers[1].wait_s("operator") <= 30


async def test_that_a_domain_accepts_every_name_is_found_once(pair: Pair) -> None:
    caches = [CatchAllCache(Clock(), one.notes) for one in pair]
    caches[0].update("all.test", "operator", True)
    caches[0].update("some.test", "operator", False)
    if pair[0].store is not None:
        await pair[0].store.settle()
    for domain in ("all.test", "some.test", "other.test"):
        await caches[1].learn(domain, "operator")
    found = [
        caches[1].get(domain, "operator") for domain in ("all.test", "some.test", "other.test")
    ]
    assert found == ([True, False, None] if pair[0].store else [None, None, None])
    assert CATCH_ALL_TTL_S == 3_600


async def test_a_mail_host_that_does_not_answer_is_found_once(pair: Pair) -> None:
    silent, well = Target("mx1.a.test", "192.0.2.1", 25), Target("mx2.a.test", "192.0.2.2", 25)
    here, there, elsewhere = (
        UnresponsiveTargets(Clock(), one.notes, egress)
        for one, egress in ((pair[0], "a"), (pair[1], "a"), (pair[1], "b"))
    )
    here.record_connection(silent, Meaning.TIMED_OUT, Stage.CONNECT)
    here.record_connection(well, Meaning.ACCEPTED, Stage.RCPT)
    await settled(pair)
    for targets in (there, elsewhere):
        for target in (silent, well):
            await targets.learn(target)
    assert (silent in there, well in there) == (pair[0].store is not None, False)
    assert silent not in elsewhere, "another address may be let in"
    here.record_connection(silent, Meaning.ACCEPTED, Stage.RCPT)
    await settled(pair)
    again = UnresponsiveTargets(Clock(), pair[1].notes, "a")
    await again.learn(silent)
    assert silent not in again


# -- upstreams --------------------------------------------------------------------------


def sharing_of(shared: Shared) -> UpstreamSharing:
    return UpstreamSharing(
        shared.upstream_places(),
        shared.upstream_paces(),
        shared.notes,
        shared.parts,
        shared.process,
    )


@contextlib.asynccontextmanager
async def upstreams_of(
    settings: Settings, pair: Pair
) -> AsyncIterator[list[tuple[UpstreamSource, UpstreamSharing]]]:
    """The only upstream of the settings, as each of the two processes has it."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for one in pair:
            sharing = sharing_of(one)
            (source,) = await stack.enter_async_context(
                open_upstreams(
                    settings,
                    ALL,
                    clock=time.time,
                    monotonic=time.monotonic,
                    rng=random.Random(7),
                    sharing=sharing,
                )
            )
            found.append((source, sharing))
        yield found


async def settled(pair: Pair) -> None:
    for one in pair:
        if one.store is not None:
            await one.store.settle()


async def test_requests_to_an_upstream_are_those_of_both_processes(pair: Pair) -> None:
    throttles = [
        Throttle(2, 0, clock=time.monotonic, name="v", places=one.upstream_places()) for one in pair
    ]
    in_flight = most = served = 0

    async def request(throttle: Throttle) -> None:
        nonlocal in_flight, most, served
        async with throttle.slot(30) as slot:
            assert slot is not None
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0.001)
            in_flight -= 1
            served += 1

    await asyncio.gather(*(request(throttles[n % 2]) for n in range(20)))
    assert (most, served) == (2, 20)


async def test_a_request_that_finds_no_place_in_time_gets_none_and_leaves_nothing(
    pair: Pair,
) -> None:
    first, second = (
        Throttle(1, 0, clock=time.monotonic, name="v", places=one.upstream_places()) for one in pair
    )
    async with first.slot(1) as slot:
        assert slot is not None
        async with second.slot(0.1) as other:
            # in memory each process has its own place, of which there is at least one
            assert (other is None) is (pair[0].store is not None)
    async with asyncio.timeout(5), second.slot(5) as other:
        assert other is not None


async def test_an_open_circuit_is_open_in_the_other_process(pair: Pair) -> None:
    async with vendor(BY_NAME["emailable"]) as one, upstreams_of(settings_for([one]), pair) as both:
        (first, _), (second, _) = both
        notes = [CircuitNotes([source], sharing, time.time) for source, sharing in both]
        for _ in range(3):
            first.circuit.record_failure(retry_after_s=60)
        assert first.circuit.state is CircuitState.OPEN
        await notes[0].look()
        await settled(pair)
        await notes[1].look()
        if pair[0].store is None:
            assert second.circuit.state is CircuitState.CLOSED
            return
        assert second.circuit.state is CircuitState.OPEN
        assert 50 < second.circuit.reopens_in_s < 61
        # a success of its own counts for more than the note, which is followed once
        second.circuit.record_success()
        await notes[1].look()
        assert second.circuit.reopens_in_s == 0


async def test_a_circuit_that_closes_before_its_time_is_told(pair: Pair) -> None:
    if pair[0].store is None:
        return
    async with vendor(BY_NAME["emailable"]) as one, upstreams_of(settings_for([one]), pair) as both:
        notes = [CircuitNotes([source], sharing, time.time) for source, sharing in both]
        circuit = both[0][0].circuit
        circuit.pause(60)
        await notes[0].look()
        circuit.record_success()
        circuit.admit(1)
        circuit.record_success()
        await notes[0].look()
        await settled(pair)
        await notes[1].look()
        assert both[1][0].circuit.state is CircuitState.CLOSED


async def test_a_balance_is_read_by_one_process(pair: Pair) -> None:
    async with vendor(BY_NAME["emailable"]) as one, upstreams_of(settings_for([one]), pair) as both:
        for source, sharing in both:
            await read_balances(source, 300, sharing.notes)
            await settled(pair)
        assert one.balances == (1 if pair[0].store else 2)
        assert [source.keys.keys[0].credits for source, _ in both] == [1000, 1000]


async def test_failed_attempts_are_those_at_both_servers(pair: Pair) -> None:
    kind = ProblemKind.BAD_CREDENTIAL
    block = ClientBlock(frozenset({kind}), failures=4, window_s=60)
    dialect = replace(BY_NAME["emailable"], client_block=block)
    blocks = [ClientBlocks(clock=time.time, limiter=one.guess_limiter) for one in pair]
    for number in range(block.failures):
        await blocks[number % 2].count_failed_attempt(dialect, "192.0.2.1", kind)
    blocked = [await one.is_blocked(dialect, "192.0.2.1") for one in blocks]
    assert any(blocked) is (pair[0].store is not None)


# -- what the database has for all of them ------------------------------------------------


async def test_a_key_that_rests_does_so_in_other_processes_and_after_a_restart(
    database_url: str,
) -> None:
    async with vendor(BY_NAME["emailable"]) as one, open_store(database_url) as store:
        settings = settings_for([one], v0={"spare_api_keys": ["env:BAD", "env:OTHER"]})
        clock = Clock()

        def opened() -> AbstractAsyncContextManager[tuple[UpstreamSource, ...]]:
            return open_upstreams(settings, ALL, clock=clock, monotonic=clock, rng=random.Random(7))

        def states_of(sources: tuple[UpstreamSource, ...]) -> SourceStates:
            return SourceStates(store, sources, clock=clock, monotonic=clock)

        async with opened() as here, opened() as there:
            states = [states_of(here), states_of(there)]
            ring, other = here[0].keys, there[0].keys
            for each in states:
                await each.look()
            ring.mark_refused(ring.keys[0])
            ring.throttle(ring.keys[1], 60)
            ring.pause(ring.keys[2], 120)
            for each in states:
                await each.look()
            assert [key.dead for key in other.keys] == [True, False, False]
            assert other.throttled is other.keys[1]
            assert other.pick() is None
            assert 55 <= other.ready_in_s <= 60
            for each in states:
                await each.look()  # nothing is written or followed twice
            assert 55 <= other.ready_in_s <= 60
            async with opened() as later:  # another run
                await states_of(later).look()
                assert [key.dead for key in later[0].keys.keys] == [True, False, False]
            ring.mark_accepted(ring.keys[0])
            ring.record_balance(ring.keys[2], 5)
            for each in states:
                await each.look()
            assert [key.dead for key in other.keys] == [False, False, False]
            assert other.pick() is other.keys[0]
            other.replace_key(1, "a-new-key")
            ring.mark_refused(ring.keys[0])
            for each in states:
                await each.look()
            assert not other.keys[0].dead, "its key is another one"


async def test_a_ban_holds_in_other_processes(database_url: str) -> None:
    async with vendor(BY_NAME["emailable"]) as one, open_store(database_url) as store:
        clock = Clock()
        async with contextlib.AsyncExitStack() as stack:
            sources = [
                await stack.enter_async_context(
                    open_upstreams(
                        settings_for([one]), ALL, clock=clock, monotonic=clock, rng=random.Random(7)
                    )
                )
                for _ in range(2)
            ]
            states = [SourceStates(store, each, clock=clock, monotonic=clock) for each in sources]
            here, there = sources[0][0], sources[1][0]
            here.report_ban(Fault(FaultKind.BANNED, status=403))
            for each in states:
                await each.look()
            assert there.unusable_fault == "banned"
            here.circuit.allow_trial()
            here.circuit.admit(1)
            here.circuit.record_success()
            for each in states:
                await each.look()
            assert there.circuit.reopens_in_s == 0, "a trial may be sent"


async def test_one_process_tries_a_mail_host_after_a_pause(
    tmp_path: Path, shared_settings: SharedSettings
) -> None:
    async with open_pair(tmp_path, shared_settings) as pair:
        clock = Clock()
        egresses = [
            Egress(
                EgressConfig(Identity("probe.test", "")),
                clock,
                lambda: datetime(2026, 1, 1, tzinfo=UTC),
                shared,
            )
            for shared in pair
        ]
        for egress in egresses:
            for _ in range(REFUSALS_UNTIL_HOST_PAUSED):
                egress.reputation.record_outcome("mx.a.test", Meaning.IP_BLOCKED, Stage.CONNECT)
            assert await egress.pause_or_start_trial("mx.a.test") is not None
        clock.now += FIRST_PAUSE_S + 1
        found = [await egress.pause_or_start_trial("mx.a.test") for egress in egresses]
        assert found[0] is None
        assert found[1] is not None
        assert found[1].left_s == TRIAL_S


async def test_a_claim_in_the_database_is_one_processs_for_a_while(database_url: str) -> None:
    clock = Clock()
    async with open_store(database_url) as store:
        claims = [DatabaseClaims(store, clock) for _ in range(3)]
        assert sorted([await each.claim("a", 60) for each in claims]) == [False, False, True]
        assert await claims[1].claim("b", 60)
        clock.now += 60
        assert sorted([await each.claim("a", 60) for each in claims]) == [False, False, True]


async def test_the_control_api_needs_a_server_that_is_alone(tmp_path: Path) -> None:
    async with (
        vendor(BY_NAME["emailable"]) as good,
        two_servers(tmp_path, SharedSettings(), [good]) as servers,
    ):
        one, other = servers.services
        account = await one.accounts.create_account()
        key = (await one.accounts.create_key(account, "emailable", test=True)).key

        async def status() -> int:
            headers = {"Authorization": f"Bearer {key}"}
            url = "http://127.0.0.1/veriplex/v1/requests"  # by that name it may be controlled
            return (await servers.clients[0].get(url, headers=headers)).status_code

        assert await status() == 501
        await other.processes.leave()
        await one.processes.beat()
        assert await status() == 200
