"""`veriplex openapi`: prints the description of an API, for generators of clients."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Annotated

import typer

from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError


def openapi(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A dialect, or `veriplex` for the native API."),
    ],
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="URL of the server (default: where the settings say that it listens).",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Print the OpenAPI 3.1 description of an API, as /openapi/NAME.json does.

    Examples:
      veriplex openapi emailable > emailable.json
      veriplex openapi veriplex --url https://verify.example.com
    """
    from adapters.kit.openapi.document import describe, with_servers
    from gateway.settings import configured_dialects
    from gateway.web.descriptions import NATIVE
    from gateway.web.native_description import describe_native

    settings = read_settings(ctx, config)
    dialects = configured_dialects(settings)
    base = (url or settings.server.url()).rstrip("/")
    if name == NATIVE:
        native = describe_native(dialects[0], version=version("veriplex"))
        typer.echo(json.dumps({**native, "servers": [{"url": base}]}, indent=2))
        return
    dialect = next((each for each in dialects if name in (each.name, *each.aliases)), None)
    if dialect is None:
        known = ", ".join((NATIVE, *(each.name for each in dialects)))
        raise CommandError(f"there is no API {name!r}; there are {known}", EXIT_USAGE)
    document = with_servers(describe(dialect, version=version("veriplex")), dialect, base)
    typer.echo(json.dumps(document, indent=2))
