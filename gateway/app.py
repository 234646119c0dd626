"""The composition root: settings in, an ASGI application out.

`open_services` makes everything and closes it again; `create_app` only wires.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sqlalchemy import text

from adapters.registry import DIALECTS
from engine.model import Verdict
from engine.probe import ProbeConfig, ProbeEngine
from engine.smtp.reputation import ReputationTracker
from gateway.accounts.accounts import Accounts, open_accounts
from gateway.batches.opening import BatchServices, open_batches
from gateway.observability.metrics import Metrics
from gateway.reputation import open_reputation_store
from gateway.sandbox import Sandbox
from gateway.sandbox.keys import TestKeys
from gateway.service import Service, WaitForTask, wait_at_most
from gateway.settings import Settings
from gateway.store import BUSY_TIMEOUT_S, Store, StoreError, open_store
from gateway.tasks import in_background
from gateway.upstreams.metrics import UpstreamCollector
from gateway.upstreams.opening import open_policy
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.database import SqlVerdictStore
from gateway.verdicts.verifier import BulkVerifier, OneByOne, Verifier
from gateway.web.client_blocks import BlockRule, ClientBlocks
from gateway.web.dispatch import Application, create_dispatcher
from gateway.web.native import NativeApi
from gateway.web.routing import VendorRoutes
from gateway.web.system import create_system_app
from gateway.web.vendors import VendorApp


@dataclass(slots=True)
class Services:
    """Everything a running server is made of."""

    settings: Settings
    store: Store
    accounts: Accounts
    routes: VendorRoutes
    vendor_app: VendorApp
    native: NativeApi
    metrics: Metrics
    sandbox: Sandbox
    batch_services: BatchServices
    stopping: bool = False
    """Set when the server begins to stop, so that it is no longer ready."""

    async def not_ready_reason(self) -> str | None:
        """Why requests cannot be served now; None if they can."""
        if self.stopping:
            return "stopping"
        try:
            async with self.store.read() as connection:
                await connection.execute(text("SELECT 1"))
        except StoreError:
            return "the database does not answer"
        return None


@contextlib.asynccontextmanager
async def open_services(
    settings: Settings,
    *,
    verifier: Verifier | None = None,
    clock: Callable[[], float] = time.time,
    wait: WaitForTask = wait_at_most,
    run_workers: bool = True,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> AsyncIterator[Services]:
    """Open storage, engine and caches, and close them in reverse.

    `verifier` stands in for the probe engine; `clock` is Unix time in seconds. Without `work`
    batches are worked on only when somebody drains the desk. `busy_timeout_s` is as in
    `open_store`. Raises StoreError, AccountsError.
    """
    async with contextlib.AsyncExitStack() as stack:
        test_keys = TestKeys(DIALECTS)
        store = await stack.enter_async_context(
            open_store(settings.storage.url, busy_timeout_s=busy_timeout_s)
        )
        accounts = await stack.enter_async_context(
            open_accounts(
                store,
                DIALECTS,
                plan=settings.limits.plan,
                well_known=test_keys.callers if settings.sandbox.enabled else {},
                clock=clock,
            )
        )
        if verifier is None:
            verifier = await stack.enter_async_context(open_engine(settings))
        if isinstance(verifier, ProbeEngine):
            standing = verifier.reputation
        else:
            standing = ReputationTracker(
                time.monotonic, lambda: datetime.fromtimestamp(clock(), UTC)
            )
        kept_standing = await stack.enter_async_context(
            open_reputation_store(store, standing, clock=clock)
        )
        ttl_s = {verdict: getattr(settings.cache.ttl_s, verdict) for verdict in Verdict}
        observer = Metrics()
        await stack.enter_async_context(observer.writing_access_log())
        aggregator = await stack.enter_async_context(
            open_policy(
                settings,
                DIALECTS,
                store,
                verifier,
                _bulk_verifier(verifier),
                clock=clock,
                monotonic=time.monotonic,
                rng=random.SystemRandom(),
                on_attempt=observer.count_attempt,
            )
        )
        observer.register_collector(UpstreamCollector(aggregator))
        observer.expose_reputation(standing)
        kept = await stack.enter_async_context(_open_stored_verdicts(settings, store, clock))
        verdicts = VerdictCache(
            aggregator.policy, ttl_s=ttl_s, clock=clock, stale_s=settings.cache.stale_s, store=kept
        )
        stack.push_async_callback(verdicts.aclose)
        sandbox = Sandbox(settings.sandbox.seed, test_keys, clock=clock, url=settings.server.url())
        desk = await stack.enter_async_context(
            open_batches(
                store,
                accounts,
                DIALECTS,
                aggregator.bulk.choose_verifier,
                verdicts,
                retries_s=settings.engine.greylist_retries_s,
                allow_private_networks=settings.engine.allow_private_networks,
                base_url=lambda: sandbox.url,
                clock=clock,
                run_workers=run_workers,
                chunk_size=aggregator.bulk.chunk_size,
            )
        )
        service = Service(
            accounts,
            verdicts,
            sandbox,
            desk.operations,
            clock=clock,
            policy=aggregator.policy,
            on_cache_lookup=observer.count_cache_lookup,
            wait=wait,
        )
        routes = VendorRoutes(DIALECTS)
        guard = ClientBlocks(_block_rules(settings), clock=clock)
        yield Services(
            settings=settings,
            store=store,
            accounts=accounts,
            routes=routes,
            vendor_app=VendorApp(routes, accounts, service, guard, observer, sandbox),
            native=NativeApi(DIALECTS, accounts, service, standing, kept_standing),
            metrics=observer,
            sandbox=sandbox,
            batch_services=desk,
        )


@contextlib.asynccontextmanager
async def _open_stored_verdicts(
    settings: Settings, store: Store, clock: Callable[[], float]
) -> AsyncIterator[SqlVerdictStore | None]:
    """The answers of earlier runs, and those of this one for the next."""
    if not settings.cache.stored:
        yield None
        return
    answers = SqlVerdictStore(store, max_entries=settings.cache.max_stored, clock=clock)
    await answers.load_digests()
    try:
        async with in_background(answers.write_periodically()):
            yield answers
    finally:
        await answers.write()


@contextlib.asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[ProbeEngine]:
    """The local probe, as `[engine]` says."""
    names = {field.name for field in fields(ProbeConfig)}
    engine = ProbeEngine.open(ProbeConfig(**settings.engine.model_dump(include=names)))
    try:
        yield engine
    finally:
        await engine.aclose()


def _bulk_verifier(verifier: Verifier) -> BulkVerifier:
    """The engine verifies many together, whatever else there is one after the other."""
    return verifier if isinstance(verifier, ProbeEngine) else OneByOne(verifier)


def create_app(services: Services) -> Application:
    """Vendors' addresses to their dialects, our own to Starlette."""
    return create_dispatcher(
        services.routes, services.vendor_app, lambda: create_system_app(services)
    )


def _block_rules(settings: Settings) -> dict[str, BlockRule]:
    rule = settings.dataoorts
    if not rule.block_enabled:
        return {}
    return {"dataoorts": BlockRule(rule.block_failures, rule.block_window_s)}
