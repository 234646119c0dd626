"""The composition root of `veriplex sandbox`: a server with test keys only, in memory, offline.

It is apart from `gateway.app`, whose imports for the database and the probe take longer than a
sandbox may take to start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from engine.model import Address, Checks, Verdict
from gateway.accounts.caller import Caller
from gateway.accounts.console_access import ConsoleAccess, TokensInMemory
from gateway.batches.lazy_post import LazyFetch, LazyWebhookPost
from gateway.observability.metrics import Metrics, MetricsAccess
from gateway.sandbox import Sandbox
from gateway.sandbox.clock import AdjustableClock
from gateway.sandbox.keys import TestAccounts, TestKeys
from gateway.service import Service
from gateway.verdicts.cache import VerdictCache
from gateway.web.browsers import BrowserGuard
from gateway.web.client_blocks import ClientBlocks
from gateway.web.console.services import ConsoleServices
from gateway.web.native import NativeApi
from gateway.web.routing import VendorRoutes
from gateway.web.vendors import VendorApp

if TYPE_CHECKING:
    from gateway.batches.http_fetch import HttpFetch
    from gateway.batches.http_post import HttpWebhookPost

WEBHOOK_TIMEOUT_S = 10.0
"""Time limit for one attempt, and for a list that is fetched."""
NOT_PRIVATE = "the receiver's address is not private"
"""Why a webhook is not sent to a public address."""


@dataclass(slots=True)
class SandboxServer:
    """The parts of a running sandbox."""

    routes: VendorRoutes
    vendor_app: VendorApp
    native: NativeApi
    metrics: Metrics
    sandbox: Sandbox
    browser_guard: BrowserGuard
    console: ConsoleServices | None = None
    metrics_access: MetricsAccess = field(default_factory=MetricsAccess)
    stopping: bool = False
    degraded: tuple[str, ...] = ()
    outcomes: None = None

    async def not_ready_reason(self) -> str | None:
        return "stopping" if self.stopping else None

    async def is_stuck(self) -> bool:
        return False


@contextlib.asynccontextmanager
async def open_sandbox(
    seed: str,
    *,
    keys: Iterable[str] = (),
    url: str = "",
    clock: AdjustableClock | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
    allowed_hosts: Iterable[str] = (),
    with_console: bool = True,
) -> AsyncIterator[SandboxServer]:
    """A sandbox with the well-known test keys and `keys`.

    `url` is the URL of the server, `allowed_hosts` is as in the settings (`server.allowed_hosts`).
    """
    clock = clock or AdjustableClock()
    test_keys = TestKeys(dialects, extra_keys=keys)
    fetch = LazyFetch(open_fetch)
    sandbox = Sandbox(seed, test_keys, clock=clock, url=url, standalone=True, fetch=fetch)
    accounts = TestAccounts(test_keys, sandbox.clocks)
    verdicts = VerdictCache(ttl_s=dict.fromkeys(Verdict, 0.0), clock=clock)
    service = Service(accounts, verdicts, NoPolicy(), sandbox, clock=clock)
    metrics = Metrics()
    routes = VendorRoutes(dialects)
    guard = BrowserGuard(lambda: sandbox.url, allowed_hosts)
    vendors = VendorApp(
        routes,
        accounts,
        service,
        ClientBlocks(clock=clock),
        metrics,
        sandbox,
        browser_guard=guard,
    )
    native = NativeApi(tuple(dialects), accounts, service)
    console = ConsoleServices(
        access=ConsoleAccess(TokensInMemory(time.time), clock=time.time),
        guard=guard,
        dialects=dialects,
        sandbox=sandbox,
        service=service,
    )
    server = SandboxServer(
        routes, vendors, native, metrics, sandbox, guard, console if with_console else None
    )
    async with (
        contextlib.aclosing(fetch),
        contextlib.aclosing(LazyWebhookPost(open_webhook_post)) as post_webhook,
        metrics.writing_access_log(),
        sandbox.webhooks.running(post_webhook),
    ):
        yield server


def open_webhook_post() -> HttpWebhookPost:
    """Sends webhooks to private addresses only, so that nothing leaves a build machine."""
    from engine.dns.targets import is_global
    from gateway.batches.http_post import HttpWebhookPost
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    return HttpWebhookPost(
        HttpTransport(keep_alive_s=0),  # one webhook seldom follows another
        may_dial=lambda address: not is_global(address),
        refusal=NOT_PRIVATE,
        timeout_s=WEBHOOK_TIMEOUT_S,
    )


def open_fetch() -> HttpFetch:
    """Fetches lists from private addresses only, so that nothing leaves a build machine."""
    from engine.dns.targets import is_global
    from gateway.batches.http_fetch import HttpFetch
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    return HttpFetch(
        HttpTransport(keep_alive_s=0),
        may_dial=lambda address: not is_global(address),
        refusal="The sandbox fetches lists from private addresses only.",
        timeout_s=WEBHOOK_TIMEOUT_S,
    )


class NoPolicy:
    """Stands in for the sources, which a server with test keys only never asks."""

    def cache_partition(self, account_id: int, key_label: str) -> str:
        raise AssertionError("the sandbox has no routes")

    async def verify(
        self, address: Address, checks: Checks, *, caller: Caller, refresh: bool = False
    ) -> NoReturn:
        raise AssertionError("the sandbox asks no source")
