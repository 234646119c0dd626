"""A server in use: upstreams with faults, mail hosts that refuse it, accounts, keys and batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from engine.model import Meaning, Reason, Verdict
from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.settings.section import SettingPath
from gateway.store.tables import egress_refusals
from gateway.web.dispatch import create_app
from tests.dialects import BY_NAME
from tests.fakes.dns import FakeDns, Zone, fake_dns
from tests.fakes.smtp import FakeSmtp, Script, fake_smtp
from tests.fakes.vendor import GOOD_KEY, Mood, Vendor, vendor
from tests.gateway.web.console.console_client import (
    PASSWORD,
    VIEWER_PASSWORD,
    WITH_PASSWORDS,
)

SCRIPT = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
"""In every text that strangers send."""
BANNER = f"554 5.7.1 {SCRIPT} refused, see https://blocklist.example/lookup"
UPSTREAMS: dict[str, tuple[str, Mood, dict[str, Any]]] = {
    "kickbox-eu": ("kickbox", Mood.ERROR, {}),
    "spare-credits": ("zerobounce", Mood.EMPTY, {}),
    "old-contract": ("neverbounce", Mood.BANNED, {}),
    "typo-in-key": ("generic", Mood.GOOD, {"api_key": "env:BAD"}),
    "emailable": (
        "emailable",
        Mood.GOOD,
        {"price": 0.004, "daily_budget": 0.2, "monthly_budget": 50},
    ),
    "not-routed": ("validto", Mood.GOOD, {}),
}
"""Dialect, behaviour and settings, by name; asked in this order."""
ZONE: Zone = {
    name: entry
    for number in range(4)
    for name, entry in (
        (f"engine-{number}.example", {"MX": [f"5 mx.engine-{number}.example."]}),
        (f"mx.engine-{number}.example", {"A": ["127.0.0.2"]}),
    )
}
CLOSED_PORT = 9
ORIGINS: dict[SettingPath, str] = {
    ("engine", "smtp_port"): "veriplex.toml, line 12",
    ("routing", "order"): "veriplex.toml, line 3",
    ("console", "password"): "environment variable VERIPLEX_CONSOLE__PASSWORD",
}
VERDICTS = (
    (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    (Verdict.RISKY, Reason.CATCH_ALL),
    (Verdict.UNKNOWN, Reason.TIMEOUT),
)


@dataclass(frozen=True, slots=True)
class Busy:
    """The server, its vendors by name, and a live key of its first account."""

    services: Services
    vendors: dict[str, Vendor]
    key: str

    async def verify(self, *emails: str, key: str = "") -> None:
        """With `key`, or another one of Emailable."""
        transport = httpx.ASGITransport(create_app(self.services))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for email in emails:
                params = {"email": email, "api_key": key or self.key}
                await client.get("/emailable/v1/verify", params=params)

    async def write_counts(self) -> None:
        """Have the counts of the overview in the database."""
        assert self.services.console is not None
        assert self.services.console.overview is not None
        await self.services.console.overview.log.write()


@contextlib.asynccontextmanager
async def busy_server() -> AsyncIterator[Busy]:
    async with contextlib.AsyncExitStack() as stack:
        vendors = {}
        enter = stack.enter_async_context
        for name, (dialect, mood, _) in UPSTREAMS.items():
            opened = vendor(BY_NAME[dialect], mood=mood, says=_says, retry_after_s=None)
            vendors[name] = await enter(opened)
        smtp = await enter(fake_smtp({"127.0.0.2": Script(banner=BANNER)}))
        dns = await enter(fake_dns(ZONE))
        services = await enter(
            open_services(_settings(vendors, dns, smtp), origins=ORIGINS, run_workers=False)
        )
        account = await services.accounts.create_account("owner@example.com", credits=12_345)
        made = await services.accounts.create_key(account, "emailable", label=SCRIPT)
        await services.accounts.create_key(account, "kickbox", label="the newsletter", test=True)
        await services.accounts.create_account(SCRIPT)
        busy = Busy(services, vendors, made.key)
        await busy.verify(*(f"person-{number}@example.com" for number in range(45)))
        await busy.verify("person-1@example.com", "person-2@example.com", "not an address")
        own = await services.accounts.create_key(account, "emailable", label="the engine alone")
        domains = [name for name in ZONE if name.startswith("engine")]
        await busy.verify(*(f"person@{domain}" for domain in domains), key=own.key)
        await busy.write_counts()
        await _be_refused(services)
        yield busy


def _says(email: str) -> tuple[Verdict, Reason]:
    return VERDICTS[sum(email.encode()) % len(VERDICTS)]


def _settings(vendors: dict[str, Vendor], dns: FakeDns, smtp: FakeSmtp) -> Settings:
    upstreams: list[dict[str, Any]] = [
        {
            "name": name,
            "dialect": each.dialect.name,
            "base_url": each.base_url,
            "api_key": "env:KEY",
            "balance_every_s": 0,
            **UPSTREAMS[name][2],
        }
        for name, each in vendors.items()
    ]
    order = [*(name for name in vendors if name != "not-routed"), "local"]
    return Settings.model_validate(
        {
            "storage": {"url": "sqlite:///:memory:"},
            "console": WITH_PASSWORDS,
            "routing": {"order": order, "complete": "none"},
            "routes": [{"name": "engine-only", "keys": ["the engine alone"], "order": ["local"]}],
            "upstreams": upstreams,
            "engine": {
                "dns_servers": [dns.address],
                "smtp_port": smtp.port,
                "allow_private_networks": True,
                "connect_timeout_s": 1.0,
            },
            "egress": [
                {"name": "berlin", "helo": "probe-1.example.com"},
                {"name": "by-proxy", "proxy": f"socks5://127.0.0.1:{CLOSED_PORT}", "weight": 0.5},
            ],
        },
        context={
            "environ": {
                "KEY": GOOD_KEY,
                "BAD": "no such key",
                "PASSWORD": PASSWORD,
                "VIEWER": VIEWER_PASSWORD,
            }
        },
    )


async def _be_refused(services: Services) -> None:
    now = int(time.time())
    rows = [
        {
            "egress": egress,
            "operator": operator,
            "meaning": meaning.value,
            "block_list": block_list,
            "hour": now // 3600,
            "count": count,
            "first_at": now - 7200,
            "last_at": now - 60,
            "host": f"mx1.{operator}",
            "text": BANNER,
        }
        for egress, operator, meaning, block_list, count in (
            ("berlin", "outlook.com", Meaning.IP_BLOCKED, "zen.spamhaus.org", 120),
            ("berlin", "a-mail-host-with-a-rather-long-name.example", Meaning.THROTTLED, "", 9),
            ("by-proxy", "gmail.com", Meaning.RDNS_REQUIRED, "", 40),
        )
    ]
    async with services.store.write() as connection:
        await connection.execute(egress_refusals.insert(), rows)
