"""A server that is a sandbox and nothing else: in memory, off-line, ready at once.

Its own composition root, since what `gateway.app` imports for storage and for the probe takes
longer than a sandbox may take to start.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from engine.model import Address, Checks, Verdict
from gateway.accounts.caller import Caller
from gateway.batches.lazy_post import LazyWebhookPost
from gateway.observability.metrics import Metrics
from gateway.sandbox import Sandbox
from gateway.sandbox.clock import AdjustableClock
from gateway.sandbox.keys import TestAccounts, TestKeys
from gateway.service import Service
from gateway.verdicts.cache import VerdictCache
from gateway.web.client_blocks import ClientBlocks
from gateway.web.dispatch import create_dispatcher
from gateway.web.native import NativeApi
from gateway.web.routing import VendorRoutes
from gateway.web.vendors import VendorApp

if TYPE_CHECKING:
    from gateway.batches.http_post import HttpWebhookPost
    from gateway.web.dispatch import Application

WEBHOOK_TIMEOUT_S = 10.0
"""For one try, all together."""


@dataclass(slots=True)
class SandboxServer:
    """Everything a running sandbox is made of."""

    sandbox: Sandbox
    metrics: Metrics
    native: NativeApi
    app: Application
    stopping: bool = False

    async def not_ready_reason(self) -> str | None:
        return "stopping" if self.stopping else None


@contextlib.asynccontextmanager
async def open_sandbox(
    seed: str,
    *,
    keys: Iterable[str] = (),
    url: str = "",
    clock: AdjustableClock | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
) -> AsyncIterator[SandboxServer]:
    """A sandbox that knows the well-known test keys and `keys`. `url` is where it answers."""
    clock = clock or AdjustableClock()
    test_keys = TestKeys(dialects, extra_keys=keys)
    sandbox = Sandbox(seed, test_keys, clock=clock, url=url, standalone=True)
    books = TestAccounts(test_keys, sandbox.clocks)
    verdicts = VerdictCache(ttl_s=dict.fromkeys(Verdict, 0.0), clock=clock)
    service = Service(books, verdicts, NoPolicy(), sandbox, clock=clock)
    observer = Metrics()
    routes = VendorRoutes(dialects)
    vendors = VendorApp(routes, books, service, ClientBlocks(clock=clock), observer, sandbox)
    native = NativeApi(tuple(dialects), books, service)
    server: SandboxServer

    def own() -> Application:
        # a vendor's client never asks for it, and Starlette takes its time
        from gateway.web.system import create_system_app

        return create_system_app(server)

    server = SandboxServer(sandbox, observer, native, create_dispatcher(routes, vendors, own))
    async with (
        contextlib.aclosing(LazyWebhookPost(_open_webhook_post)) as post_webhook,
        observer.writing_access_log(),
        sandbox.webhooks.running(post_webhook),
    ):
        yield server


def _open_webhook_post() -> HttpWebhookPost:
    """To private addresses alone, so that nothing leaves a build machine."""
    from engine.dns.targets import is_global
    from gateway.batches.http_post import HttpWebhookPost
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    return HttpWebhookPost(
        HttpTransport(keep_alive_s=0),  # one webhook seldom follows another
        may_dial=lambda address: not is_global(address),
        refusal="the receiver's address is not private",
        timeout_s=WEBHOOK_TIMEOUT_S,
    )


class NoPolicy:
    """In the place of the sources: a server with test keys alone asks none."""

    def route_name(self, caller: Caller) -> str:
        raise AssertionError("the sandbox looks nothing up")

    async def verify(
        self, address: Address, checks: Checks, *, caller: Caller, refresh: bool = False
    ) -> NoReturn:
        raise AssertionError("the sandbox asks no source")
