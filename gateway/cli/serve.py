"""`veriplex serve`: runs the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.listen import Host, Port, open_socket, serve_until_stopped, with_server_options
from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError, run_async

if TYPE_CHECKING:
    import socket

    from gateway.settings import Settings


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
    config: ConfigFile = None,
) -> None:
    """Run the server: all dialects, with accounts, keys and batches in one database file.

    The first start creates an account and prints its keys, only once, with
    the base URL to paste into each vendor's client. The server prints
    `listening on URL` when it is ready, and runs until Ctrl-C or SIGTERM.

    Examples:
      veriplex serve
      veriplex serve --host 0.0.0.0 --port 8080
      veriplex serve --ssl-certfile cert.pem --ssl-keyfile key.pem
    """
    if (ssl_certfile is None) != (ssl_keyfile is None):
        raise CommandError("--ssl-certfile and --ssl-keyfile belong together", EXIT_USAGE)
    settings = with_server_options(
        read_settings(ctx, config, secrets=True),
        host=host,
        port=port,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )
    with open_socket(settings) as sock:
        run_async(_serve(settings, sock))


PUBLISHED_KEYS_ACCEPTED = (
    "The published test keys are accepted (sandbox.published): every client of this server"
    " may use its sandbox."
)


async def _serve(settings: Settings, sock: socket.socket) -> None:
    from gateway.accounts.accounts import AccountsError
    from gateway.app import open_services
    from gateway.cli.key_sheet import key_sheet
    from gateway.observability.logs import set_up_logs
    from gateway.observability.redaction import SecretList
    from gateway.settings import secrets_in
    from gateway.store import StoreError
    from gateway.web.dispatch import create_app

    secrets = SecretList(secrets_in(settings))
    set_up_logs(settings.log, redact=secrets.redact)
    try:
        async with open_services(settings, secrets=secrets) as services:
            # links contain the port that was bound
            services.sandbox.url = settings.server.url(sock.getsockname()[1])
            if made := await services.accounts.bootstrap():
                typer.echo(f"New database {services.store.where}. Its keys, shown only once:")
                for line in key_sheet(settings.server.url(sock.getsockname()[1]), made):
                    typer.echo(line)
                typer.echo()
            if settings.sandbox.published:
                typer.echo(PUBLISHED_KEYS_ACCEPTED)
            await serve_until_stopped(services, create_app(services), settings.server, sock)
    except (StoreError, AccountsError) as exc:
        raise CommandError(str(exc)) from exc
