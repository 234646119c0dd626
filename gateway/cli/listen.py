"""The parts that `serve` and `sandbox` share: options, the socket, running until a signal."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from gateway.cli.terminal import EXIT_USAGE, CommandError, print_error

if TYPE_CHECKING:
    import asyncio

    from gateway.cli.announce import Announce
    from gateway.observability.metrics import Metrics
    from gateway.settings import Settings
    from gateway.settings.server import LogSettings
    from gateway.web.dispatch import Application
    from gateway.web.vendors import VendorApp

log = logging.getLogger("veriplex.server")


def host_option(section: str) -> Any:
    """The option for the address to listen on, whose default is a setting of `section`."""
    words = f"Address to listen on (default: {section}.host)."
    return typer.Option(metavar="HOST", help=words, show_default=False)


def port_option(section: str) -> Any:
    """The option for the port to listen on, whose default is a setting of `section`."""
    words = f"Port to listen on; 0 picks a free one (default: {section}.port)."
    return typer.Option(metavar="PORT", min=0, max=65535, help=words, show_default=False)


Host = Annotated[str | None, host_option("server")]
Port = Annotated[int | None, port_option("server")]

LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help="debug, info, warning or error (default: log.level).",
        show_default=False,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log more: as --log-level debug.", show_default=False),
]
LEVELS = ("debug", "info", "warning", "error")


def with_log_options(settings: Settings, level: str | None, verbose: bool) -> Settings:
    """The settings with the given level. Raises CommandError."""
    from gateway.settings.problems import suggestion

    if level is not None and level not in LEVELS:
        message = f"--log-level: should be {', '.join(LEVELS)}{suggestion(level, LEVELS)}"
        raise CommandError(message, EXIT_USAGE)
    wanted = "debug" if verbose else level
    if wanted is None:
        return settings
    return settings.model_copy(update={"log": settings.log.model_copy(update={"level": wanted})})


def with_server_options(settings: Settings, **given: Any) -> Settings:
    """The settings, with the given options in place of theirs."""
    changes = {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update={"server": settings.server.model_copy(update=changes)})


NO_PEM = "it has no PEM certificate, or no PEM key without a passphrase"


def check_tls(certfile: str, keyfile: str) -> None:
    """Raises CommandError if the certificate and its key cannot be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, password="")
    except ssl.SSLError as exc:
        reason = (exc.reason or NO_PEM).replace("_", " ")
        message = f"cannot use {certfile} with {keyfile} for TLS: {reason.lower()}"
        raise CommandError(message, EXIT_USAGE) from exc
    except OSError as exc:
        for name in (certfile, keyfile):
            _check_readable(name)
        raise CommandError(f"cannot read {certfile}: {exc.strerror}", EXIT_USAGE) from exc


def _check_readable(name: str) -> None:
    try:
        with open(name, "rb"):
            pass
    except OSError as exc:
        raise CommandError(f"cannot read {name}: {exc.strerror}", EXIT_USAGE) from exc


@contextlib.contextmanager
def errors_as_logged(log_settings: LogSettings) -> Iterator[None]:
    """Print a CommandError as a line of the log if that is JSON, and end with its exit code."""
    try:
        yield
    except CommandError as exc:
        if log_settings.format != "json":
            raise
        from gateway.observability.logs import json_line

        fields = {"error": str(exc)}
        line = json_line("server.failed", "veriplex.server", fields, level="error")
        sys.stderr.write(f"{line}\n")
        raise typer.Exit(exc.exit_code) from exc


_BIND_ERRORS: dict[int, str] = {
    errno.EADDRINUSE: "is in use already; choose another with --port",
    errno.EACCES: "needs privileges, as all ports below 1024 do",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


def open_socket(settings: Settings) -> socket.socket:
    """The socket to serve on. Raises CommandError."""
    (sock,) = open_sockets(settings, 1)
    return sock


def open_sockets(settings: Settings, count: int) -> list[socket.socket]:
    """A socket for each of `count` processes, on the same port. Raises CommandError."""
    from gateway.sockets import bind
    from gateway.workers.sockets import bind_each

    server = settings.server
    if server.ssl_certfile:
        check_tls(server.ssl_certfile, server.ssl_keyfile)

    def bind_one() -> socket.socket:
        return bind(server.host, server.port)

    try:
        return [bind_one()] if count == 1 else bind_each(bind_one, count)
    except OSError as exc:
        words = _BIND_ERRORS.get(exc.errno or 0, f"cannot be listened on: {exc.strerror or exc}")
        place = f"[{server.host}]" if ":" in server.host else server.host
        raise CommandError(f"{place}:{server.port} {words}") from exc


class Stoppable(Protocol):
    """Services that want to know when the server begins to stop, and that count connections."""

    stopping: bool

    @property
    def metrics(self) -> Metrics: ...

    @property
    def vendor_app(self) -> VendorApp: ...


async def serve_until_stopped(
    services: Stoppable,
    app: Application,
    settings: Settings,
    sock: socket.socket,
    announce: Announce,
    *,
    retired: asyncio.Event | None = None,
    drain: Callable[[asyncio.Event], Awaitable[None]] | None = None,
) -> bool:
    """Answer requests until SIGINT or SIGTERM, or until `retired` is set.

    `drain` then lets the work under way end, for as long as its event is not set by a second
    signal. Returns whether requests were ended by a second Ctrl-C.
    """
    from adapters.registry import DIALECTS
    from gateway.web.server import ServerHooks, serve

    server = settings.server

    def stopping(in_flight: int, interrupted: bool) -> None:
        services.stopping = True
        log.info("server.stopping", extra={"in_flight": in_flight})
        if interrupted and in_flight and settings.log.format != "json":
            requests = "1 request" if in_flight == 1 else f"{in_flight} requests"
            print_error(f"finishing {requests}; Ctrl-C again to stop at once")

    with _signals_counted() as repeated:
        aborted = await serve(
            app,
            sock,
            ssl_certfile=server.ssl_certfile,
            ssl_keyfile=server.ssl_keyfile,
            trusted_proxies=server.forwarded_allow_ips,
            drain_s=server.drain_s,
            hooks=ServerHooks(
                on_listening=announce,
                on_stopping=stopping,
                on_abort=services.vendor_app.end_requests,
                on_refusal=services.metrics.count_refused_connection,
            ),
            reason_phrases={k: v for d in DIALECTS for k, v in d.reason_phrases.items()},
            retired=retired,
        )
        if drain is not None:
            await drain(repeated)
        return aborted


@contextlib.contextmanager
def _signals_counted() -> Iterator[asyncio.Event]:
    """Ignore the signals that stop the server, but for an event that the second one sets.

    uvicorn stops on a signal and then raises each that it got again, which would end the process
    before the database is closed.
    """
    import asyncio

    loop, repeated = asyncio.get_running_loop(), asyncio.Event()
    count = 0

    def handle(*_: object) -> None:
        nonlocal count
        count += 1
        if count > 1:
            loop.call_soon_threadsafe(repeated.set)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield repeated
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
