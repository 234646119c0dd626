"""Batches put together: records, queue, workers."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from adapters.contract.dialect import Dialect
from adapters.contract.operations import FetchList
from engine.model import Verdict
from gateway.accounts.caller import Caller
from gateway.batches.chunk_work import FindSample
from gateway.batches.holder import is_holder_dead, lease_holder_name
from gateway.batches.intake import CHUNK_SIZE
from gateway.batches.jobs import BatchOperations
from gateway.batches.outbox import SqlOutbox
from gateway.batches.oversight import BatchOversight
from gateway.batches.ports import ChooseVerifier, FindFilters, no_filters
from gateway.batches.queue import SqlChunkQueue
from gateway.batches.records import BatchRecords, Billing
from gateway.batches.runner import Runner
from gateway.batches.sweeper import SWEEP_EVERY_S, Sweeper
from gateway.batches.webhooks import PostWebhook, WebhookSender
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import WEBHOOKS, Dispatch
from gateway.store import Store
from gateway.verdicts.cache import VerdictCache

SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class BatchServices:
    """The parts that serve batches."""

    operations: BatchOperations
    runner: Runner
    webhook_sender: WebhookSender
    sweeper: Sweeper
    oversight: BatchOversight

    async def drain(self) -> None:
        """Do everything that is due, where no workers run."""
        await self.runner.drain()
        await self.webhook_sender.drain()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDependencies:
    """What the parts are made of."""

    store: Store
    billing: Billing
    dialects: Sequence[Dialect]
    verdicts: VerdictCache
    choose_verifier: ChooseVerifier
    chunk_size: Callable[[Caller], int] = lambda _: CHUNK_SIZE
    """How many addresses of a caller make one chunk."""
    retries_s: Sequence[float]
    """The wait before each retry of an address that was refused for now."""
    base_url: Callable[[], str]
    """Where clients reach this server."""
    post_webhook: PostWebhook
    fetch: FetchList
    """Fetches the lists that clients name by a URL."""
    find_sample: FindSample = lambda *_: None
    """The answers to test addresses of vendors that have them for live keys."""
    on_results: Callable[[Iterable[Verdict]], None] = lambda _: None
    """Called with the verdicts of results that are stored."""
    find_filters: FindFilters = no_filters
    """The filters of a chunk's owner."""
    clock: Callable[[], float]
    """Unix time in seconds."""
    dispatch: Dispatch = field(default_factory=EmbeddedDispatch)
    """Whether other processes share the work."""
    egresses: Collection[str] | None = None
    """Names of this process's egresses, if other processes may have others."""
    has_siblings: bool = False
    """Whether other processes on this machine look for the same work, without turns."""


@contextlib.asynccontextmanager
async def open_batches(
    deps: BatchDependencies, *, run_workers: bool = True, run_sweeper: bool = True
) -> AsyncIterator[BatchServices]:
    """Batches over an open store, verified in this process if `run_workers`.

    Those that expired are deleted in this process if `run_sweeper` too. Raises StoreError.
    """
    store, clock = deps.store, deps.clock
    dialects = {dialect.name: dialect for dialect in deps.dialects}
    async with contextlib.AsyncExitStack() as stack:
        records = BatchRecords(
            store,
            deps.billing,
            dialects,
            clock=clock,
            randbelow=secrets.randbelow,
            base_url=deps.base_url,
            chunk_size=deps.chunk_size,
            dispatch=deps.dispatch,
        )
        queue = SqlChunkQueue(store, dialects, clock=clock, dispatch=deps.dispatch)
        holder = lease_holder_name(secrets.token_hex(8))
        sweeper = Sweeper(store, dialects, clock=clock)
        webhook_sender = WebhookSender(
            SqlOutbox(store, clock=clock, dispatch=deps.dispatch),
            records,
            deps.post_webhook,
            clock=clock,
        )
        runner = Runner(
            queue,
            deps.choose_verifier,
            deps.verdicts,
            holder=holder,
            retries_s=deps.retries_s,
            clock=clock,
            on_chunk_finished=webhook_sender.wake,
            on_results=deps.on_results,
            find_sample=deps.find_sample,
            dispatch=deps.dispatch,
            egresses=deps.egresses,
            find_filters=deps.find_filters,
            has_siblings=deps.has_siblings,
        )
        if run_sweeper:
            deps.dispatch.every(SWEEP, SWEEP_EVERY_S, sweeper.sweep_logged)
        deps.dispatch.when_told(WEBHOOKS, webhook_sender.wake)
        await queue.free_dead_leases(lambda other: is_holder_dead(other, own_name=holder))
        if run_workers:
            await stack.enter_async_context(webhook_sender.running())
            await stack.enter_async_context(deps.dispatch.running(runner))

        def on_work() -> None:
            runner.wake()
            webhook_sender.wake()

        def on_deleted() -> None:
            if run_sweeper:  # else the process that sweeps will come to it
                deps.dispatch.soon(SWEEP)

        operations = BatchOperations(
            records,
            fetch=deps.fetch,
            on_work=on_work,
            on_deleted=on_deleted,
        )
        oversight = BatchOversight(
            store, records, dialects, clock=clock, on_work=on_work, on_deleted=on_deleted
        )
        yield BatchServices(operations, runner, webhook_sender, sweeper, oversight)
