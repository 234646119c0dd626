"""`veriplex console`: prints a link by which a browser logs in to the console once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from gateway.cli.options import ConfigFile, ServerUrl, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError, run_async

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.web.console.services import ConsoleServices

LOGIN_PATH = "/console/login"


def console(
    ctx: typer.Context,
    url: ServerUrl = None,
    config: ConfigFile = None,
) -> None:
    """Print a link that opens the console, once, within a day.

    The browser that opens it is an operator there. It needs no password, since it is made
    in the server's database.

    Examples:
      veriplex console
      veriplex console --url https://verify.example.com
    """
    settings = read_settings(ctx, config, secrets=True)
    if not settings.console.enabled:
        raise CommandError("console.enabled is false, so the server has no console", EXIT_USAGE)
    if url is None and settings.server.port == 0 and not settings.server.public_url:
        raise CommandError("server.port is 0, so any port may be it: give its --url", EXIT_USAGE)
    base = (url or settings.server.url()).rstrip("/")
    if not base.startswith(("http://", "https://")) or "?" in base or "#" in base:
        raise CommandError(f"{base} is not a URL such as http://127.0.0.1:8025", EXIT_USAGE)

    async def make() -> str:
        from gateway.accounts.console_tokens import console_access
        from gateway.cli.database import open_database

        async with open_database(settings) as store:
            return await console_access(settings, store, time.time).create_link_token()

    typer.echo(login_link(base, run_async(make())))


async def console_steps(
    services: ConsoleServices | None, settings: Settings, url: str
) -> list[tuple[str, str]]:
    """The line of `serve` and `sandbox` about the console: a link where a login needs one.

    A log in JSON is collected and stored, so that no link may be printed into it.
    """
    if services is None:
        return [("Page", f"{url}/")]
    from gateway.web.browsers import is_loopback

    is_open = services.sandbox.standalone and is_loopback(settings.server.host)
    if is_open or not services.access.needs_link or settings.log.format == "json":
        return [("Console", f"{url}/console")]
    token = await services.access.create_link_token()
    another = "" if services.sandbox.standalone else "; another: veriplex console"
    return [("Console", f"{login_link(url, token)}\nworks once{another}")]


def login_link(url: str, token: str) -> str:
    """The link for a token of `ConsoleAccess.create_link_token`."""
    return f"{url}{LOGIN_PATH}?token={token}"
