"""Opens the policy that the settings describe: sources with their connections, routes, budgets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from adapters.contract.dialect import Dialect
from gateway.observability.redaction import SecretList
from gateway.outcomes.answers import open_answers
from gateway.outcomes.records import OutcomeRecords
from gateway.settings import (
    LOCAL_SOURCE,
    RoutingSettings,
    Settings,
    Strategy,
    UpstreamSettings,
    environment_proxies,
    secrets_in,
    url_secrets,
)
from gateway.store import Store
from gateway.upstreams.batches.bulk import BulkPolicy
from gateway.upstreams.batches.records import VendorJobRecords
from gateway.upstreams.batches.vendor_jobs import VendorJobRunner
from gateway.upstreams.routing.budgets import Budgets, SpendingCap, to_micros
from gateway.upstreams.routing.changes import Changes
from gateway.upstreams.routing.evidence import EvidenceReader
from gateway.upstreams.routing.measured import MeasuredOrder, MistakePrices
from gateway.upstreams.routing.policy import Policy
from gateway.upstreams.routing.query import OnAttempt
from gateway.upstreams.routing.routes import SourceRoute
from gateway.upstreams.source.balances import watch_balances
from gateway.upstreams.source.circuit import CircuitBreaker, CircuitRules
from gateway.upstreams.source.key_files import key_files
from gateway.upstreams.source.keys import KeyRing
from gateway.upstreams.source.local import LocalSource
from gateway.upstreams.source.pauses import Pauses
from gateway.upstreams.source.recorder import FixtureRecorder
from gateway.upstreams.source.sharing import ALONE, CircuitNotes, UpstreamSharing
from gateway.upstreams.source.source import Source
from gateway.upstreams.source.states import SourceStates
from gateway.upstreams.source.throttle import Throttle
from gateway.upstreams.source.upstream import UpstreamRules, UpstreamSource
from gateway.upstreams.transport.client import UpstreamClient, UpstreamLocation
from gateway.verdicts.verifier import BulkVerifier, Verifier


@dataclass(frozen=True, slots=True)
class PolicyServices:
    """A policy and its parts."""

    policy: Policy
    bulk: BulkPolicy
    upstreams: tuple[UpstreamSource, ...]
    budgets: Budgets
    pauses: Pauses
    """By operators."""


@contextlib.asynccontextmanager
async def open_policy(
    settings: Settings,
    dialects: Sequence[Dialect],
    store: Store,
    verifier: Verifier,
    bulk_verifier: BulkVerifier,
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    rng: random.Random,
    on_attempt: OnAttempt = lambda _: None,
    secrets: SecretList | None = None,
    sharing: UpstreamSharing = ALONE,
) -> AsyncIterator[PolicyServices]:
    """The policy, with its periodic work running while inside.

    `verifier` and `bulk_verifier` are the local engine; `clock` is Unix time, `monotonic` a steady
    clock, in seconds. `sharing` is what upstreams share with other processes.
    """
    changes = Changes()
    pauses = Pauses(store, clock=clock, on_resume=changes.notify)
    await pauses.read()
    async with contextlib.AsyncExitStack() as stack:
        upstreams = await stack.enter_async_context(
            open_upstreams(
                settings,
                dialects,
                clock=clock,
                monotonic=monotonic,
                rng=rng,
                secrets=secrets,
                on_return=changes.notify,
                sharing=sharing,
                pause_of=pauses.fault_of,
            )
        )
        budgets = Budgets(store, clock=clock)
        stack.push_async_callback(budgets.write, everything=True)
        evidence = await stack.enter_async_context(_open_evidence(settings, store))
        used = {*settings.sources, *(s for r in settings.routes for s in settings.sources_of(r))}
        policy = Policy(
            _source_route(settings, settings.routing, "", upstreams, verifier, pauses, evidence),
            {
                key: _source_route(
                    settings, route, route.name, upstreams, verifier, pauses, evidence
                )
                for route in settings.routes
                for key in route.keys
            },
            budgets,
            clock=clock,
            monotonic=monotonic,
            rng=rng,
            caps=spending_caps(settings),
            lookup=verifier,
            on_attempt=on_attempt,
            shares_cache=settings.cache.shared,
            changes=changes,
        )
        stack.push_async_callback(policy.aclose)
        every_s = {u.name: u.balance_every_s for u in settings.upstreams}
        periodic = [pauses.read_periodically()]
        periodic += [budgets.write_periodically()] if settings.upstreams else []
        periodic += [
            watch_balances(u, every_s[u.name], sharing)
            for u in upstreams
            if u.name in used and every_s[u.name]
        ]
        if upstreams:
            periodic.append(CircuitNotes(upstreams, sharing, clock).run())
            states = SourceStates(store, upstreams, clock=clock, monotonic=monotonic)
            await states.look()
            periodic.append(states.run())
        periodic += [u.key_files.watch() for u in upstreams if u.key_files is not None]
        tasks = [asyncio.create_task(work) for work in periodic]
        stack.push_async_callback(_cancel_all, tasks)
        records = VendorJobRecords(store, clock=clock)
        vendor_jobs = VendorJobRunner(records, budgets, clock=clock, monotonic=monotonic, rng=rng)
        bulk = BulkPolicy(policy, bulk_verifier, vendor_jobs, clock=clock, rng=rng)
        yield PolicyServices(policy, bulk, upstreams, budgets, pauses)


@contextlib.asynccontextmanager
async def open_upstreams(
    settings: Settings,
    dialects: Sequence[Dialect],
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    rng: random.Random,
    secrets: SecretList | None = None,
    on_return: Callable[[], None] = lambda: None,
    sharing: UpstreamSharing = ALONE,
    pause_of: Callable[[str], str] = lambda _: "",
) -> AsyncIterator[tuple[UpstreamSource, ...]]:
    """The upstreams of the settings, each with connections of its own.

    The secrets of the settings, and later those in key files, are added to `secrets`. `on_return`
    is called when an upstream is back in rotation; `pause_of` is as `Pauses.fault_of`.
    """
    if not settings.upstreams:
        yield ()
        return
    secrets = secrets or SecretList()
    secrets.add(*secrets_in(settings))
    by_name = {dialect.name: dialect for dialect in dialects}
    rules = CircuitRules(**settings.circuit.model_dump())
    open_transport = _transports(settings, secrets)
    async with contextlib.AsyncExitStack() as stack:
        sources: list[UpstreamSource] = []
        for upstream in settings.upstreams:
            client = UpstreamClient(open_transport(upstream), clock=clock, secrets=secrets)
            stack.push_async_callback(client.aclose)
            dialect = by_name[upstream.dialect]
            api_keys = (upstream.api_key, *upstream.spare_api_keys)
            keys = KeyRing(
                [key.value for key in api_keys], clock=monotonic, max_pause_s=rules.max_pause_s
            )
            circuit = CircuitBreaker(rules, clock=monotonic, rng=rng, on_return=on_return)
            location = UpstreamLocation(dialect, upstream.base_url)
            recorder = None
            if upstream.record:
                recorder = FixtureRecorder(Path(upstream.record_to), location, secrets)
                stack.push_async_callback(recorder.aclose)
            sources.append(
                UpstreamSource(
                    _upstream_rules(upstream, dialect),
                    location,
                    client,
                    keys=keys,
                    circuit=circuit,
                    throttle=Throttle(
                        upstream.connections,
                        upstream.rate_per_s,
                        clock=monotonic,
                        name=f"{upstream.base_url} {upstream.api_key.value}",
                        places=sharing.places,
                        paces=sharing.paces,
                    ),
                    clock=monotonic,
                    rng=rng,
                    key_files=key_files(upstream.name, api_keys, keys, circuit, secrets),
                    recorder=recorder,
                    on_return=on_return,
                    pause_of=pause_of,
                )
            )
        yield tuple(sources)


def _transports(
    settings: Settings, secrets: SecretList
) -> Callable[[UpstreamSettings], httpx.AsyncBaseTransport]:
    """Makes the transport of an upstream, whose own proxy takes precedence."""
    # Imported here, since it takes 0.2 s, which a server without upstreams can do without.
    from gateway.upstreams.transport.aiohttp_transport import HttpTransport

    environment = environment_proxies(os.environ)
    for proxy in environment.by_scheme.values():
        secrets.add(*url_secrets(proxy))

    def open_transport(upstream: UpstreamSettings) -> httpx.AsyncBaseTransport:
        proxy = upstream.proxy or settings.transport.proxy
        if proxy:
            return HttpTransport(proxy_for=lambda _: proxy)
        return HttpTransport(proxy_for=lambda url: environment.for_url(url.scheme, url.host))

    return open_transport


async def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _upstream_rules(upstream: UpstreamSettings, dialect: Dialect) -> UpstreamRules:
    vendor_jobs = dialect.vendor_jobs if upstream.bulk else None
    return UpstreamRules(
        name=upstream.name,
        price=to_micros(upstream.price),
        weight=upstream.weight,
        timeout_s=upstream.timeout_s,
        min_timeout_s=upstream.min_timeout_s,
        final=frozenset(upstream.final),
        min_job_size=(upstream.bulk_from or vendor_jobs.min_addresses) if vendor_jobs else None,
        max_job_size=min(upstream.bulk_size, vendor_jobs.max_addresses) if vendor_jobs else 0,
        job_deadline_s=upstream.bulk_deadline_s,
    )


def _source_route(
    settings: Settings,
    routing: RoutingSettings,
    name: str,
    upstreams: Sequence[UpstreamSource],
    verifier: Verifier,
    pauses: Pauses,
    evidence: EvidenceReader | None,
) -> SourceRoute:
    by_name: dict[str, Source] = {source.name: source for source in upstreams}
    order = settings.sources_of(routing)
    by_name[LOCAL_SOURCE] = LocalSource(
        verifier,
        timeout_s=settings.engine.deadline_s,
        final=frozenset(routing.local_final),
        is_only_source=len(order) == 1,
        pause_of=pauses.fault_of,
    )
    return SourceRoute(
        name=name,
        strategy=routing.strategy,
        sources=tuple(by_name[source] for source in order),
        deadline_s=routing.deadline_s,
        as_unknown=routing.on_failure == "unknown",
        complete=routing.complete,
        quorum_ask=routing.quorum_ask,
        quorum_agree=routing.quorum_agree,
        hedge=routing.hedge,
        hedge_percentile=routing.hedge_percentile,
        key_cap=_spending_cap(routing.daily_budget, routing.monthly_budget),
        measured=_measured_order(routing, evidence),
    )


def _measured_order(
    routing: RoutingSettings, evidence: EvidenceReader | None
) -> MeasuredOrder | None:
    if routing.strategy is not Strategy.MEASURED or evidence is None:
        return None
    prices = MistakePrices(
        routing.wrong_deliverable_price, routing.wrong_undeliverable_price, routing.unknown_price
    )
    return MeasuredOrder(
        lambda: evidence.current,
        prices,
        share=routing.measured_share,
        seed=routing.measured_seed,
    )


@contextlib.asynccontextmanager
async def _open_evidence(settings: Settings, store: Store) -> AsyncIterator[EvidenceReader | None]:
    """What is known of the sources, read periodically while inside; None if no route wants it."""
    if all(each.strategy is not Strategy.MEASURED for each in (settings.routing, *settings.routes)):
        yield None
        return
    evidence = EvidenceReader(OutcomeRecords(store, await open_answers(store)))
    async with evidence.running():
        yield evidence


def spending_caps(settings: Settings) -> dict[str, SpendingCap]:
    """What may be spent at each upstream, by its name."""
    return {u.name: _spending_cap(u.daily_budget, u.monthly_budget) for u in settings.upstreams}


def _spending_cap(daily: float, monthly: float) -> SpendingCap:
    return SpendingCap(to_micros(daily), to_micros(monthly))
