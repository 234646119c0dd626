"""Use by day and filters in the database."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from adapters.contract.filters import MAX_FILTERS, AddressFilter, Filters, FilterTarget
from engine.address.syntax import parse_address
from gateway.accounts.daily_use import SqlDailyUse
from gateway.accounts.filters import CACHED_S, SqlFilters
from gateway.store import StoreError, open_store
from gateway.store.tables import address_filters
from tests.fakes.clock import Clock
from tests.postgres import PostgresServer

DAY_S = 86_400
FIRST = date(1970, 1, 1)


@pytest.fixture(params=["file", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.empty_database()
    return f"sqlite:///{tmp_path / 'v.db'}"


# -- use by day ------------------------------------------------------------------------------


async def test_use_is_counted_by_account_dialect_day_and_word(url: str) -> None:
    clock = Clock()
    clock.now = 0.0
    async with open_store(url) as store:
        use = SqlDailyUse(store, clock=clock)
        for _ in range(3):
            use.count(1, "zerobounce", ("total", "valid"))
        use.count(2, "zerobounce", ("total",))
        use.count(1, "toy", ("total",))
        clock.now = DAY_S + 1.0
        use.count(1, "zerobounce", ("total", "invalid"))

        async def sums(first: int, last: int) -> dict[str, int]:
            days = FIRST + timedelta(first), FIRST + timedelta(last)
            return dict(await use.between(1, "zerobounce", *days))

        assert await sums(0, 0) == {"total": 3, "valid": 3}
        assert await sums(1, 1) == {"total": 1, "invalid": 1}
        assert await sums(0, 1) == {"total": 4, "valid": 3, "invalid": 1}
        assert await sums(2, 9) == {}


async def test_use_outlives_the_process_and_adds_up_over_several(url: str) -> None:
    clock = Clock()
    async with open_store(url) as store:
        for _ in range(2):
            for process in [SqlDailyUse(store, clock=clock) for _ in range(3)]:
                process.count(1, "zerobounce", ("total",))
                await process.write()
    async with open_store(url) as store:
        use = SqlDailyUse(store, clock=clock)
        assert await use.between(1, "zerobounce", FIRST, date(9999, 12, 31)) == {"total": 6}


async def test_processes_that_write_at_once_lose_nothing(url: str) -> None:
    clock = Clock()
    words = [f"word{n}" for n in range(40)]
    async with open_store(url) as store:
        processes = [SqlDailyUse(store, clock=clock) for _ in range(4)]
        for n, process in enumerate(processes):
            process.count(1, "zerobounce", words[n:] + words[:n])
        far = date(9999, 12, 31)
        await asyncio.gather(*(each.between(1, "zerobounce", FIRST, far) for each in processes))
        found = await processes[0].between(1, "zerobounce", FIRST, far)
        assert found == dict.fromkeys(words, 4)


async def test_use_that_cannot_be_written_stays_counted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(url) as store:
        use = SqlDailyUse(store, clock=Clock())
        use.count(1, "zerobounce", ("total",))
        with monkeypatch.context() as broken:

            def write() -> None:
                raise StoreError("here", "full")

            broken.setattr(store, "write", write)
            with pytest.raises(StoreError):
                await use.between(1, "zerobounce", FIRST, date(9999, 12, 31))
        use.count(1, "zerobounce", ("total",))
        assert await use.between(1, "zerobounce", FIRST, date(9999, 12, 31)) == {"total": 2}


# -- filters ---------------------------------------------------------------------------------

ALLOW = AddressFilter(True, FilterTarget.EMAIL, "ann@example.org")
BLOCK = AddressFilter(False, FilterTarget.DOMAIN, "example.org")


async def test_filters_are_of_one_account_and_one_dialect(url: str) -> None:
    async with open_store(url) as store:
        clock = Clock()
        filters = SqlFilters(store, clock=clock, monotonic=clock)
        assert await filters.add(1, "zerobounce", ALLOW)
        clock.now += 1
        assert await filters.add(1, "zerobounce", BLOCK)
        assert (await filters.find(1, "zerobounce")).all == (ALLOW, BLOCK)
        assert not await filters.find(2, "zerobounce")
        assert not await filters.find(1, "toy")
        other = AddressFilter(False, ALLOW.target, ALLOW.value)
        assert not await filters.delete(1, "zerobounce", other)
        assert await filters.add(1, "zerobounce", other)
        assert (await filters.find(1, "zerobounce")).all == (other, BLOCK)
        assert await filters.delete(1, "zerobounce", other)
        assert (await filters.find(1, "zerobounce")).all == (BLOCK,)


async def test_another_processs_filters_are_seen_soon(url: str) -> None:
    async with open_store(url) as store:
        clock = Clock()
        one, other = (SqlFilters(store, clock=clock, monotonic=clock) for _ in range(2))
        assert not await other.find(1, "zerobounce")
        await one.add(1, "zerobounce", ALLOW)
        clock.now += CACHED_S + 0.1
        assert (await other.find(1, "zerobounce")).all == (ALLOW,)


async def test_the_number_of_filters_is_bounded(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'v.db'}") as store:
        filters = SqlFilters(store, clock=Clock(), monotonic=Clock())
        at = datetime(2026, 1, 1, tzinfo=UTC)
        key = {"account_id": 1, "dialect": "zerobounce", "target": "tld", "allows": True}
        rows = [{**key, "value": f"x{n}", "created_at": at} for n in range(MAX_FILTERS)]
        async with store.write() as connection:
            await connection.execute(insert(address_filters), rows)
        assert not await filters.add(1, "zerobounce", ALLOW)
        # one in the place of another needs no room
        assert await filters.add(1, "zerobounce", AddressFilter(False, FilterTarget.TLD, "x5"))
        assert await filters.add(2, "zerobounce", ALLOW)


@pytest.mark.parametrize(
    ("value", "matches"),
    [("aspmx.l.google.com", True), ("google.com", True), ("oogle.com", False), ("x.org", False)],
)
def test_a_filter_of_mail_hosts_matches_their_domains(value: str, matches: bool) -> None:
    rule = AddressFilter(False, FilterTarget.MX, value)
    found = Filters([rule]).find(parse_address("ann@x.org"), ["aspmx.l.google.com"])
    assert (found == rule) is matches


@pytest.mark.parametrize(
    ("target", "value", "email", "matches"),
    [
        ("email", "ann@example.org", "Ann@EXAMPLE.org", True),
        ("email", "ann@example.org", "ann+x@example.org", False),
        ("domain", "example.org", "ann@Example.org", True),
        ("domain", "example.org", "ann@mail.example.org", False),
        ("domain", "bücher.example", "ann@xn--bcher-kva.example", True),
        ("domain", "xn--bcher-kva.example", "ann@bücher.example", True),
        ("tld", "org", "ann@example.org", True),
        ("tld", "org", "ann@org.example", False),
        ("domain", "example.org", "not an address", False),
    ],
)
async def test_what_a_filter_matches(
    tmp_path: Path, target: str, value: str, email: str, matches: bool
) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'v.db'}") as store:
        filters = SqlFilters(store, clock=Clock(), monotonic=Clock())
        rule = AddressFilter(False, FilterTarget(target), value)
        await filters.add(1, "zerobounce", rule)
        found = (await filters.find(1, "zerobounce")).find(parse_address(email))
        assert (found == rule) is matches
