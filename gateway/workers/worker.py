"""A worker's end of its channel to the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from gateway.tasks import in_background
from gateway.workers.channel import Channel
from gateway.workers.place import WorkerPlace
from gateway.workers.totals import Families

REPORT_EVERY_S = 5.0
"""What a process that is killed has counted since its last report is lost to the sums."""
SUM_TIMEOUT_S = 3.0


class NoSum(Exception):
    """The supervisor did not answer in time."""


@dataclass(slots=True)
class Worker:
    """One of the processes that serve a port.

    `report` returns the metrics of this process.
    """

    channel: Channel
    report: Callable[[], Awaitable[Families]]
    retired: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a newer process has taken this one's place: it is to finish what it does."""
    on_work: Callable[[], None] = lambda: None
    """Called when another worker has taken a batch."""
    _sums: dict[int, asyncio.Future[Families]] = field(default_factory=dict)
    _asked: int = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def joined(
        cls, place: WorkerPlace, report: Callable[[], Awaitable[Families]]
    ) -> AsyncIterator[Self]:
        """Report while inside, and once more at the end."""
        worker = cls(await Channel.open(socket.socket(fileno=place.channel_fd)), report)
        try:
            async with in_background(worker._listen()), in_background(worker._report_often()):
                yield worker
            worker.channel.send("report", await report())
        finally:
            await worker.channel.aclose()

    def ready(self, first_steps: list[tuple[str, str]], fields: dict[str, str]) -> None:
        """This process accepts connections. The arguments are as in `gateway.cli.announce`."""
        self.channel.send("ready", {"steps": first_steps, "fields": fields})

    def tell_of_work(self) -> None:
        """Let the other workers look for chunks of batches now."""
        self.channel.send("work")

    async def sum(self) -> Families:
        """The metrics of all workers together. Raises NoSum."""
        self._asked += 1
        asked = self._asked
        future: asyncio.Future[Families] = asyncio.get_running_loop().create_future()
        self._sums[asked] = future
        self.channel.send("sum", [asked, await self.report()])
        try:
            async with asyncio.timeout(SUM_TIMEOUT_S):
                return await future
        except TimeoutError as exc:
            raise NoSum from exc
        finally:
            del self._sums[asked]

    async def _listen(self) -> None:
        async for name, value in self.channel.messages():
            await self._on_message(name, value)
        # The supervisor is gone. Nobody waits until load balancers have seen that we stop.
        os.kill(os.getpid(), signal.SIGINT)

    async def _on_message(self, name: str, value: Any) -> None:
        if name == "retire":
            self.retired.set()
        elif name == "work":
            self.on_work()
        elif name == "report":
            self.channel.send("report", await self.report())
        elif name == "sum":
            asked, families = value
            waiting = self._sums.get(asked)
            if waiting is not None and not waiting.done():
                waiting.set_result(families)

    async def _report_often(self) -> None:
        while True:
            self.channel.send("report", await self.report())
            await asyncio.sleep(REPORT_EVERY_S)
