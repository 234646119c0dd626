"""The clock stays where dates are, and no time that it shows is an error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.registry import DIALECTS
from gateway.sandbox.clock import EARLIEST, LATEST, AdjustableClock, ClockOutOfRange

API = "/veriplex/v1"
KEY = "test_7aff7fc0142c65f86a00"
NOW = 1_780_000_000.0

OUT_OF_RANGE: list[list[dict[str, Any]]] = [
    [{"at": "9999-12-31T23:59:59-23:59"}],
    [{"at": "9999-01-01T00:00:00Z"}],
    [{"at": "1969-12-31T23:59:59Z"}],
    [{"at": "0001-01-01T00:00:00+23:59"}],
    [{"at": "1970-01-01T00:00:00+00:01"}],
    [{"advance_s": 1e10}] * 26,
    [{"advance_s": -1e10}],
    [{"at": "9998-12-31T23:59:59Z"}, {"advance_s": 1}],
    [{"at": "9998-12-31T23:59:59Z", "advance_s": 1e10}],
    [{"at": "1970-01-01T00:00:00Z", "advance_s": -0.001}],
    [{"at": "9998-12-31T23:59:59Z", "frozen": True, "advance_s": 86_400}],
]


async def clock_of(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.get(f"{API}/clock", params={"key": key})).json()
    return shown


@pytest.mark.parametrize("key", ["", KEY], ids=["shared", "own"])
@pytest.mark.parametrize("changes", OUT_OF_RANGE, ids=range(len(OUT_OF_RANGE)))
async def test_a_time_without_a_date_is_refused_before_the_clock_is_set(
    client: httpx.AsyncClient, changes: list[dict[str, Any]], key: str
) -> None:
    before = await clock_of(client, key)
    for change in changes:
        reply = await client.post(f"{API}/clock", params={"key": key}, json=change)
        if reply.status_code != 200:
            break
        before = await clock_of(client, key)
    assert reply.status_code == 400
    assert "1970 to 9998" in reply.json()["detail"]
    assert await clock_of(client, key) == before


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00Z", "9998-12-31T23:59:59Z"])
@pytest.mark.parametrize("key", ["", KEY], ids=["shared", "own"])
async def test_every_dialect_answers_at_the_ends_of_time(
    client: httpx.AsyncClient, at: str, key: str
) -> None:
    reply = await client.post(f"{API}/clock", params={"key": key}, json={"at": at})
    assert reply.status_code == 200
    for dialect in DIALECTS:
        headers = {"Authorization": f"Bearer {dialect.sandbox_key}"}
        for email in ("a@example.com", "a+simulate-429@example.com"):
            query = {"email": email}
            reply = await client.get(f"{API}/verify", params=query, headers=headers)
            assert reply.status_code in (200, 429)
    made = await client.post("/emailable/v1/batch", json={"emails": ["a@b.org"], "api_key": KEY})
    status = await client.get(
        "/emailable/v1/batch", params={"id": made.json()["id"], "api_key": KEY}
    )
    assert status.json()["emails"]
    for path in ("clock", "requests", "requests/last"):
        assert (await client.get(f"{API}/{path}", params={"key": key})).status_code == 200


async def test_a_clock_of_its_own_stays_in_range_when_the_shared_one_is_moved(
    client: httpx.AsyncClient,
) -> None:
    own = {"key": KEY}
    await client.post(f"{API}/clock", params=own, json={"at": "9000-01-01T00:00:00Z"})
    await client.post(f"{API}/clock", json={"at": "9998-12-31T00:00:00Z"})
    assert (await clock_of(client, KEY))["now"].startswith("9998-12-31")
    reply = await client.get("/emailable/v1/verify", params={"email": "a@b.org", "api_key": KEY})
    assert reply.status_code == 200
    await client.post(f"{API}/clock", json={"at": "1970-01-01T00:00:00Z"})
    await client.post(f"{API}/clock", params=own, json={"at": "1970-01-01T00:00:00Z"})
    reply = await client.delete(f"{API}/clock")
    assert reply.status_code == 200
    assert (await clock_of(client, KEY))["moved"] is False


seconds = st.floats(-1e12, 1e12)


@given(st.lists(st.tuples(st.none() | st.booleans(), st.none() | seconds, seconds, seconds)))
def test_whatever_is_asked_of_it_a_clock_shows_a_date(
    changes: list[tuple[bool | None, float | None, float, float]],
) -> None:
    real = NOW

    def base() -> float:
        return real

    clock = AdjustableClock(base)
    for frozen, at, advance_s, moved_s in changes:
        before = clock()
        try:
            clock.change(frozen=frozen, at=at, advance_s=advance_s)
        except ClockOutOfRange:
            assert clock() == before
        assert EARLIEST <= clock() <= LATEST
        real += moved_s
        assert datetime.fromtimestamp(clock(), UTC).year <= 9998
    clock.reset()
    assert not clock.is_moved


def test_a_change_of_nothing_moves_no_clock() -> None:
    ticking = iter(range(1_000))
    clock = AdjustableClock(lambda: NOW + next(ticking))
    for frozen in (None, False, True, False):
        clock.change(frozen=frozen)
        assert clock.is_frozen is (frozen is True)
    clock = AdjustableClock(lambda: NOW + next(ticking))
    clock.change(frozen=False)
    clock.change()
    assert not clock.is_moved
