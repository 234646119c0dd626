"""`veriplex check`: whether the settings are valid, and a summary of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gateway.cli.options import ConfigFile, read_settings, resolve_config_file
from gateway.cli.tables import print_table
from gateway.cli.terminal import print_error

if TYPE_CHECKING:
    from engine.smtp.terms import EgressConfig
    from gateway.settings import Settings


def check(ctx: typer.Context, config: ConfigFile = None) -> None:
    """Check the settings: report every mistake, or summarise what is in force.

    The exit code is 0 if they are valid and 2 if not. Nothing is started or
    changed.

    Examples:
      veriplex check
      veriplex --config /etc/veriplex.toml check
    """
    settings = read_settings(ctx, config, secrets=True)
    _check_tls(settings)
    print_table(_summary(settings, _file_description(ctx, config)))
    if never := _never_asked(settings):
        print_error(
            f"hint: routing.order names the sources to ask, and leaves out {', '.join(never)}"
        )
    if settings.engine.helo == "localhost":
        print_error(
            "hint: engine.helo is localhost, which many mail servers refuse; set it to a name"
            " that resolves to this machine and back"
        )


def _file_description(ctx: typer.Context, config: Path | None) -> str:
    from gateway.settings.load import CONFIG_VARIABLE, DEFAULT_FILE

    named = resolve_config_file(ctx, config) or os.environ.get(CONFIG_VARIABLE)
    if not named and not DEFAULT_FILE.is_file():
        return "no file: defaults and environment"
    return f"{named or DEFAULT_FILE}, then the environment"


def _check_tls(settings: Settings) -> None:
    if settings.server.ssl_certfile:
        from gateway.cli.listen import check_tls

        check_tls(settings.server.ssl_certfile, settings.server.ssl_keyfile)


def _never_asked(settings: Settings) -> list[str]:
    """Upstreams that no order names, where all orders name their sources."""
    orders = [settings.routing.order, *(route.order for route in settings.routes)]
    if not all(orders):
        return []
    asked = {name for order in orders for name in order}
    return [upstream.name for upstream in settings.upstreams if upstream.name not in asked]


def describe_egress(egress: EgressConfig) -> str:
    """Its name and where its connections come from, without the password of a proxy."""
    if egress.proxy is not None:
        return f"{egress.name} (through {egress.proxy.name})"
    return f"{egress.name} (from {egress.source_address or 'this machine'})"


def _summary(settings: Settings, file: str) -> tuple[tuple[str, str], ...]:
    from gateway.settings.egress import egress_configs

    engine = settings.engine
    sender = f"from {engine.mail_from}" if engine.mail_from else "from the null sender"
    resolvers = ", ".join(engine.dns_servers) or "the system's resolvers"
    egresses = ", ".join(describe_egress(egress) for egress in egress_configs(settings))
    return (
        ("settings", f"good ({file})"),
        ("server", f"at {settings.server.url()}"),
        ("storage", settings.storage.url),
        ("probe", f"as {engine.helo}, {sender}, by {resolvers}"),
        *([("egress", egresses)] if egresses else ()),
        ("sources", ", ".join(settings.sources)),
        ("plan", settings.limits.plan),
    )
