"""What the policy's tests share: a server in front of vendors on loopback."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from adapters.contract.dialect import Dialect
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.dialects import ALL, BY_NAME, send, verify_request
from tests.fakes.vendor import GOOD_KEY, Vendor

__all__ = ["BY_NAME", "Front", "Local", "front", "settings_for"]


class Local:
    """Stands in for the probe engine."""

    def __init__(self, verdict: Verdict = Verdict.UNKNOWN) -> None:
        self.verdict = verdict
        self.times = 0

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        self.times += 1
        return Verification(
            address=address,
            verdict=self.verdict,
            reason=Reason.NO_CONNECT,
            score=0,
            evidence=Evidence(),
            checks=checks,
            verified_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


class Front:
    """A server, and a client of it with a key of each dialect."""

    def __init__(
        self, services: Services, client: httpx.AsyncClient, keys: dict[str, str], label: str
    ) -> None:
        self.services = services
        self.client = client
        self.keys = keys
        self.label = label

    async def verify(self, dialect: str, email: str, **query: str) -> httpx.Response:
        """Verify through one dialect's single-address API; `query` is added to the request's."""
        request = verify_request(BY_NAME[dialect], self.keys[dialect], email)
        return await send(self.client, BY_NAME[dialect], request, query)

    async def ask(self, email: str, **query: str) -> httpx.Response:
        """Verify through the native API."""
        headers = {"Authorization": f"Bearer {self.keys['emailable']}"}
        return await self.client.get(
            "/veriplex/v1/verify", params={"email": email, **query}, headers=headers
        )


def settings_for(vendors: Sequence[Vendor], tmp_path: Any = None, **options: Any) -> Settings:
    """Settings with an upstream for each vendor, `v0`, `v1`, …, in this order.

    `upstream` holds settings of every upstream, `v0` those of the first alone.
    """
    common = {"balance_every_s": 0, "timeout_s": 10.0, **options.pop("upstream", {})}
    upstreams = [
        {
            "name": f"v{place}",
            "dialect": vendor.dialect.name,
            "base_url": vendor.base_url,
            "api_key": "env:KEY",
            **common,
            **options.pop(f"v{place}", {}),
        }
        for place, vendor in enumerate(vendors)
    ]
    routing = {
        "order": [u["name"] for u in upstreams],
        "complete": "none",
        **options.pop("routing", {}),
    }
    tree = {
        "storage": {"url": "sqlite:///:memory:"},
        "routing": routing,
        "upstreams": upstreams,
        **options,
    }
    return Settings.model_validate(
        tree, context={"environ": {"KEY": GOOD_KEY, "BAD": "bad-key", "OTHER": "other-key"}}
    )


@contextlib.asynccontextmanager
async def front(
    settings: Settings,
    local: Local | None = None,
    label: str = "a key",
    clock: Callable[[], float] = time.time,
    run_workers: bool = True,
) -> AsyncIterator[Front]:
    """A server with these settings, and keys labelled so. `clock` is Unix time in seconds."""
    async with open_services(
        settings, verifier=local or Local(), dialects=ALL, clock=clock, run_workers=run_workers
    ) as services:
        account = await services.accounts.create_account()
        keys = {
            d.name: (await services.accounts.create_key(account, d.name, label=label)).key
            for d in ALL
        }
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://veriplex.test", timeout=60
        ) as client:
            yield Front(services, client, keys, label)


@pytest.fixture
def emailable() -> Dialect:
    return BY_NAME["emailable"]
