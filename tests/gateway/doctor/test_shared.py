"""The doctor's look at the shared server."""

from __future__ import annotations

import pytest

from gateway.cluster.shared.inspection import SharedServer
from gateway.doctor.shared import examine_shared, judge_shared
from gateway.settings.storage import SharedSettings
from tests.valkey_server import ValkeyServer

GOOD = {"version": "7.0.15", "policy": "noeviction", "round_trip_ms": 0.3}


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({}, "ok", "answers in 0.3 ms"),
        ({"policy": "volatile-ttl", "max_bytes": 1_000}, "ok", "answers in 0.3 ms"),
        ({"policy": "allkeys-lru", "max_bytes": 1_000}, "warn", "it evicts any key"),
        ({"max_bytes": 1_000}, "warn", "it takes nothing more"),
        ({"version": "6.0.16"}, "warn", "is version 6.0.16"),
        ({"version": "6.2.0"}, "ok", "answers"),
        ({"version": "8.1.1"}, "ok", "answers"),
        ({"round_trip_ms": 11.0}, "warn", "11.0 ms, of the 50 ms"),
        ({"error": "ConnectionError: refused"}, "warn", "cannot be used: ConnectionError"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, object], level: str, text: str) -> None:
    fact = SharedServer("cache:6379", **{**GOOD, **changes})  # type: ignore[arg-type]
    finding = judge_shared(fact, timeout_ms=50)
    assert (finding.check, finding.about, finding.level) == ("shared", "cache:6379", level)
    assert text in finding.said
    assert bool(finding.advice) is (level != "ok")


async def test_without_a_shared_server_nothing_is_said() -> None:
    assert await examine_shared(SharedSettings()) == []


@pytest.mark.valkey
async def test_a_real_server_is_well(valkey_server: ValkeyServer) -> None:
    (finding,) = await examine_shared(SharedSettings(url=valkey_server.url, timeout_ms=1_000))
    assert finding.level == "ok", finding.said
    assert finding.about == f"127.0.0.1:{valkey_server.port}"


async def test_a_server_that_is_not_there_is_found() -> None:
    (finding,) = await examine_shared(SharedSettings(url="redis://user@127.0.0.1:1/0"))
    assert finding.level == "warn"
    assert finding.about == "127.0.0.1:1"
    assert "cannot be used" in finding.said


@pytest.mark.valkey
async def test_a_wrong_password_is_found_and_not_shown() -> None:
    server = ValkeyServer("--requirepass", "right-sekrit")
    try:
        settings = SharedSettings.model_validate(
            {"url": server.url, "password": "env:WRONG"},
            context={"environ": {"WRONG": "wrong-sekrit"}},
        )
        (finding,) = await examine_shared(settings)
    finally:
        server.close()
    assert "AuthenticationError" in finding.said
    assert "sekrit" not in finding.said
