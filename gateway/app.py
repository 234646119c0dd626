"""The composition root of the server: from settings to its services.

`open_services` opens everything and closes it again; `gateway.web.dispatch.create_app` makes the
ASGI application of it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapters.contract.dialect import Dialect
from adapters.contract.filters import Filters
from adapters.registry import DIALECTS
from engine.address.offline import load_lists
from engine.dns.targets import is_global
from engine.model import Verification
from engine.probe import ProbeEngine
from engine.sharing import UNSHARED, SharedState
from engine.smtp.egress import EgressSet
from engine.smtp.terms import EgressStrategy
from gateway.accounts.account_state import NO_FILTERS, AccountState, FilterStore
from gateway.accounts.accounts import Accounts, OwnKey, open_accounts
from gateway.accounts.blocked_clients import BlockedClients
from gateway.accounts.console_tokens import console_access
from gateway.accounts.daily_use import open_daily_use
from gateway.accounts.directory import AccountDirectory
from gateway.accounts.filters import SqlFilters
from gateway.batches.backlog import read_backlog
from gateway.batches.lazy_post import LazyFetch, LazyWebhookPost
from gateway.batches.metrics import BatchCollector
from gateway.batches.model import Claim
from gateway.batches.opening import BatchDependencies, BatchServices, open_batches
from gateway.cluster.clock import DatabaseClock
from gateway.cluster.health import DatabaseCheck
from gateway.cluster.metrics import ClusterCollector
from gateway.cluster.opening import open_dispatch
from gateway.cluster.ports import Dispatch
from gateway.cluster.processes import LivingProcesses, ProcessKind, open_processes
from gateway.cluster.shared import Shared, open_shared
from gateway.observability.activity_log import open_activity_log
from gateway.observability.egress_metrics import EgressCollector
from gateway.observability.metrics import Metrics, MetricsAccess
from gateway.observability.redaction import SecretList
from gateway.observability.shared_metrics import SharedCollector
from gateway.outcomes.opening import OutcomeServices, open_outcomes
from gateway.reputation import open_reputation_store
from gateway.sandbox import Sandbox
from gateway.sandbox.keys import TestKeys
from gateway.sandbox.sql_batches import SqlBatches
from gateway.service import Service, WaitForTask, wait_at_most
from gateway.settings import Settings, configured_dialects
from gateway.settings.egress import probe_config
from gateway.settings.section import SettingPath
from gateway.status.overview import Overview
from gateway.status.sources import SourceControl
from gateway.store import BUSY_TIMEOUT_S, Store, StoreError, open_store
from gateway.upstreams.metrics import UpstreamCollector
from gateway.upstreams.opening import PolicyServices, open_policy
from gateway.upstreams.report import report_sources
from gateway.upstreams.shadow.metrics import ShadowCollector
from gateway.upstreams.shadow.opening import open_shadow
from gateway.upstreams.shadow.traffic import ShadowTraffic
from gateway.upstreams.source.sharing import UpstreamSharing
from gateway.verdicts.open_questions import OpenQuestions
from gateway.verdicts.opening import open_verdict_cache
from gateway.verdicts.verifier import BulkVerifier, OneByOne, Verifier
from gateway.web.browsers import BrowserGuard
from gateway.web.client_blocks import ClientBlocks
from gateway.web.console.services import ConsoleServices
from gateway.web.native import NativeApi
from gateway.web.routing import VendorRoutes
from gateway.web.vendors import VendorApp

if TYPE_CHECKING:
    from gateway.batches.http_fetch import HttpFetch
    from gateway.batches.http_post import HttpWebhookPost


log = logging.getLogger(__name__)

FORGET_EVERY_S = 600
"""Between two deletions of free repeats, and of test keys' batches, that are over."""
WAIT_FOR_MIGRATION_S = 60.0
"""How long a start waits until another process has migrated the database."""


@dataclass(slots=True)
class Services:
    """The parts of a running server."""

    settings: Settings
    store: Store
    accounts: Accounts
    service: Service
    routes: VendorRoutes
    vendor_app: VendorApp
    native: NativeApi
    metrics: Metrics
    sandbox: Sandbox
    browser_guard: BrowserGuard
    batch_services: BatchServices
    processes: LivingProcesses
    outcomes: OutcomeServices | None
    shadow: ShadowTraffic | None
    console: ConsoleServices | None
    shared: Shared
    dispatch: Dispatch
    database_check: DatabaseCheck
    stopping: bool = False
    """Set when the server begins to stop: `/readyz` fails from then on."""

    @property
    def metrics_access(self) -> MetricsAccess:
        settings = self.settings.metrics
        token = settings.token.value if settings.token.reference else None
        return MetricsAccess(settings.enabled, token)

    @property
    def degraded(self) -> tuple[str, ...]:
        """What is away that can be done without."""
        return ("shared",) if self.shared.is_degraded else ()

    async def not_ready_reason(self) -> str | None:
        """None if requests can be served."""
        if self.stopping:
            return "stopping"
        if not await self.database_check.answers():
            return "the database does not answer"
        if self.store.last_write_failed:
            try:
                await self.store.check_writable()
            except StoreError:
                return "the database cannot be written"
        return None

    async def is_stuck(self) -> bool:
        """Whether the job engine waits for a database that answers others: only a new process
        helps. One that is away restarts nobody."""
        return self.dispatch.is_stuck and await self.database_check.answers()


@contextlib.asynccontextmanager
async def open_services(
    settings: Settings,
    *,
    verifier: Verifier | None = None,
    clock: Callable[[], float] = time.time,
    wait: WaitForTask = wait_at_most,
    run_workers: bool = True,
    run_sweeper: bool = True,
    is_alone: bool = True,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    dialects: Sequence[Dialect] = DIALECTS,
    secrets: SecretList | None = None,
    kind: ProcessKind = ProcessKind.SERVE,
    origins: Mapping[SettingPath, str] | None = None,
) -> AsyncIterator[Services]:
    """Open storage, engine and caches, and close them in reverse.

    `dialects` are those that are spoken and can be upstreams, before the settings' options are
    applied. `verifier` stands in for the probe engine; `clock` is Unix time in seconds, by default
    that of this machine, or of a PostgreSQL server. Without
    `run_workers` batches are verified only by `batch_services.drain`; without `run_sweeper` another
    process deletes what is due. `is_alone` says that no other process serves the same port.
    `busy_timeout_s` is as in `open_store`. What is secret in the settings is added to `secrets`.
    `kind` is what other processes see of this one; `origins` says where settings come from. Raises
    StoreError, AccountsError.
    """
    dialects = configured_dialects(settings, dialects)
    load_lists()  # before there are clients who would wait for it
    if clock is time.time and settings.storage.url.startswith("postgresql"):
        clock = DatabaseClock()
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        if secrets is not None and settings.storage.password.value:
            secrets.add(settings.storage.password.value)
        store = await enter(
            open_store(
                settings.storage.full_url,
                busy_timeout_s=busy_timeout_s,
                migrate_rule=settings.storage.migrate,
                wait_for_migration_s=WAIT_FOR_MIGRATION_S,
                pool_size=settings.storage.pool,
            )
        )
        names = [egress.name for egress in probe_config(settings).effective_egresses]
        processes = await enter(open_processes(store, kind, names, clock=clock))
        shared = await enter(open_shared(settings.shared, store, processes, clock=clock))
        if isinstance(clock, DatabaseClock):
            await enter(clock.following(store))
        test_keys = TestKeys(dialects)
        well_known = test_keys.callers if settings.sandbox.published else {}
        accounts = await enter(
            open_accounts(
                store,
                dialects,
                plan=settings.limits.plan,
                well_known=well_known,
                clock=clock,
                limiter=shared.limiter,
            )
        )
        await _add_declared_keys(accounts, settings)
        if verifier is None:
            verifier = await enter(open_engine(settings, shared))
        egresses = _egresses_of(verifier)
        reputation_store = await enter(
            open_reputation_store(store, egresses.reputations, clock=clock)
        )
        metrics = Metrics()
        metrics.register_collector(EgressCollector(egresses))
        metrics.register_collector(SharedCollector(shared, processes))
        await enter(metrics.writing_access_log())
        activity = await enter(open_activity_log(store, metrics.activity, clock=clock))
        sharing = _upstream_sharing(shared)
        upstreams = await enter(
            _open_upstreams(settings, dialects, store, verifier, metrics, clock, secrets, sharing)
        )
        events_fetch = await enter(contextlib.aclosing(LazyFetch(_open_events_fetch)))
        outcomes = await enter(open_outcomes(settings.outcomes, store, events_fetch, clock=clock))
        metrics.register_collector(outcomes.figures)
        shadow = await enter(
            open_shadow(
                settings,
                dialects,
                upstreams,
                verifier,
                outcomes.record_shadow,
                monotonic=time.monotonic,
                clock=clock,
                rng=random.SystemRandom(),
                secrets=secrets,
                sharing=sharing,
            )
        )
        metrics.register_collector(ShadowCollector(shadow))

        def on_verified(verification: Verification, partition: str) -> None:
            outcomes.record_answer(verification)
            shadow.observe(verification, partition)

        verdicts = await enter(
            open_verdict_cache(
                settings.cache,
                store,
                clock=clock,
                flights=shared.flights,
                is_alone=lambda: not store.is_on_server and processes.total == 1,
                on_verified=on_verified,
            )
        )
        # a process that is alone keeps the batches of test keys in memory
        batch_table = None
        if store.is_on_server or not is_alone:
            batch_table = SqlBatches(store, test_keys.dialect, clock)
        sandbox = Sandbox(
            settings.sandbox.seed,
            test_keys,
            clock=clock,
            url=settings.server.url(),
            live_control=settings.sandbox.live_control,
            is_alone=is_alone,
            has_other_servers=lambda: processes.count(ProcessKind.SERVE) > 1,
            batch_table=batch_table,
        )
        by_name = {dialect.name: dialect for dialect in dialects}
        dispatch = open_dispatch(settings, names, clock=clock)
        # nobody else would work on the batches of a file
        works_in_server = settings.work.in_server or dispatch.is_alone
        post_webhook = await enter(
            contextlib.aclosing(LazyWebhookPost(lambda: _open_webhook_post(settings)))
        )
        use = await enter(open_daily_use(store, clock=clock))
        filters = SqlFilters(store, clock=clock, monotonic=time.monotonic)
        fetch = await enter(contextlib.aclosing(LazyFetch(lambda: _open_fetch(settings))))
        open_questions = OpenQuestions(store, clock)
        dispatch.every("open_questions", FORGET_EVERY_S, open_questions.delete_expired)
        if batch_table is not None:
            dispatch.every("sandbox_batches", FORGET_EVERY_S, batch_table.delete_old)
        batches = await enter(
            open_batches(
                BatchDependencies(
                    store=store,
                    billing=accounts,
                    dialects=dialects,
                    verdicts=verdicts,
                    choose_verifier=upstreams.bulk.choose_verifier,
                    chunk_size=upstreams.bulk.chunk_size,
                    retries_s=settings.engine.greylist_retries_s,
                    base_url=lambda: sandbox.link_url,
                    post_webhook=post_webhook,
                    fetch=fetch,
                    on_results=metrics.activity.count_batch_results,
                    find_filters=lambda claim: filters_of_claim(filters, by_name, claim),
                    find_sample=lambda name, address, checks: sandbox.live_sample(
                        by_name[name], address, checks
                    ),
                    clock=clock,
                    dispatch=dispatch,
                    egresses=None if dispatch.is_alone else names,
                    has_siblings=not is_alone and dispatch.is_alone,
                ),
                run_workers=run_workers and (kind is ProcessKind.WORKER or works_in_server),
                run_sweeper=run_sweeper or not dispatch.is_alone,
            )
        )
        database_check = await enter(contextlib.aclosing(DatabaseCheck(store)))
        cluster_metrics = ClusterCollector(
            store,
            dispatch,
            lambda: read_backlog(store, clock()),
            lambda: clock.offset_s if isinstance(clock, DatabaseClock) else 0.0,
        )
        metrics.register_collector(cluster_metrics, cluster_metrics.refresh)
        batch_metrics = BatchCollector(store)
        metrics.register_collector(batch_metrics, batch_metrics.refresh)
        service = Service(
            accounts,
            verdicts,
            upstreams.policy,
            sandbox,
            batches.operations,
            clock=clock,
            on_cache_lookup=metrics.count_cache_lookup,
            wait=wait,
            state=AccountState(use, filters),
            free_repeats=None if is_alone and dispatch.is_alone else open_questions,
        )
        routes = VendorRoutes(dialects)
        guard = BrowserGuard(lambda: sandbox.url, settings.server.allowed_hosts)
        blocks = ClientBlocks(
            clock=clock, store=BlockedClients(store, clock), limiter=shared.guess_limiter
        )
        services = Services(
            settings=settings,
            store=store,
            accounts=accounts,
            service=service,
            routes=routes,
            vendor_app=VendorApp(
                routes,
                accounts,
                service,
                blocks,
                metrics,
                sandbox,
                neutralise_formulas=settings.server.neutralise_formulas,
                links_by_proxy=settings.server.links_by_proxy,
                request_places=shared.request_places(),
            ),
            native=NativeApi(
                dialects,
                accounts,
                service,
                egresses,
                reputation_store,
                partial(report_sources, upstreams),
            ),
            metrics=metrics,
            sandbox=sandbox,
            browser_guard=guard,
            batch_services=batches,
            processes=processes,
            outcomes=outcomes,
            shadow=shadow,
            shared=shared,
            dispatch=dispatch,
            database_check=database_check,
            console=None,
        )
        if settings.console.enabled:
            services.console = ConsoleServices(
                access=console_access(settings, store, clock),
                guard=guard,
                dialects=dialects,
                sandbox=sandbox,
                service=service,
                settings=settings,
                accounts=accounts,
                batches=batches.oversight,
                directory=AccountDirectory(store, clock),
                outcomes=outcomes,
                origins=origins or {},
                overview=Overview(
                    settings=settings,
                    store=store,
                    log=activity,
                    sources=SourceControl(settings, upstreams),
                    egresses=egresses,
                    reputation=reputation_store,
                    not_ready_reason=services.not_ready_reason,
                    clock=clock,
                ),
            )
        yield services


async def filters_of_claim(
    filters: FilterStore, dialects: Mapping[str, Dialect], claim: Claim
) -> Filters:
    """The filters of the owner of a chunk."""
    if not dialects[claim.dialect].has_filters:
        return NO_FILTERS
    return await filters.find(claim.account_id, claim.dialect)


async def _add_declared_keys(accounts: Accounts, settings: Settings) -> None:
    """Add the keys of `[[keys]]` that the database does not have."""
    own = [OwnKey(key.dialect, key.key.value, key.label or None, key.test) for key in settings.keys]
    added, revoked = await accounts.ensure_keys(own)
    for key in added:
        extra = {"dialect": key.dialect, "key": key.label or key.hint, "test": key.test}
        log.info("key.added", extra=extra)
    for hint in revoked:
        log.warning("key.stays_revoked", extra={"key": hint})


@contextlib.asynccontextmanager
async def _open_upstreams(
    settings: Settings,
    dialects: Sequence[Dialect],
    store: Store,
    verifier: Verifier,
    metrics: Metrics,
    clock: Callable[[], float],
    secrets: SecretList | None,
    sharing: UpstreamSharing,
) -> AsyncIterator[PolicyServices]:
    """The sources that `[routing]` and `[[upstreams]]` name, counted in `metrics`."""
    async with open_policy(
        settings,
        dialects,
        store,
        verifier,
        _bulk_verifier(verifier),
        clock=clock,
        monotonic=time.monotonic,
        rng=random.SystemRandom(),
        on_attempt=metrics.count_attempt,
        secrets=secrets,
        sharing=sharing,
    ) as upstreams:
        metrics.register_collector(UpstreamCollector(upstreams))
        yield upstreams


def _upstream_sharing(shared: Shared) -> UpstreamSharing:
    return UpstreamSharing(
        shared.upstream_places(),
        shared.upstream_paces(),
        shared.notes,
        shared.parts,
        shared.process,
    )


@contextlib.asynccontextmanager
async def open_engine(
    settings: Settings, shared: SharedState | None = None
) -> AsyncIterator[ProbeEngine]:
    """The probe engine, with the settings of `[engine]` and `[[egress]]`."""
    engine = ProbeEngine.open(probe_config(settings), shared=shared or UNSHARED)
    try:
        yield engine
    finally:
        await engine.aclose()


def _egresses_of(verifier: Verifier) -> EgressSet:
    """The engine's; any other verifier has none."""
    if isinstance(verifier, ProbeEngine):
        return verifier.egresses
    return EgressSet((), EgressStrategy.WEIGHTED, time.monotonic)


def _bulk_verifier(verifier: Verifier) -> BulkVerifier:
    """The engine verifies many together, any other verifier one after the other."""
    return verifier if isinstance(verifier, ProbeEngine) else OneByOne(verifier)


def _open_webhook_post(settings: Settings) -> HttpWebhookPost:
    from gateway.batches.http_post import HttpWebhookPost
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    private = settings.engine.allow_private_networks
    return HttpWebhookPost(
        HttpTransport(keep_alive_s=0),  # one webhook seldom follows another
        may_dial=lambda address: private or is_global(address),
        refusal="the receiver's address is private",
    )


def _open_events_fetch() -> HttpFetch:
    """Fetches what Amazon SNS has, which is never in a private network nor elsewhere."""
    from gateway.batches.http_fetch import HttpFetch
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    return HttpFetch(
        HttpTransport(keep_alive_s=0),
        may_dial=is_global,
        refusal="The server has a private address.",
        timeout_s=10.0,
        max_redirects=0,
        what="file at SNS",
    )


def _open_fetch(settings: Settings) -> HttpFetch:
    from gateway.batches.http_fetch import HttpFetch
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    private = settings.engine.allow_private_networks
    return HttpFetch(
        HttpTransport(keep_alive_s=0),
        may_dial=lambda address: private or is_global(address),
        refusal="The list's server has a private address.",
    )
