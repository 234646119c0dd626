"""A server that is a sandbox and nothing else: in memory, off-line, ready at once.

Its own composition root, since what `gateway.app` imports for storage and for the probe takes
longer than a sandbox may take to start.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from adapters.registry import DIALECTS
from engine.model import Checks, Verdict
from gateway.observability.metrics import Observer
from gateway.sandbox import Sandbox
from gateway.sandbox.clock import AdjustableClock
from gateway.sandbox.keys import TestBooks, TestKeys
from gateway.service import Service
from gateway.verdicts.cache import Verdicts
from gateway.web.client_blocks import Guard
from gateway.web.dispatch import front
from gateway.web.native import NativeApi
from gateway.web.routing import Routes
from gateway.web.vendors import VendorApp

if TYPE_CHECKING:
    from gateway.web.dispatch import Application


@dataclass(slots=True)
class SandboxServer:
    """Everything a running sandbox is made of."""

    sandbox: Sandbox
    observer: Observer
    native: NativeApi
    app: Application
    stopping: bool = False

    async def trouble(self) -> str | None:
        return "stopping" if self.stopping else None


@contextlib.asynccontextmanager
async def open_sandbox(
    seed: str, *, keys: Iterable[str] = (), url: str = "", clock: AdjustableClock | None = None
) -> AsyncIterator[SandboxServer]:
    """A sandbox that knows the well-known test keys and `keys`. `url` is where it answers."""
    clock = clock or AdjustableClock()
    test_keys = TestKeys(DIALECTS, also=keys)
    sandbox = Sandbox(seed, test_keys, clock=clock, url=url, alone=True)
    books = TestBooks(test_keys, sandbox.clocks)
    verdicts = Verdicts(Nobody(), ttl_s=dict.fromkeys(Verdict, 0.0), clock=clock)
    service = Service(books, verdicts, sandbox, clock=clock)
    observer = Observer()
    routes = Routes(DIALECTS)
    vendors = VendorApp(routes, books, service, Guard({}, clock=clock), observer, sandbox)
    native = NativeApi(DIALECTS, books, service)
    server: SandboxServer

    def own() -> Application:
        # a vendor's client never asks for it, and Starlette takes its time
        from gateway.web.system import own_app

        return own_app(server)

    server = SandboxServer(sandbox, observer, native, front(routes, vendors, own))
    async with observer.writing(), sandbox.webhooks.running():
        yield server


class Nobody:
    """Stands where the probe would: there are test keys alone, which never get that far."""

    async def verify(
        self, text: str, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> NoReturn:
        raise AssertionError("the sandbox asks nobody")
