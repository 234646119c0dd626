"""`veriplex worker`: works on batches beside servers."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.listen import (
    LogLevel,
    Verbose,
    errors_as_logged,
    host_option,
    open_socket,
    port_option,
    serve_until_stopped,
    with_log_options,
    with_server_options,
)
from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import EXIT_INTERRUPTED, CommandError, run_async

if TYPE_CHECKING:
    import socket

    from gateway.settings import Settings

log = logging.getLogger("veriplex.server")


def worker(
    ctx: typer.Context,
    host: Annotated[str | None, host_option("work")] = None,
    port: Annotated[int | None, port_option("work")] = None,
    log_level: LogLevel = None,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Work on batches, webhooks and clean-up of a PostgreSQL database.

    Any number of workers share the work, on any number of machines. It
    listens for health checks and metrics only, prints `listening on URL`
    when it works, and runs until Ctrl-C or SIGTERM; what it has begun then
    is finished or left to others.

    Examples:
      veriplex worker
      veriplex worker --host 0.0.0.0 --port 8026
    """
    settings = read_settings(ctx, config, secrets=True)
    if settings.storage.url.startswith("sqlite"):
        raise CommandError(
            "workers share a PostgreSQL database, and storage.url is a SQLite file:"
            " `veriplex serve` does its work itself"
        )
    settings = with_server_options(
        settings,
        host=host or settings.work.host,
        port=settings.work.port if port is None else port,
        # links in webhooks lead to the servers
        public_url=settings.server.public_url or settings.server.url(),
        ssl_certfile="",
        ssl_keyfile="",
        forwarded_allow_ips=(),
    )
    settings = with_log_options(settings, log_level, verbose)
    with errors_as_logged(settings.log), open_socket(settings) as sock:
        run_async(_work(settings, sock))


async def _work(settings: Settings, sock: socket.socket) -> None:
    from gateway.accounts.errors import AccountsError
    from gateway.app import open_services
    from gateway.cli.announce import DOCS_URL, announce
    from gateway.cluster.processes import ProcessKind
    from gateway.observability.logs import set_up_logs
    from gateway.observability.redaction import SecretList
    from gateway.settings import secrets_in
    from gateway.store import StoreError
    from gateway.web.system import create_health_app

    secrets = SecretList(secrets_in(settings))
    set_up_logs(settings.log, redact=secrets.redact)
    try:
        async with open_services(settings, secrets=secrets, kind=ProcessKind.WORKER) as services:
            log.info(
                "worker.started",
                extra={
                    "version": version("veriplex"),
                    "database": services.store.where,
                    "sources": ",".join(settings.sources),
                    "pieces": settings.work.pieces,
                },
            )
            steps = [("Look", "veriplex cluster"), ("Stop", "Ctrl-C")]
            announced = announce(settings.log, steps, docs=DOCS_URL)
            aborted = await serve_until_stopped(
                services,
                create_health_app(services),
                settings,
                sock,
                announced,
                drain=services.dispatch.drain,
            )
        log.info("worker.stopped")
        if aborted:
            raise typer.Exit(EXIT_INTERRUPTED)
    except (StoreError, AccountsError) as exc:
        raise CommandError(str(exc)) from exc
