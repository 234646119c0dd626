"""`veriplex sandbox`: the server for test suites; offline, in memory, deterministic."""

from __future__ import annotations

import logging
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.announce import DOCS_URL, announce, first_curl, print_event
from gateway.cli.console import console_steps
from gateway.cli.key_sheet import prefixed_base_url
from gateway.cli.listen import (
    Host,
    LogLevel,
    Port,
    Verbose,
    errors_as_logged,
    open_socket,
    serve_until_stopped,
    with_log_options,
    with_server_options,
)
from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.tables import plain_lines
from gateway.cli.terminal import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    CommandError,
    is_terminal,
    run_async,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from adapters.contract.dialect import Dialect
    from gateway.settings import Settings
    from gateway.settings.server import LogSettings

MAX_KEY_LENGTH = 256


def sandbox(
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Another test key, valid in every dialect; can be repeated."
        ),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Seed of the samples; `random` draws new ones each time (default: sandbox.seed).",
            show_default=False,
        ),
    ] = None,
    log_level: LogLevel = None,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Run the offline sandbox: deterministic answers for test suites.

    It contacts no DNS server, mail server or vendor, stores nothing, and accepts
    only the published test keys and those given with --key. An address such as
    deliverable@example.com, undeliverable@example.com or accept-all@example.com
    gets the answer that it names.

    Examples:
      veriplex sandbox
      veriplex sandbox --port 0 --key ci-key --seed my-suite
    """
    keys = tuple(dict.fromkeys(key or ()))
    for given in keys:
        if not 0 < len(given) <= MAX_KEY_LENGTH or not given.isprintable():
            raise CommandError(
                f"--key: should be 1 to {MAX_KEY_LENGTH} printable characters", EXIT_USAGE
            )
    if seed == "":
        raise CommandError("--seed: should not be empty", EXIT_USAGE)
    settings = with_server_options(read_settings(ctx, config), host=host, port=port)
    settings = with_log_options(settings, log_level, verbose)
    with errors_as_logged(settings.log), open_socket(settings) as sock:
        run_async(_serve(settings, seed or settings.sandbox.seed, sock, keys))


async def _serve(settings: Settings, seed: str, sock: socket.socket, keys: tuple[str, ...]) -> None:
    from gateway.sandbox_app import open_sandbox
    from gateway.settings import configured_dialects
    from gateway.web.dispatch import create_app

    _set_up_lazy_logging(settings.log)
    url = settings.server.url(sock.getsockname()[1])
    dialects = configured_dialects(settings)
    allowed_hosts = settings.server.allowed_hosts
    async with open_sandbox(
        seed,
        keys=keys,
        url=url,
        dialects=dialects,
        allowed_hosts=allowed_hosts,
        with_console=settings.console.enabled,
    ) as server:
        if settings.log.format == "json":
            for dialect in dialects:
                print_event("sandbox.key", _key_fields(url, dialect))
        else:
            for line in _key_lines(url):
                typer.echo(line)
        first = next(dialect for dialect in dialects if dialect.example is not None)
        steps = [
            ("Try it", first_curl(url, first.sandbox_key, dialects)),
            *await console_steps(server.console, settings, url),
            ("Docs", f"{DOCS_URL}/sandbox.md"),
            ("Stop", "Ctrl-C"),
        ]
        aborted = await serve_until_stopped(
            server,
            create_app(server, starts_quickly=True),
            settings,
            sock,
            announce(settings.log, steps),
        )
    if aborted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _set_up_lazy_logging(log: LogSettings) -> None:
    """Log as the settings say, but import what that needs only with the first line."""
    from gateway.observability.levels import set_levels

    class FirstLine(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            from gateway.observability.logs import set_up_logs

            set_up_logs(log)
            logging.getLogger().handle(record)

    logging.getLogger().handlers[:] = [FirstLine()]
    set_levels(log)


def _key_fields(url: str, dialect: Dialect) -> dict[str, str]:
    return {
        "dialect": dialect.name,
        "base_url": prefixed_base_url(url, dialect),
        "key": dialect.sandbox_key,  # published, so that it is no secret
    }


def _key_lines(url: str) -> Iterator[str]:
    """Base URL and test key of every dialect, as a client needs them."""
    from adapters.registry import DIALECTS

    rows = [
        (dialect.name, prefixed_base_url(url, dialect), dialect.sandbox_key) for dialect in DIALECTS
    ]
    lines = list(plain_lines(rows))
    width = shutil.get_terminal_size().columns
    if is_terminal(sys.stdout) and max(map(len, lines)) > width:
        # one below the other: a line that the terminal breaks cannot be read as a column
        return (text for name, base, key in rows for text in (name, f"  {base}", f"  {key}"))
    return iter(lines)
