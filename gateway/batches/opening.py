"""Putting the parts of batches together."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from adapters.contract.dialect import Dialect
from gateway.accounts.caller import Caller
from gateway.batches.holder import holder, is_dead
from gateway.batches.intake import CHUNK
from gateway.batches.jobs import Batches
from gateway.batches.outbox import SqlOutbox
from gateway.batches.ports import Choose
from gateway.batches.queue import SqlQueue
from gateway.batches.records import Purse, Records
from gateway.batches.runner import Runner
from gateway.batches.sweeper import Sweeper
from gateway.batches.webhooks import Courier, HttpPost, Post
from gateway.store import Store
from gateway.verdicts.cache import Verdicts


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that serves batches."""

    batches: Batches
    runner: Runner
    courier: Courier
    sweeper: Sweeper

    async def drain(self) -> None:
        """Do all that is due, and come back when nothing is: for who runs no workers."""
        await self.runner.drain()
        await self.courier.drain()


@contextlib.asynccontextmanager
async def open_batches(
    store: Store,
    purse: Purse,
    dialects: Sequence[Dialect],
    choose: Choose,
    verdicts: Verdicts,
    *,
    retries_s: Sequence[float],
    allow_private_networks: bool,
    base_url: Callable[[], str],
    clock: Callable[[], float],
    work: bool = True,
    post: Post | None = None,
    piece_size: Callable[[Caller], int] = lambda _: CHUNK,
) -> AsyncIterator[Desk]:
    """Batches over an open store; with `work` they are worked on in this process.

    `post` stands in for HTTP; `choose` and `piece_size` are as in `Runner` and `Records`. Raises
    StoreError.
    """
    by_name = {dialect.name: dialect for dialect in dialects}
    async with contextlib.AsyncExitStack() as stack:
        if post is None:
            post = http = HttpPost(
                allow_private_networks=allow_private_networks,
                user_agent=f"veriplex/{version('veriplex')}",
            )
            stack.push_async_callback(http.aclose)
        records = Records(
            store,
            purse,
            by_name,
            clock=clock,
            randbelow=secrets.randbelow,
            base_url=base_url,
            piece_size=piece_size,
        )
        queue = SqlQueue(store, by_name, clock=clock)
        me = holder(secrets.token_hex(8))
        sweeper = Sweeper(store, by_name, clock=clock)
        courier = Courier(
            SqlOutbox(store, clock=clock),
            records,
            records.found,
            post,
            clock=clock,
        )
        runner = Runner(
            queue,
            choose,
            verdicts,
            holder=me,
            retries_s=retries_s,
            clock=clock,
            finished=courier.wake,
        )
        await queue.recover(lambda of: is_dead(of, me=me))
        if work:
            await stack.enter_async_context(sweeper.running())
            await stack.enter_async_context(courier.running())
            await stack.enter_async_context(runner.running())
        yield Desk(Batches(records, work=runner.wake, sweep=sweeper.wake), runner, courier, sweeper)
