"""`veriplex readyz`: asks a running server whether it is ready, for container health checks."""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING

import typer

from gateway.cli.options import ConfigFile, ServerUrl, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError

if TYPE_CHECKING:
    from gateway.settings import Settings

TIMEOUT_S = 3.0


def readyz(
    ctx: typer.Context,
    url: ServerUrl = None,
    config: ConfigFile = None,
) -> None:
    """Ask a running server whether it is ready.

    The exit code is 0 if it is, else 1: for health checks of containers.
    Without --url the settings say where it listens, and whether with TLS. On
    this machine its certificate is not checked.

    Examples:
      veriplex readyz
      veriplex readyz --url http://127.0.0.1:9000
    """
    base = url or _own_url(read_settings(ctx, config))
    if not base.startswith(("http://", "https://")):
        raise CommandError(f"{base} is not a URL such as http://127.0.0.1:8025")
    if reason := why_not_ready(base.rstrip("/")):
        raise CommandError(f"{base} is not ready: {reason}")
    typer.echo("ready")


def _own_url(settings: Settings) -> str:
    server = settings.server
    if server.port == 0:
        raise CommandError("server.port is 0, so any port may be it: give its --url", EXIT_USAGE)
    # not `public_url`, which leads through a proxy
    return server.model_copy(update={"public_url": ""}).url()


def why_not_ready(url: str) -> str:
    """The reason; empty if the server is ready. Raises nothing."""
    import http.client
    import json
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "the URL's port is not a number"
    try:
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if _is_loopback(host):  # its names are the vendors', or a public one
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        connection.request("GET", f"{parts.path}/readyz", headers={"Connection": "close"})
        reply = connection.getresponse()
        body = reply.read(4_096)
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except ssl.SSLCertVerificationError as exc:
        return f"its certificate is not trusted: {exc.verify_message}"
    except ssl.SSLError:
        return "it does not speak TLS; begin the URL with http://"
    except (http.client.HTTPException, ValueError):
        return "it does not answer as an HTTP server; with TLS begin the URL with https://"
    except OSError as exc:
        return exc.strerror or str(exc)
    if reply.status == 200:
        return ""
    try:
        return str(json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        return f"it answers with status {reply.status}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
