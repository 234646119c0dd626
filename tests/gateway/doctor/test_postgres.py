"""The doctor's look at PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from gateway.doctor.finding import Level
from gateway.doctor.postgres import PostgresServer, examine_postgres, judge_postgres
from gateway.settings import Settings
from gateway.store import open_store
from gateway.store.tables import REVISION
from tests.postgres import PostgresServer as Server

FINE = PostgresServer(
    where="postgresql://db/v",
    version=15,
    revision=REVISION,
    least_reader=REVISION,
    is_standby=False,
    may_create=True,
    may_write=True,
    offset_s=0.1,
    is_pooled=False,
    max_connections=100,
    servers=2,
    workers=2,
)
POOLED = {"storage": {"direct_url": "postgresql://v@db/v", "url": "postgresql://v@pool/v"}}


def judged(fact: PostgresServer, settings: Mapping[str, object] | None = None) -> list[str]:
    found = judge_postgres(fact, Settings.model_validate(settings or {}))
    return [f"{each.level}: {each.said}" for each in found]


def test_a_good_server_has_room_for_all_processes() -> None:
    (said,) = judged(FINE)
    assert said.startswith("ok: version 15")
    assert "48 of its 100 connections" in said  # 4 pools of 5, and 7 in each, since servers work
    (said,) = judged(FINE, {"work": {"in_server": False}})
    assert "34 of its 100" in said
    assert "12 of its 100" in judged(replace(FINE, servers=0, workers=0))[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 13}, "fail: is version 13"),
        ({"is_standby": True}, "fail: is a standby"),
        ({"may_write": False}, "fail: this user may not write"),
        ({"may_create": False, "revision": ""}, "fail: this user may not create"),
        ({"revision": "0001"}, "fail: its tables are at 0001"),
        ({"revision": "9999", "least_reader": "9999"}, "fail: its tables are at 9999"),
        ({"offset_s": 3_600}, "warn: its clock is 3,600 s ahead of"),
        ({"offset_s": -3_600}, "warn: its clock is 3,600 s behind"),
        ({"is_pooled": True}, "warn: is behind a pooler"),
        ({"max_connections": 50}, "warn: has 50 connections, of which our processes need 48"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, object], said: str) -> None:
    (found,) = judged(replace(FINE, **changes))  # type: ignore[arg-type]
    assert found.startswith(said)


@pytest.mark.parametrize(
    "changes", [{"may_create": False}, {"revision": ""}, {"revision": "9999"}, {"least_reader": ""}]
)
def test_what_is_not_wrong_is_not_said(changes: dict[str, object]) -> None:
    assert judged(replace(FINE, **changes))[0].startswith("ok")  # type: ignore[arg-type]


def test_a_pooler_may_have_connections_enough() -> None:
    assert judged(replace(FINE, is_pooled=True, max_connections=20), POOLED)[0].startswith("ok")


async def test_a_file_has_no_server() -> None:
    assert await examine_postgres(Settings()) == []


@pytest.mark.postgres
async def test_a_real_server_is_looked_at(postgres_server: Server) -> None:
    url = postgres_server.empty_database()
    settings = Settings.model_validate({"storage": {"url": url}})
    (empty,) = await examine_postgres(settings)
    assert (empty.level, "none yet" in empty.said) == (Level.OK, True)
    async with open_store(url):
        pass
    (found,) = await examine_postgres(settings)
    assert (found.level, REVISION in found.said) == (Level.OK, True)
    (wrong,) = await examine_postgres(settings, local_clock=lambda: time.time() - 3_600)
    assert "ahead of" in wrong.said

    postgres_server.sql(
        "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA public TO reader;"
        " GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    )
    other = Settings.model_validate({"storage": {"url": url.replace("veriplex@", "reader@")}})
    (refused,) = await examine_postgres(other)
    postgres_server.sql("DROP OWNED BY reader; DROP ROLE reader")
    assert "may not write" in refused.said


@pytest.mark.postgres
async def test_a_server_that_is_away_is_the_databases_finding() -> None:
    settings = Settings.model_validate({"storage": {"url": "postgresql://v@127.0.0.1:1/v"}})
    assert await examine_postgres(settings) == []
