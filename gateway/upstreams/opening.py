"""The policy as the settings want it: sources with their connections, routes, budgets."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.contract.dialect import Dialect
from gateway.settings import LOCAL_SOURCE, Routing, Settings, Upstream
from gateway.store import Store
from gateway.upstreams.batches.bulk import BulkPolicy
from gateway.upstreams.batches.records import ListRecords
from gateway.upstreams.batches.vendor_jobs import VendorLists
from gateway.upstreams.routing.budgets import Budgets, Cap, micros
from gateway.upstreams.routing.policy import Note, Policy, Route
from gateway.upstreams.source.balances import watch
from gateway.upstreams.source.circuit import Circuit, CircuitRules
from gateway.upstreams.source.key_files import key_files
from gateway.upstreams.source.keys import KeyRing
from gateway.upstreams.source.recorder import Recording
from gateway.upstreams.source.source import LocalSource, Source, UpstreamRules, UpstreamSource
from gateway.upstreams.source.throttle import Throttle
from gateway.upstreams.transport.sender import Place, Sender, tls_context
from gateway.verdicts.verifier import BulkVerifier, Verifier


@dataclass(frozen=True, slots=True)
class Opened:
    """A policy and what it is made of."""

    policy: Policy
    bulk: BulkPolicy
    upstreams: tuple[UpstreamSource, ...]
    budgets: Budgets


@contextlib.asynccontextmanager
async def open_policy(
    settings: Settings,
    dialects: Sequence[Dialect],
    store: Store,
    verifier: Verifier,
    engine: BulkVerifier,
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    rng: random.Random,
    note: Note = lambda _: None,
) -> AsyncIterator[Opened]:
    """Everything opened, watched while inside, and closed again.

    `verifier` is the local engine, `engine` what it does with many addresses; `clock` is Unix
    time in seconds.
    """
    async with contextlib.AsyncExitStack() as stack:
        upstreams = await stack.enter_async_context(
            open_upstreams(settings, dialects, clock=clock, monotonic=monotonic, rng=rng)
        )
        budgets = Budgets(store, clock=clock)
        stack.push_async_callback(budgets.write, everything=True)
        used = {*settings.sources, *(s for r in settings.routes for s in settings.sources_of(r))}
        policy = Policy(
            _route(settings, settings.routing, "", upstreams, verifier),
            {
                key: _route(settings, route, route.name, upstreams, verifier)
                for route in settings.routes
                for key in route.keys
            },
            budgets,
            clock=monotonic,
            rng=rng,
            caps={u.name: _cap(u.daily_budget, u.monthly_budget) for u in settings.upstreams},
            lookup=verifier,
            note=note,
        )
        stack.push_async_callback(policy.aclose)
        every_s = {u.name: u.balance_every_s for u in settings.upstreams}
        chores = [budgets.tidying()] if settings.upstreams else []
        chores += [
            watch(u, every_s[u.name]) for u in upstreams if u.name in used and every_s[u.name]
        ]
        chores += [u.key_files.watching() for u in upstreams if u.key_files is not None]
        tasks = [asyncio.create_task(chore) for chore in chores]
        stack.push_async_callback(_end, tasks)
        records = ListRecords(store, clock=clock)
        lists = VendorLists(records, budgets, clock=clock, monotonic=monotonic, rng=rng)
        bulk = BulkPolicy(policy, engine, lists, clock=clock, rng=rng)
        yield Opened(policy, bulk, upstreams, budgets)


@contextlib.asynccontextmanager
async def open_upstreams(
    settings: Settings,
    dialects: Sequence[Dialect],
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    rng: random.Random,
) -> AsyncIterator[tuple[UpstreamSource, ...]]:
    """The upstreams of the settings, with connections of their own each."""
    if not settings.upstreams:
        yield ()
        return
    by_name = {dialect.name: dialect for dialect in dialects}
    rules = CircuitRules(**settings.circuit.model_dump())
    secure = any(told.base_url.startswith("https:") for told in settings.upstreams)
    tls = tls_context() if secure else None
    async with contextlib.AsyncExitStack() as stack:
        sources: list[UpstreamSource] = []
        for told in settings.upstreams:
            sender = Sender.open(connections=told.connections, clock=clock, tls=tls)
            stack.push_async_callback(sender.aclose)
            dialect = by_name[told.dialect]
            secrets = (told.api_key, *told.spare_api_keys)
            keys = KeyRing([secret.value for secret in secrets], clock=monotonic)
            circuit = Circuit(rules, clock=monotonic, rng=rng)
            record = (
                Recording(Path(told.record_to), dialect, told.base_url) if told.record else None
            )
            sources.append(
                UpstreamSource(
                    _rules(told, dialect),
                    Place(dialect, told.base_url),
                    sender,
                    keys=keys,
                    circuit=circuit,
                    throttle=Throttle(told.connections, told.rate_per_s, clock=monotonic),
                    clock=monotonic,
                    rng=rng,
                    key_files=key_files(told.name, secrets, keys, circuit),
                    record=record,
                )
            )
        yield tuple(sources)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _rules(told: Upstream, dialect: Dialect) -> UpstreamRules:
    lists = dialect.upstream_list if told.bulk else None
    return UpstreamRules(
        name=told.name,
        price=micros(told.price),
        weight=told.weight,
        timeout_s=told.timeout_s,
        final=frozenset(told.final),
        list_from=(told.bulk_from or lists.least) if lists else None,
        list_size=min(told.bulk_size, lists.most) if lists else 0,
        list_deadline_s=told.bulk_deadline_s,
    )


def _route(
    settings: Settings,
    routing: Routing,
    name: str,
    upstreams: Sequence[UpstreamSource],
    verifier: Verifier,
) -> Route:
    by_name: dict[str, Source] = {source.name: source for source in upstreams}
    order = settings.sources_of(routing)
    by_name[LOCAL_SOURCE] = LocalSource(
        verifier,
        timeout_s=settings.engine.deadline_s,
        final=frozenset(routing.local_final),
        alone=len(order) == 1,
    )
    return Route(
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
        key_cap=_cap(routing.daily_budget, routing.monthly_budget),
    )


def _cap(daily: float, monthly: float) -> Cap:
    return Cap(micros(daily), micros(monthly))
