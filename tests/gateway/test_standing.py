"""Our standing as it is shown: the native API and the metrics, fed by refusing mail hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from engine.model import Meaning, Stage
from engine.standing import Standing
from gateway.app import create_app, open_services
from gateway.native import MAX_OPERATORS, standing_as_json
from gateway.observe import OPERATORS_SHOWN, Observer
from gateway.settings import Settings
from tests.fakes.clock import Clock
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import Script, fake_smtp

HOST = "127.0.0.2"
BLOCKED = "554 5.7.1 <probe@a.test>: Client host [127.0.0.1] blocked using rbl.test"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@asynccontextmanager
async def server() -> AsyncIterator[tuple[httpx.AsyncClient, str, str]]:
    """A client of a server whose only mail host refuses it, a live key and a test key."""
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
        async with open_services(settings, work=False) as services:
            keys = await services.accounts.bootstrap()
            transport = httpx.ASGITransport(create_app(services))
            live = next(key.key for key in keys if not key.test)
            test = next(key.key for key in keys if key.test)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                yield client, live, test


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_who_refuses_us_is_shown_to_whoever_has_a_key() -> None:
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
    assert operator.pop("paused_s") == 0  # the host alone is paused, not its operator
    assert body == {
        "operators": [
            {
                "operator": "a.test",
                "conversations": 4,
                "refused": 4,
                "refusals": {"ip_blocked": 4},
                "paused_hosts": ["mx.a.test"],
                "last": {
                    "host": "mx.a.test",
                    "text": "5.7.1 <(address)>: Client host [127.0.0.1] blocked using rbl.test",
                    "block_list": "rbl.test",
                },
            }
        ],
        "total": 1,
    }
    assert for_tests.json() == {"operators": [], "total": 0}
    assert refused.status_code == 401
    assert 'veriplex_refusals_total{meaning="ip_blocked",operator="a.test"} 4.0' in metrics
    assert "veriplex_paused_operators 1.0" in metrics


def test_what_is_shown_is_bounded_and_the_worst_comes_first() -> None:
    standing = Standing(Clock(), lambda: NOW)
    for number in range(MAX_OPERATORS + 10):
        for _ in range(1 + number // 10):
            standing.note(f"mx.d{number}.test", Meaning.THROTTLED, Stage.MAIL, text="421 slow")
    shown = standing_as_json(standing.accounts())
    assert (len(shown["operators"]), shown["total"]) == (MAX_OPERATORS, MAX_OPERATORS + 10)
    assert shown["operators"][0]["operator"].startswith(f"d{MAX_OPERATORS}")
    observer = Observer()
    observer.watch_standing(standing)
    series = observer.metrics().decode().count("\nveriplex_refusals_total{")
    assert series == OPERATORS_SHOWN
