"""Runs the application under uvicorn until a signal ends it."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http import httptools_impl

from gateway.web.edge import Edge, EdgeProtocol, connection_limit

if TYPE_CHECKING:
    from starlette.types import ASGIApp

KEEP_ALIVE_S = 75
"""For an idle connection: longer than most proxies keep theirs, so that the proxy closes first."""
SHUTDOWN_GRACE_S = 10
"""For requests in flight after SIGTERM."""
BACKLOG = 2048
SWITCH_INTERVAL_S = 0.001
"""How long a thread that waits for the interpreter's lock waits until it asks for it. A statement
takes the database's thread a dozen such waits while the event loop is busy; with Python's 5 ms the
slowest 1 % of calls took 500 ms then, with this 70 ms."""
GC_THRESHOLDS = (20_000, 20, 20)
"""Allocations between collections of the youngest generation, and collections of a generation
between those of the next."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


async def serve(
    app: ASGIApp,
    sock: socket.socket,
    *,
    ssl_certfile: str = "",
    ssl_keyfile: str = "",
    trusted_proxies: tuple[str, ...] = (),
    on_listening: Callable[[str], None] = lambda _: None,
    on_stop: Callable[[], None] = lambda: None,
    reason_phrases: Mapping[int, str] | None = None,
    on_refusal: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve on `sock` until SIGINT or SIGTERM, then finish the requests in flight.

    `on_listening` is called with the URL when the server accepts connections, and `on_stop` when it
    begins to stop. `reason_phrases` are for statuses that HTTP does not define; `on_refusal` is as
    in `Edge`.
    """
    for status, phrase in (reason_phrases or {}).items():
        # uvicorn takes its status lines from this table, and has no setting for them
        httptools_impl.STATUS_LINE[status] = f"HTTP/1.1 {status} {phrase}\r\n".encode()
    edge = Edge(max_connections=connection_limit(), on_refusal=on_refusal)
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
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        backlog=BACKLOG,
        ssl_certfile=ssl_certfile or None,
        ssl_keyfile=ssl_keyfile or None,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
    )
    _tune_garbage_collector()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    server = _Server(config, url_of(sock, tls=bool(ssl_certfile)), on_listening, on_stop)
    await server.serve(sockets=[sock])


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


class _Server(uvicorn.Server):
    """Calls `on_listening` with its URL, and `on_stop` when it begins to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        url: str,
        on_listening: Callable[[str], None],
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._url = url
        self._on_listening = on_listening
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)
