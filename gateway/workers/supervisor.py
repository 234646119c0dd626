"""The supervisor: starts the workers, restarts one that dies, replaces them one by one.

It reacts to signals as the server itself does, and passes them on: SIGTERM drains, Ctrl-C stops, a
second Ctrl-C stops at once. SIGHUP replaces the workers, each by one that has read the settings
anew; the port is served without a break.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.tasks import in_background
from gateway.workers.process import WorkerProcess
from gateway.workers.sockets import BALANCED, bind_shared
from gateway.workers.totals import Families, Totals

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""For a worker to become ready; an upgrade of the database's tables included."""
RESTART_WAITS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Before each restart in a row of a worker that dies before it lived for `STABLE_AFTER_S`."""
STABLE_AFTER_S = 60.0
REPORT_TIMEOUT_S = 1.0
"""For a worker's metrics; then those of its last report count."""
SILENT_AFTER_S = 60.0
"""A worker that has sent nothing for so long is killed; it reports every 5 s."""
LOOK_EVERY_S = 1.0
END_TIMEOUT_S = 30.0
"""For a worker to end, after its drain."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for one worker: its number and its socket, which outlive the process."""

    number: int
    sock: socket.socket
    worker: WorkerProcess | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a process is started."""
    deaths: int = 0
    """In a row."""


class Supervisor:
    """Runs one worker for each socket, all with the same command line `arguments`."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        arguments: Sequence[str],
        *,
        drain_s: float,
        on_ready: Callable[[Any], None],
        check_settings: Callable[[], str | None],
    ) -> None:
        """`on_ready` is called once, when all are ready, with what the first wants printed.

        `check_settings` returns what is wrong with the settings, before they are used anew.
        """
        self._slots = [_Slot(number, sock) for number, sock in enumerate(sockets, 1)]
        self._address = sockets[0].family, *sockets[0].getsockname()[:2]
        self._arguments = tuple(arguments)
        self._drain_s = drain_s
        self._on_ready = on_ready
        self._check_settings = check_settings
        self._ended = Totals()
        """What processes that ended had counted."""
        self._restarts = 0
        self._signals: list[signal.Signals] = []
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()
        self._processes: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until a signal ends it. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        try:
            failed = await self._start_all()
            if failed is None:
                async with contextlib.AsyncExitStack() as stack:
                    for slot in self._slots:
                        await stack.enter_async_context(in_background(self._keep(slot)))
                    await stack.enter_async_context(in_background(self._reload_on_demand()))
                    await stack.enter_async_context(in_background(self._look_for_silent()))
                    await self._stopping.wait()
        finally:
            codes = await self._end_all()
        if failed is not None and not self._signals:
            return failed
        return max((code for code in codes if code > 0), default=0)

    # -- starting ------------------------------------------------------------------------

    async def _start_all(self) -> int | None:
        """Start the first alone, since it prepares the database, then the others together.

        The exit code if one of them fails or a signal comes.
        """
        first, *others = self._slots
        failed = await self._start_together([first])
        greeting = first.worker and first.worker.greeting
        if failed is None:
            failed = await self._start_together(others)
        if failed is None:
            self._on_ready(greeting)
        return failed

    async def _start_together(self, slots: Sequence[_Slot]) -> int | None:
        """Start workers for the first time.

        The exit code if one of them fails, or if a signal comes.
        """
        starts = [asyncio.create_task(self._start_first_time(slot)) for slot in slots]
        stopped = asyncio.create_task(self._stopping.wait())
        every = asyncio.gather(*starts)
        ends: tuple[asyncio.Future[Any], ...] = (every, stopped)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._stopping.is_set():
            every.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await every
            return 0
        return next((code for code in await every if code is not None), None)

    async def _start_first_time(self, slot: _Slot) -> int | None:
        """The exit code if it fails."""
        worker = await self._start(slot, is_first_start=slot is self._slots[0])
        if worker.has_ended:
            return worker.exit_code if worker.exit_code > 0 else 1
        slot.worker = worker
        return None

    async def _start(self, slot: _Slot, *, is_first_start: bool = False) -> WorkerProcess:
        """A process that is ready, or that has ended already."""
        worker = await WorkerProcess.start(
            slot.number,
            slot.sock,
            self._arguments,
            is_first_start=is_first_start,
            on_sum=self._on_sum,
            on_work=self._on_work,
        )
        self._processes.add(worker)
        self._in_task(self._forget_when_ended(worker))
        if self._stopping.is_set():  # the signal came while it was started
            worker.pass_on(signal.SIGTERM)
        await worker.became_ready(START_TIMEOUT_S)
        return worker

    async def _forget_when_ended(self, worker: WorkerProcess) -> None:
        await worker.ended()
        self._processes.discard(worker)
        self._ended.add(worker.report, ended=True)

    def _in_task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- restarting ----------------------------------------------------------------------

    async def _keep(self, slot: _Slot) -> None:
        """Restart the worker of a slot whenever it ends."""
        while True:
            worker, began_at = slot.worker, time.monotonic()
            if worker is not None:
                await worker.ended()
            if slot.worker is not worker:
                continue  # it was replaced, and ended as it should
            if self._stopping.is_set():
                return
            if time.monotonic() - began_at >= STABLE_AFTER_S:
                slot.deaths = 0
            wait_s = RESTART_WAITS_S[min(slot.deaths, len(RESTART_WAITS_S) - 1)]
            slot.deaths += 1
            wait_s *= random.uniform(1.0, 1.2)  # noqa: S311
            extra: dict[str, Any] = {"number": slot.number, "restart_in_s": round(wait_s, 1)}
            if worker is not None:
                extra |= _how_it_ended(worker.exit_code)
            log.error("worker.died", extra=extra)
            if wait_s:
                self._release_socket(slot)
                await asyncio.sleep(wait_s)
            async with slot.lock:
                if slot.worker is worker:
                    await self._restart(slot)

    async def _restart(self, slot: _Slot) -> None:
        self._restarts += 1
        slot.worker = None
        worker = None
        try:
            self._take_socket(slot)
            worker = await self._start(slot)
        except OSError as exc:
            log.error("worker.not_started", extra={"number": slot.number, "error": str(exc)})
            return
        slot.worker = worker
        if not worker.has_ended:
            log.info("worker.restarted", extra={"number": slot.number, "pid": worker.process.pid})

    def _release_socket(self, slot: _Slot) -> None:
        """Let the other workers have the connections that would wait for this one."""
        if BALANCED:
            slot.sock.close()

    def _take_socket(self, slot: _Slot) -> None:
        if slot.sock.fileno() == -1:
            slot.sock = bind_shared(*self._address)

    async def _look_for_silent(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for worker in list(self._processes):
                silent_s = asyncio.get_running_loop().time() - worker.last_sign_at
                if worker.is_ready and silent_s > SILENT_AFTER_S:
                    log.error("worker.silent", extra={"number": worker.number})
                    worker.last_sign_at += SILENT_AFTER_S
                    worker.pass_on(signal.SIGKILL)

    # -- replacing -----------------------------------------------------------------------

    async def _reload_on_demand(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            if mistake := self._check_settings():
                log.error("workers.not_replaced", extra={"error": mistake})
                continue
            log.info("workers.replacing")
            began_at = time.monotonic()
            for slot in self._slots:
                if not await self._replace(slot):
                    log.error("workers.not_replaced", extra={"number": slot.number})
                    break
            else:
                seconds = round(time.monotonic() - began_at, 1)
                log.info("workers.replaced", extra={"seconds": seconds})

    async def _replace(self, slot: _Slot) -> bool:
        """Start a new process, and end the old one once the new one serves; False if it fails."""
        async with slot.lock:
            try:
                self._take_socket(slot)
                newer = await self._start(slot)
            except OSError as exc:
                log.error("worker.not_started", extra={"number": slot.number, "error": str(exc)})
                return False
            if newer.has_ended:
                return False
            older, slot.worker, slot.deaths = slot.worker, newer, 0
        if older is not None:
            older.retire()
            await older.end_within(END_TIMEOUT_S)
        return True

    def _on_work(self, worker: WorkerProcess) -> None:
        for other in self._processes:
            if other is not worker and other.is_ready:
                other.tell_of_work()

    # -- metrics -------------------------------------------------------------------------

    def _on_sum(self, worker: WorkerProcess, asked: int) -> None:
        self._in_task(self._answer_sum(worker, asked))

    async def _answer_sum(self, asking: WorkerProcess, asked: int) -> None:
        others = [worker for worker in self._processes if worker is not asking and worker.is_ready]
        if others:
            reports = [asyncio.create_task(worker.new_report()) for worker in others]
            await asyncio.wait(reports, timeout=REPORT_TIMEOUT_S)
            for report in reports:
                report.cancel()
        asking.answer_sum(asked, self._sum())

    def _sum(self) -> Families:
        totals = Totals([self._ended.families(), *(one.report for one in self._processes)])
        serving = sum(
            slot.worker is not None and slot.worker.is_ready and not slot.worker.has_ended
            for slot in self._slots
        )
        own: Families = [
            _family("veriplex_workers", "gauge", "Workers that serve.", "", serving),
            _family(
                "veriplex_worker_restarts",
                "counter",
                "Restarts of workers that died.",
                "_total",
                self._restarts,
            ),
        ]
        return own + totals.families()

    # -- stopping ------------------------------------------------------------------------

    def _on_stop_signal(self, number: signal.Signals) -> None:
        self._signals.append(number)
        self._stopping.set()
        for worker in self._processes:
            worker.pass_on(number)

    async def _end_all(self) -> list[int]:
        """End what still runs, and return the exit codes."""
        processes = list(self._processes)
        if not self._signals:  # a worker failed at start, or the supervisor itself
            for worker in processes:
                worker.pass_on(signal.SIGINT)
        timeout_s = self._drain_s + END_TIMEOUT_S
        return list(await asyncio.gather(*(each.end_within(timeout_s) for each in processes)))


def _how_it_ended(code: int) -> dict[str, Any]:
    if code < 0:
        return {"signal": signal.Signals(-code).name}
    return {"exit_code": code}


def _family(name: str, kind: str, documentation: str, ending: str, value: float) -> list[Any]:
    return [name, kind, documentation, [[name + ending, {}, float(value)]]]
