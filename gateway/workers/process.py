"""One worker process as the supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from gateway.workers.channel import Channel
from gateway.workers.place import PLACE_OPTION, WorkerPlace
from gateway.workers.totals import Families

COMMAND = Path(__file__).parents[2] / "veriplex.py"


class WorkerProcess:
    """A process that was started, until it is reaped."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.number = number
        self.process = process
        self.is_ready = False
        self.greeting: Any = None
        """What the process wants printed, once it is ready."""
        self.report: Families = []
        """The last one."""
        self.last_sign_at = asyncio.get_running_loop().time()
        """When the process last sent anything, in the event loop's time."""
        self._channel = channel
        self._changed = asyncio.Event()
        self._reports: list[asyncio.Future[None]] = []

    @classmethod
    async def start(
        cls,
        number: int,
        sock: socket.socket,
        arguments: Sequence[str],
        *,
        is_first_start: bool,
        on_sum: Callable[[WorkerProcess, int], None],
        on_work: Callable[[WorkerProcess], None],
    ) -> Self:
        """Start the command with `arguments` as a worker on `sock`. Raises OSError."""
        own, other = socket.socketpair()
        with other:
            place = WorkerPlace(number, sock.fileno(), other.fileno(), is_first_start)
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    str(COMMAND),
                    *arguments,
                    PLACE_OPTION,
                    str(place),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(sock.fileno(), other.fileno()),
                    # Ctrl-C in a terminal is for the supervisor, which passes it on once
                    process_group=0,
                )
            except BaseException:
                own.close()
                raise
        return cls(number, process, await Channel.open(own))._begin(on_sum, on_work)

    def _begin(
        self,
        on_sum: Callable[[WorkerProcess, int], None],
        on_work: Callable[[WorkerProcess], None],
    ) -> Self:
        self._watching = asyncio.create_task(self._watch(on_sum, on_work))
        return self

    async def _watch(
        self,
        on_sum: Callable[[WorkerProcess, int], None],
        on_work: Callable[[WorkerProcess], None],
    ) -> None:
        async for name, value in self._channel.messages():
            self.last_sign_at = asyncio.get_running_loop().time()
            if name == "ready":
                self.is_ready, self.greeting = True, value
                self._changed.set()
            elif name == "report":
                self._take_report(value)
            elif name == "sum":
                asked, families = value
                self._take_report(families)
                on_sum(self, asked)
            elif name == "work":
                on_work(self)
        await self.process.wait()
        self._take_report(self.report)
        self._changed.set()
        await self._channel.aclose()

    def _take_report(self, families: Families) -> None:
        self.report = families
        for waiting in self._reports:
            if not waiting.done():
                waiting.set_result(None)
        self._reports.clear()

    async def became_ready(self, timeout_s: float) -> bool:
        """Wait until it is ready; False if it ended before, or is killed for taking so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        if not self.is_ready:
            await self.kill()
        return self.is_ready

    async def ended(self) -> int:
        """Wait for its end, and return its exit code; negative is the number of a signal."""
        await asyncio.shield(self._watching)
        return self.exit_code

    @property
    def has_ended(self) -> bool:
        return self._watching.done()

    @property
    def exit_code(self) -> int:
        return self.process.returncode or 0

    async def new_report(self) -> None:
        """Wait for a report that is made after this call."""
        if self.has_ended:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._reports.append(waiting)
        self._channel.send("report")
        await waiting

    def answer_sum(self, asked: int, families: Families) -> None:
        self._channel.send("sum", [asked, families])

    def tell_of_work(self) -> None:
        self._channel.send("work")

    def retire(self) -> None:
        """Let it finish what it does, without new connections."""
        self._channel.send("retire")

    def pass_on(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def end_within(self, timeout_s: float) -> int:
        """Wait for its end, and kill it if it takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                return await self.ended()
        return await self.kill()

    async def kill(self) -> int:
        self.pass_on(signal.SIGKILL)
        return await self.ended()
