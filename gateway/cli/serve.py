"""`veriplex serve`: runs the server."""

from __future__ import annotations

import logging
import socket
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.announce import DOCS_URL, announce, first_curl, print_event
from gateway.cli.console import console_steps
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
from gateway.cli.terminal import EXIT_INTERRUPTED, EXIT_USAGE, CommandError, run_async
from gateway.workers.place import PLACE_OPTION, WorkerPlace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.accounts.accounts import NewKey
    from gateway.app import Services
    from gateway.settings import Settings
    from gateway.settings.section import SettingPath


MAX_WORKERS = 64


def serve(
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    ssl_certfile: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Certificate chain (PEM); the server then speaks HTTPS."),
    ] = None,
    ssl_keyfile: Annotated[
        str | None, typer.Option(metavar="FILE", help="Private key of that certificate (PEM).")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MAX_WORKERS, help="Processes that serve the port together."
        ),
    ] = 1,
    no_work: Annotated[
        bool,
        typer.Option(
            "--no-work", help="Leave batches to `veriplex worker` (default: work.in_server)."
        ),
    ] = False,
    log_level: LogLevel = None,
    verbose: Verbose = False,
    config: ConfigFile = None,
    as_worker: Annotated[str | None, typer.Option(PLACE_OPTION, hidden=True)] = None,
) -> None:
    """Run the server: all dialects, with accounts, keys and batches in one database file.

    The first start creates an account and prints its keys, only once, with
    the base URL to paste into each vendor's client. The server prints
    `listening on URL` when it is ready, and runs until Ctrl-C or SIGTERM.
    With --workers it uses more than one core; SIGHUP then restarts one
    process after the other, with the settings read anew.

    Examples:
      veriplex serve
      veriplex serve --host 0.0.0.0 --port 8080 --workers 4
      veriplex serve --ssl-certfile cert.pem --ssl-keyfile key.pem
    """
    if (ssl_certfile is None) != (ssl_keyfile is None):
        raise CommandError("--ssl-certfile and --ssl-keyfile belong together", EXIT_USAGE)
    place = None if as_worker is None else WorkerPlace.parse(as_worker)

    origins: dict[SettingPath, str] = {}

    def read(*, quiet: bool = False) -> Settings:
        settings = with_server_options(
            read_settings(ctx, config, secrets=True, quiet=quiet, on_origins=origins.update),
            host=host,
            port=port,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
        if no_work:
            settings = _without_work(settings)
        return with_log_options(settings, log_level, verbose)

    settings = read(quiet=place is not None)
    with errors_as_logged(settings.log):
        if place is not None:
            with socket.socket(fileno=place.socket_fd) as sock:
                run_async(_serve(settings, sock, place, origins))
        elif workers > 1:
            from gateway.cli.workers import supervise

            supervise(settings, workers, lambda: read(quiet=True))
        else:
            with open_socket(settings) as sock:
                run_async(_serve(settings, sock, None, origins))


def _without_work(settings: Settings) -> Settings:
    if settings.storage.url.startswith("sqlite"):
        raise CommandError(
            "--no-work: storage.url is a SQLite file, whose batches no other process works on",
            EXIT_USAGE,
        )
    return settings.model_copy(
        update={"work": settings.work.model_copy(update={"in_server": False})}
    )


log = logging.getLogger("veriplex.server")

PUBLISHED_KEYS_ACCEPTED = (
    "The published test keys are accepted (sandbox.published): every client of this server"
    " may use its sandbox."
)
HELO_ADVICE = (
    "engine.helo is localhost, which many mail servers refuse; before you verify\n"
    "real addresses, run: veriplex doctor"
)
KEYS_NOT_SHOWN = "no key exists; create some with: veriplex keys create"


async def _serve(
    settings: Settings,
    sock: socket.socket,
    place: WorkerPlace | None,
    origins: Mapping[SettingPath, str],
) -> None:
    """Serve on `sock`, alone or in a place among several workers."""
    from gateway.accounts.errors import AccountsError
    from gateway.app import open_services
    from gateway.observability.logs import set_up_logs
    from gateway.observability.redaction import SecretList
    from gateway.settings import secrets_in
    from gateway.store import StoreError
    from gateway.web.dispatch import create_app

    secrets = SecretList(secrets_in(settings))
    set_up_logs(settings.log, redact=secrets.redact, worker=place.number if place else None)
    is_first = place is None or place.is_first_start
    try:
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(
                open_services(
                    settings,
                    origins=origins,
                    secrets=secrets,
                    is_alone=place is None,
                    run_sweeper=place is None or place.number == 1,
                )
            )
            # links contain the port that was bound
            log.info(
                "server.started",
                extra={
                    "version": version("veriplex"),
                    "database": services.store.where,
                    "sources": ",".join(settings.sources),
                },
            )
            services.sandbox.url = url = settings.server.url(sock.getsockname()[1])
            made = await _first_keys(services, url) if is_first else ()
            if is_first and settings.sandbox.published:
                _notice(settings, "sandbox.published", PUBLISHED_KEYS_ACCEPTED)
            steps = await _first_steps(services, url, made) if is_first else []
            fields = {"docs": DOCS_URL, **_hints(settings)}
            announced, retired = announce(settings.log, steps, **fields), None
            if place is not None:
                from gateway.cli.workers import in_place, ready_by

                worker = await stack.enter_async_context(in_place(place, services))
                announced, retired = ready_by(worker, steps, fields), worker.retired
            aborted = await serve_until_stopped(
                services,
                create_app(services),
                settings,
                sock,
                announced,
                retired=retired,
                drain=services.dispatch.drain,
            )
        log.info("server.stopped")
        if aborted:
            raise typer.Exit(EXIT_INTERRUPTED)
    except (StoreError, AccountsError) as exc:
        raise CommandError(str(exc)) from exc


async def _first_keys(services: Services, url: str) -> tuple[NewKey, ...]:
    """Add the keys of the settings; in an empty database without any, draw and print the first.

    A log in JSON is collected and stored, so that no key may be printed into it: then none is
    drawn.
    """
    from gateway.cli.key_sheet import key_sheet

    settings = services.settings
    if settings.keys or settings.log.format == "json":
        if await services.accounts.is_empty():
            _notice(settings, "keys.none", KEYS_NOT_SHOWN)
        return ()
    made = await services.accounts.bootstrap()
    if made:
        typer.echo(f"New database {services.store.where}. Its keys, shown only once:")
        for line in key_sheet(url, made):
            typer.echo(line)
        typer.echo()
    return made


async def _first_steps(
    services: Services, url: str, made: tuple[NewKey, ...]
) -> list[tuple[str, str]]:
    test_keys = {key.dialect: key.key for key in made if key.test}
    dialects = services.routes.dialects
    first = next(dialect for dialect in dialects if dialect.example is not None)
    steps = []
    if not made:
        keys = await services.accounts.list_keys()
        valid = sum(1 for key in keys if key.revoked_at is None)
        steps.append(
            (
                "Keys",
                f"{valid} in {services.store.where}; list them with: veriplex keys list\n"
                "make another with: veriplex keys create",
            )
        )
    steps.append(("Try it", first_curl(url, test_keys.get(first.name, "$KEY"), dialects)))
    steps += await console_steps(services.console, services.settings, url)
    steps.append(("Docs", DOCS_URL))
    steps += [("Hint", hint) for hint in _hints(services.settings).values()]
    steps.append(("Stop", "Ctrl-C"))
    return steps


def _hints(settings: Settings) -> dict[str, str]:
    if settings.engine.helo == "localhost" and "local" in settings.sources:
        return {"hint": HELO_ADVICE}
    return {}


def _notice(settings: Settings, event: str, text: str) -> None:
    """A line for people, or for programs."""
    if settings.log.format == "json":
        print_event(event, {"message": text})
    else:
        typer.echo(text)
