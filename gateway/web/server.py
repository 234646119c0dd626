"""Runs the application under uvicorn until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http import httptools_impl

from gateway.web.edge import Edge, EdgeProtocol, connection_limit

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp

KEEP_ALIVE_S = 75
"""For an idle connection: longer than most proxies keep theirs, so that the proxy closes first."""
SHUTDOWN_GRACE_S = 10
"""For requests in flight after SIGTERM or Ctrl-C; then they are answered with 503."""
ABORT_S = 2.0
"""For the answers to requests that were ended before."""
RETIRE_S = 5.0
"""How long a server that a newer process replaces answers on its connections. Each ends with its
next answer, so that few are closed just when a client sends a request on them."""
MIN_RETIRE_S = 0.5
"""The same without connections: one may be accepted just now."""
TICK_S = 0.05
BACKLOG = 2048
SWITCH_INTERVAL_S = 0.0002
"""How long a thread that waits for the interpreter's lock waits until it asks for it. A wait begins
anew whenever another thread gives the lock up and takes it back, as the event loop does between
two callbacks; so it must be shorter than they are, or the database's thread waits for a pause. With
5,000 pipelined requests at a time a read of an account takes 300 ms with 1 ms here, now 40."""
GC_THRESHOLDS = (20_000, 20, 20)
"""Allocations between collections of the youngest generation, and collections of a generation
between those of the next."""


async def serve(
    app: ASGIApp,
    sock: socket.socket,
    *,
    ssl_certfile: str = "",
    ssl_keyfile: str = "",
    trusted_proxies: tuple[str, ...] = (),
    drain_s: float = 0.0,
    hooks: ServerHooks | None = None,
    reason_phrases: Mapping[int, str] | None = None,
    retired: asyncio.Event | None = None,
) -> bool:
    """Serve on `sock` until SIGINT or SIGTERM, then finish the requests in flight.

    So it does once `retired` is set, at once without new connections.

    SIGTERM is followed by `drain_s` seconds in which everything is still answered. Returns whether
    requests were ended by a second Ctrl-C. `reason_phrases` are for statuses that HTTP does not
    define.
    """
    hooks = hooks or ServerHooks()
    for status, phrase in (reason_phrases or {}).items():
        # uvicorn takes its status lines from this table, and has no setting for them
        httptools_impl.STATUS_LINE[status] = f"HTTP/1.1 {status} {phrase}\r\n".encode()
    edge = Edge(max_connections=connection_limit(), on_refusal=hooks.on_refusal)
    config = uvicorn.Config(
        app,
        loop="none",  # the caller's, which is uvloop
        http=partial(EdgeProtocol, edge=edge),  # type: ignore[arg-type]
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        ssl_certfile=ssl_certfile or None,
        ssl_keyfile=ssl_keyfile or None,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
    )
    _tune_garbage_collector()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    url = url_of(sock, tls=bool(ssl_certfile))
    server = _Server(config, url, hooks, edge, drain_s=drain_s, retired=retired)
    await server.serve(sockets=[sock])
    return server.aborted


def _tune_garbage_collector() -> None:
    """Exempt what lives as long as the process from garbage collection, and collect less often.

    A request allocates hundreds of objects and hardly any cycle, and with the defaults every few
    requests start a collection. Forwarding serves a quarter more requests a second this way.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def url_of(sock: socket.socket, *, tls: bool = False) -> str:
    """The URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _is_answering(connection: object) -> bool:
    """Whether a request of a connection is being answered."""
    cycle = getattr(connection, "cycle", None)
    return cycle is not None and not cycle.response_complete


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHooks:
    """What a server is called back for."""

    on_listening: Callable[[str], None] = lambda _: None
    """With the URL, when the server accepts connections."""
    on_stopping: Callable[[int, bool], None] = lambda _in_flight, _interrupted: None
    """When it begins to stop: how many requests are in flight, and whether by Ctrl-C."""
    on_abort: Callable[[], None] = lambda: None
    """Before requests in flight are cancelled."""
    on_refusal: Callable[[str], None] = lambda _: None
    """As in `Edge`."""


class _Server(uvicorn.Server):
    """Calls its hooks, drains before it stops, and answers everybody when it stops at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        url: str,
        hooks: ServerHooks,
        edge: Edge,
        *,
        drain_s: float,
        retired: asyncio.Event | None,
    ) -> None:
        super().__init__(config)
        self._edge = edge
        self._retired = retired or asyncio.Event()
        self._url = url
        self._hooks = hooks
        self._drain_s = drain_s
        self._interrupted = False
        """Whether Ctrl-C stopped it, and not SIGTERM."""
        self._signals = 0
        self._aborted = False
        self._forced = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def aborted(self) -> bool:
        """Whether requests were ended before their answer was known, by a second Ctrl-C."""
        return self._aborted and self._interrupted

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._signals:
            self._interrupted = sig == signal.SIGINT
        self._signals += 1
        super().handle_exit(sig, frame)
        if self.force_exit and self._loop is not None:  # after a second SIGINT
            self._loop.call_soon_threadsafe(self._forced.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._hooks.on_listening(self._url)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._retired.is_set()

    async def main_loop(self) -> None:
        await super().main_loop()
        if self._retired.is_set() and not self._signals:
            await self._retire()
        in_flight = sum(_is_answering(each) for each in self.server_state.connections)
        self._hooks.on_stopping(in_flight, self._interrupted)
        if self._drain_s and self._signals and not self._interrupted:
            await self._drain()

    async def _retire(self) -> None:
        """Take no more connections, and answer for a while on those there are.

        A signal ends it.
        """
        for listening in self.servers:
            listening.close()
        self._edge.is_closing = True
        for tick in range(round(RETIRE_S / TICK_S)):
            is_idle = tick >= MIN_RETIRE_S / TICK_S and not self.server_state.connections
            if is_idle or self._signals:
                return
            await super().on_tick(tick)
            await asyncio.sleep(TICK_S)

    async def _drain(self) -> None:
        """Go on answering until load balancers have seen that the server is not ready.

        Another signal ends it.
        """
        ticks = round(self._drain_s / TICK_S)
        while ticks > 0 and self._signals < 2:
            ticks -= 1
            await self.on_tick(ticks)
            await asyncio.sleep(TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Not uvicorn's own time limit, after which clients get a 500 in plain text.
        aborting = asyncio.create_task(self._abort_in_time())
        try:
            await super().shutdown(sockets)
        finally:
            if not self.force_exit:
                aborting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await aborting

    async def _abort_in_time(self) -> None:
        """After a second Ctrl-C, or when the grace is over, answer what is in flight with 503."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_GRACE_S):
                await self._forced.wait()
        tasks = set(self.server_state.tasks)
        if tasks:
            self._aborted = True
            self._hooks.on_abort()
            # uvicorn would log a reply that is cut off with a traceback, as if it were a bug
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=ABORT_S)
        self.force_exit = True
