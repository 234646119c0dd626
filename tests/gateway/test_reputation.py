"""Our reputation in the native API, in the metrics and in the database."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from engine.model import Meaning, Stage
from engine.smtp.egress import Egress, EgressSet
from engine.smtp.reputation import FIRST_PAUSE_S, REFUSALS_UNTIL_HOST_PAUSED, ReputationTracker
from engine.smtp.terms import DEFAULT_EGRESS, EgressConfig, EgressStrategy, Identity
from gateway.app import open_services
from gateway.observability.egress_metrics import MAX_OPERATOR_SERIES, EgressCollector
from gateway.observability.metrics import Metrics
from gateway.reputation import (
    KEPT_DAYS,
    MAX_ROWS,
    RecentRefusals,
    ReputationStore,
    add_refusals_once,
    open_reputation_store,
    recent_refusals,
)
from gateway.settings import Settings
from gateway.store import Store, StoreError, open_store
from gateway.store.tables import egress_pauses, egress_refusals
from gateway.web.dispatch import create_app
from gateway.web.native import MAX_OPERATORS, reputation_as_dict
from tests.fakes.clock import Clock
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import Script, fake_smtp

HOST = "127.0.0.2"
BLOCKED = "554 5.7.1 <probe@a.test>: Client host [127.0.0.1] blocked using rbl.test"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@asynccontextmanager
async def server() -> AsyncIterator[tuple[httpx.AsyncClient, str, str]]:
    """A client of a server that its only mail host refuses, with a live key and a test key."""
    zone = {"a.test": {"MX": ["1 mx.a.test."]}, "mx.a.test": {"A": [HOST]}}
    hosts = {HOST: Script(banner=BLOCKED)}
    async with fake_dns(zone) as dns, fake_smtp(hosts) as smtp:
        settings = Settings.model_validate(
            {
                "storage": {"url": "sqlite:///:memory:"},
                "engine": {
                    "dns_servers": [dns.address],
                    "smtp_port": smtp.port,
                    "allow_private_networks": True,
                },
            }
        )
        async with open_services(settings, run_workers=False) as services:
            keys = await services.accounts.bootstrap()
            transport = httpx.ASGITransport(create_app(services))
            live = next(key.key for key in keys if not key.test)
            test = next(key.key for key in keys if key.test)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                yield client, live, test


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_refusals_are_shown_to_holders_of_a_live_key() -> None:
    started = datetime.now(UTC).replace(microsecond=0)
    async with server() as (client, live, test):
        for number in range(6):
            params = {"email": f"u{number}@a.test"}
            reply = await client.get("/veriplex/v1/verify", params=params, headers=bearer(live))
            assert (reply.json()["verdict"], reply.json()["reason"]) == ("unknown", "blocked")
        shown = await client.get("/veriplex/v1/standing", headers=bearer(live))
        for_tests = await client.get("/veriplex/v1/standing", headers=bearer(test))
        refused = await client.get("/veriplex/v1/standing")
        metrics = (await client.get("/metrics")).text
    assert shown.status_code == 200
    body = shown.json()
    operator = body["operators"][0]
    assert datetime.fromisoformat(operator["last"].pop("at")).tzinfo is not None
    assert operator.pop("paused_s") == 0  # only the host is paused, not its operator
    recent = body["recent"][0]
    since, last = (
        datetime.fromisoformat(at) for at in (recent.pop("since"), recent["last"].pop("at"))
    )
    assert started <= since <= last <= datetime.now(UTC)
    assert 50 < recent.pop("paused_s") <= 60
    words = "5.7.1 <(address)>: Client host [127.0.0.1] blocked using rbl.test"
    assert body == {
        "egresses": [
            {
                "name": "default",
                "conversations": 4,
                "resting_s": 0,
                "faults": 0,
                "fault": None,
                "ipv6": True,
            }
        ],
        "recent": [
            {
                "egress": "default",
                "operator": "a.test",
                "meaning": "ip_blocked",
                "block_list": "rbl.test",
                "last_24_hours": 4,
                "last_7_days": 4,
                "paused_hosts": 1,
                "last": {"host": "mx.a.test", "text": words},
            }
        ],
        "operators": [
            {
                "egress": "default",
                "operator": "a.test",
                "conversations": 4,
                "refused": 4,
                "refusals": {"ip_blocked": 4},
                "paused_hosts": ["mx.a.test"],
                "last": {
                    "host": "mx.a.test",
                    "text": words,
                    "block_list": "rbl.test",
                },
            }
        ],
        "total": 1,
    }
    assert for_tests.json() == {"egresses": [], "recent": [], "operators": [], "total": 0}
    assert refused.status_code == 401
    labels = 'egress="default",meaning="ip_blocked",operator="a.test"'
    assert f"veriplex_refusals_total{{{labels}}} 4.0" in metrics
    assert 'veriplex_paused_operators{egress="default"} 1.0' in metrics
    assert 'veriplex_egress_conversations_total{egress="default"} 4.0' in metrics


def test_shown_operators_are_bounded_and_the_worst_comes_first() -> None:
    egress = Egress(EgressConfig(Identity("probe.test", "")), Clock(), lambda: NOW)
    reputation = egress.reputation
    for number in range(MAX_OPERATORS + 10):
        for _ in range(1 + number // 10):
            reputation.record_outcome(
                f"mx.d{number}.test", Meaning.THROTTLED, Stage.MAIL, text="421 slow"
            )
    shown = reputation_as_dict([egress])
    assert (len(shown["operators"]), shown["total"]) == (MAX_OPERATORS, MAX_OPERATORS + 10)
    assert shown["operators"][0]["operator"].startswith(f"d{MAX_OPERATORS}")
    metrics = Metrics()
    metrics.register_collector(
        EgressCollector(EgressSet([egress], EgressStrategy.WEIGHTED, Clock()))
    )
    series = metrics.render().decode().count("\nveriplex_refusals_total{")
    assert series == MAX_OPERATOR_SERIES


# -- in the database ---------------------------------------------------------------------

HOUR_S, DAY_S = 3_600, 86_400
START = NOW.timestamp()


@dataclass(slots=True)
class Process:
    """A process on a database, with clocks that the test moves."""

    store: Store
    clock: Clock
    ticks: Clock
    reputation: ReputationTracker
    reputation_store: ReputationStore

    def refuse(self, host: str = "mx.a.test", *, times: int = 1, text: str = "554 no") -> None:
        for _ in range(times):
            self.reputation.record_outcome(
                host, Meaning.IP_BLOCKED, Stage.BANNER, block_list="rbl.test", text=text
            )

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.ticks.now += seconds

    async def recent(self) -> list[RecentRefusals]:
        return await self.reputation_store.recent_refusals(10)


def process_on(store: Store, clock: Clock, max_rows: int = MAX_ROWS) -> Process:
    ticks = Clock()
    reputation = ReputationTracker(ticks, lambda: datetime.fromtimestamp(clock.now, UTC))
    reputation_store = ReputationStore(
        store, {DEFAULT_EGRESS: reputation}, clock=clock, max_rows=max_rows
    )
    return Process(store, clock, ticks, reputation, reputation_store)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = START + 1_800
    return clock


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as store:
        yield store


async def test_processes_add_to_the_same_counts(store: Store, clock: Clock) -> None:
    one, other = process_on(store, clock), process_on(store, clock)
    one.refuse(times=2, text="554 earlier")
    await one.reputation_store.write()
    one.refuse()
    clock.now += 60
    other.refuse("mx2.a.test", times=3, text="554 later")
    other.refuse("mx.b.test")
    await other.reputation_store.write()
    assert await one.recent() == [
        RecentRefusals(
            egress=DEFAULT_EGRESS,
            operator="a.test",
            meaning=Meaning.IP_BLOCKED,
            block_list="rbl.test",
            day=6,
            week=6,
            since=NOW + timedelta(minutes=30),
            last_at=NOW + timedelta(minutes=31),
            host="mx2.a.test",
            text="554 later",
            paused_s=0,
            paused_hosts=0,
        ),
        RecentRefusals(
            egress=DEFAULT_EGRESS,
            operator="b.test",
            meaning=Meaning.IP_BLOCKED,
            block_list="rbl.test",
            day=1,
            week=1,
            since=NOW + timedelta(minutes=31),
            last_at=NOW + timedelta(minutes=31),
            host="mx.b.test",
            text="554 no",
            paused_s=0,
            paused_hosts=0,
        ),
    ]


async def test_refusals_are_summed_over_a_day_and_a_week(store: Store, clock: Clock) -> None:
    process = process_on(store, clock)
    seen = []
    for pause_s in (0, 3 * DAY_S, 23 * HOUR_S, 2 * HOUR_S):
        process.pass_time(pause_s)
        process.refuse()
        seen.append([(r.day, r.week) for r in await process.recent()])
    assert seen == [[(1, 1)], [(1, 2)], [(2, 3)], [(2, 4)]]
    process.pass_time(4 * DAY_S)
    assert [(r.day, r.week, r.since) for r in await process.recent()] == [
        (0, 3, NOW + timedelta(minutes=30))
    ]
    process.pass_time(4 * DAY_S)
    assert await process.recent() == []


async def test_old_rows_and_rows_beyond_the_limit_are_deleted(store: Store, clock: Clock) -> None:
    process = process_on(store, clock, max_rows=3)

    async def rows_left() -> int:
        await process.reputation_store.write()
        await process.reputation_store.purge()
        async with store.read() as connection:
            refused = await connection.scalar(select(func.count()).select_from(egress_refusals))
            paused = await connection.scalar(select(func.count()).select_from(egress_pauses))
        return (refused or 0) + (paused or 0)

    process.refuse(times=REFUSALS_UNTIL_HOST_PAUSED)
    assert await rows_left() == 2
    process.pass_time(FIRST_PAUSE_S + 1)
    assert await rows_left() == 1
    process.pass_time(KEPT_DAYS * DAY_S)
    assert await rows_left() == 1
    process.pass_time(HOUR_S)
    assert await rows_left() == 0
    rows = []
    for hosts in (1, 2, 1):  # the last hour exceeds the limit, so the first one is deleted
        process.pass_time(HOUR_S)
        for number in range(hosts):
            process.refuse(f"mx.d{number}.test")
        rows.append(await rows_left())
    assert rows == [1, 3, 3]


async def test_a_pause_continues_after_a_restart_and_in_other_processes(
    store: Store, clock: Clock
) -> None:
    process = process_on(store, clock)
    process.refuse(times=REFUSALS_UNTIL_HOST_PAUSED)
    await process.reputation_store.write()
    process.pass_time(20)
    other = process_on(store, clock)
    await other.reputation_store.load_pauses()
    pause = other.reputation.pause_or_start_trial("mx.a.test")
    assert pause is not None
    assert (pause.left_s, pause.refusals, pause.block_list) == (
        40,
        REFUSALS_UNTIL_HOST_PAUSED,
        "rbl.test",
    )
    assert [(r.paused_s, r.paused_hosts) for r in await other.recent()] == [(40, 1)]
    # a host that refuses again after a pause is paused twice as long, as without the restart
    other.pass_time(41)
    assert other.reputation.pause_or_start_trial("mx.a.test") is None
    other.refuse()
    pause = other.reputation.pause_or_start_trial("mx.a.test")
    assert pause is not None
    assert pause.left_s == 2 * FIRST_PAUSE_S
    assert [(r.day, r.paused_s) for r in await other.recent()] == [(5, 120)]
    other.reputation.record_outcome("mx.a.test", Meaning.ACCEPTED, Stage.RCPT)
    assert [(r.day, r.paused_s) for r in await other.recent()] == [(5, 0)]


async def test_a_shorter_pause_does_not_take_the_place_of_another_processs(
    store: Store, clock: Clock
) -> None:
    first, second = process_on(store, clock), process_on(store, clock)
    first.refuse(times=REFUSALS_UNTIL_HOST_PAUSED)
    first.pass_time(FIRST_PAUSE_S + 1)
    assert first.reputation.pause_or_start_trial("mx.a.test") is None
    first.refuse()  # the trial: twice as long
    await first.reputation_store.write()
    second.ticks.now = first.ticks.now
    second.refuse(times=REFUSALS_UNTIL_HOST_PAUSED)
    await second.reputation_store.write()
    async with store.read() as connection:
        rows = (await connection.execute(select(egress_pauses))).all()
    assert [(row.until, row.growth) for row in rows] == [(int(clock() + 2 * FIRST_PAUSE_S), 2)]


async def test_each_egress_has_refusals_and_pauses_of_its_own(store: Store, clock: Clock) -> None:
    def trackers() -> dict[str, ReputationTracker]:
        now = lambda: datetime.fromtimestamp(clock.now, UTC)  # noqa: E731
        return {name: ReputationTracker(Clock(), now) for name in ("one", "two")}

    before = trackers()
    for name, times in (("one", REFUSALS_UNTIL_HOST_PAUSED), ("two", 1)):
        for _ in range(times):
            before[name].record_outcome("mx.a.test", Meaning.IP_BLOCKED, Stage.BANNER)
    writing = ReputationStore(store, before, clock=clock)
    recent = await writing.recent_refusals(10)
    assert [(r.egress, r.day, r.paused_s) for r in recent] == [("one", 4, 60), ("two", 1, 0)]
    # after a restart, and in another process
    after = trackers() | {"new": ReputationTracker(Clock(), lambda: NOW)}
    await ReputationStore(store, after, clock=clock).load_pauses()
    assert [name for name, tracker in after.items() if tracker.is_paused("mx.a.test")] == ["one"]
    # a success ends the pause of its own egress
    before["one"].record_outcome("mx.a.test", Meaning.ACCEPTED, Stage.RCPT)
    before["two"].record_outcome("mx.a.test", Meaning.ACCEPTED, Stage.RCPT)
    assert [(r.egress, r.paused_s) for r in await writing.recent_refusals(10)] == [
        ("one", 0),
        ("two", 0),
    ]
    # pauses of an egress that is not configured any more are of no consequence
    await ReputationStore(store, {}, clock=clock).load_pauses()


async def test_a_whole_operator_can_be_paused(store: Store, clock: Clock) -> None:
    process = process_on(store, clock)
    for number in range(3):
        process.refuse(f"mx{number}.a.test", times=2)
    other = process_on(store, clock)
    assert [(r.paused_s, r.paused_hosts) for r in await process.recent()] == [(60, 0)]
    await other.reputation_store.load_pauses()
    assert other.reputation.pause_or_start_trial("mx9.a.test") is not None


async def test_counts_that_cannot_be_written_are_written_later(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    async with open_store(f"sqlite:///{tmp_path}/v.db", busy_timeout_s=0.01) as impatient:
        process = process_on(impatient, clock)
        with contextlib.closing(sqlite3.connect(impatient.where, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(2):
                process.refuse(times=REFUSALS_UNTIL_HOST_PAUSED)
                with pytest.raises(StoreError):
                    await process.reputation_store.write()
            assert await process.recent() == []
        assert [(r.day, r.paused_s) for r in await process.recent()] == [(8, 60)]


async def test_counts_are_written_at_the_end(store: Store, clock: Clock) -> None:
    process = process_on(store, clock)
    async with open_reputation_store(store, {DEFAULT_EGRESS: process.reputation}, clock=clock):
        process.refuse()
    assert [r.day for r in await recent_refusals(store, clock(), 10)] == [1]


async def test_a_command_adds_to_an_existing_database_and_creates_none(
    store: Store, database_url: str, clock: Clock, tmp_path: Path
) -> None:
    process = process_on(store, clock)
    process.refuse()
    await add_refusals_once(database_url, {DEFAULT_EGRESS: process.reputation})
    assert [r.day for r in await process.recent()] == [1]
    (tmp_path / "empty.db").touch()
    for name in ("none.db", "empty.db"):
        process.refuse()
        await add_refusals_once(
            f"sqlite:///{tmp_path / name}", {DEFAULT_EGRESS: process.reputation}
        )
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(tmp_path)}
    assert "none.db" not in sizes
    assert sizes["empty.db"] == 0


@pytest.mark.parametrize("command", [("verify", "u@a.test"), ("bulk", "list.txt", "-o", "out.csv")])
async def test_verify_and_bulk_add_their_refusals_to_the_database(
    store: Store, database_url: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "list.txt").write_text("u@a.test\n")
    zone = {"a.test": {"MX": ["1 mx.a.test."]}, "mx.a.test": {"A": [HOST]}}
    async with fake_dns(zone) as dns, fake_smtp({HOST: Script(banner=BLOCKED)}) as smtp:
        settings = {
            "VERIPLEX_STORAGE__URL": database_url,
            "VERIPLEX_ENGINE__DNS_SERVERS": f'["{dns.address}"]',
            "VERIPLEX_ENGINE__SMTP_PORT": str(smtp.port),
            "VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS": "true",
        }
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VERIPLEX_")}
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "veriplex",
            *command,
            cwd=tmp_path,
            env={**environment, **settings},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
    assert process.returncode == 0, errors
    found = await recent_refusals(store, time.time(), 10)
    assert [(r.operator, r.host, r.day > 0) for r in found] == [("a.test", "mx.a.test", True)]
