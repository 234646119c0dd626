"""`veriplex readyz`: asks a running server whether it is ready, for container health checks."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.terminal import CommandError

TIMEOUT_S = 3.0


def readyz(
    url: Annotated[
        str, typer.Option(metavar="URL", help="URL of the server.")
    ] = "http://127.0.0.1:8025",
) -> None:
    """Ask a running server whether it is ready.

    The exit code is 0 if it is, else 1: for health checks of containers.

    Examples:
      veriplex readyz
      veriplex readyz --url http://127.0.0.1:9000
    """
    from urllib.error import URLError
    from urllib.request import urlopen

    if not url.startswith(("http://", "https://")):
        raise CommandError(f"{url} is not a URL such as http://127.0.0.1:8025")
    try:
        with urlopen(f"{url.rstrip('/')}/readyz", timeout=TIMEOUT_S) as reply:  # noqa: S310
            reply.read()
    except (URLError, OSError, ValueError) as exc:
        raise CommandError(f"{url} is not ready: {exc}") from exc
    typer.echo("ready")
