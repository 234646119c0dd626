"""Options that commands share, and the settings that they select."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gateway.cli.terminal import EXIT_USAGE, CommandError, print_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.settings import Settings
    from gateway.settings.section import SettingPath


class _PlainParameters:
    """Shows flags and arguments by their names, where typer adds `<bool>` and `{FILE} <str>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if isinstance(param, TyperOption) and param.is_flag:
                param.metavar = ""
            if isinstance(param, TyperArgument):
                vars(param)["display_type_rich"] = lambda ctx: ""
        return params

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]
        return [piece.replace("{", "").replace("}", "") for piece in pieces]


class Command(_PlainParameters, TyperCommand):
    """A single command."""


class CommandGroup(_PlainParameters, TyperGroup):
    """A command with subcommands."""


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Settings file (default: $VERIPLEX_CONFIG, else ./veriplex.toml if it exists).",
        show_default=False,
    ),
]
"""Accepted before and after the command's name."""

Column = Annotated[
    str | None,
    typer.Option(
        "--column",
        metavar="NAME",
        help="Title or number of the address column (default: found by content and title).",
        show_default=False,
    ),
]

Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Encoding of the list, such as cp1252 (default: UTF-8, or what its first bytes say).",
        show_default=False,
    ),
]

ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="URL of the server (default: where the settings say that it listens).",
        show_default=False,
    ),
]

Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for programs, one object a line.", show_default=False),
]


def resolve_config_file(ctx: typer.Context, config: Path | None) -> Path | None:
    """The `--config` after the command's name, else the one before it."""
    before: Path | None = ctx.find_root().obj
    return config or before


def read_settings(
    ctx: typer.Context,
    config: Path | None,
    *,
    secrets: bool = False,
    probing: bool = False,
    quiet: bool = False,
    on_origins: Callable[[Mapping[SettingPath, str]], None] = lambda _: None,
) -> Settings:
    """The settings. Raises CommandError with all mistakes in them.

    With `secrets` the upstreams' keys are read too, which only a server needs; with `probing` or
    `secrets` the proxies to mail hosts. `quiet` leaves out warnings.
    """
    from gateway.settings import SettingsError, load

    ignored: list[str] = []
    try:
        settings = load(
            resolve_config_file(ctx, config),
            os.environ,
            dialects=_dialects(),
            plans=_plans(),
            secrets=secrets,
            probing=probing or secrets,
            on_ignored=ignored.append,
            on_origins=on_origins,
        )
    except SettingsError as exc:
        raise CommandError(str(exc), EXIT_USAGE) from exc
    for line in () if quiet else ignored:
        warn(settings, "variables.ignored", line)
    return settings


def warn(settings: Settings, event: str, text: str) -> None:
    """A line on standard error: for people, or in the form of the log if that is JSON."""
    if settings.log.format == "json":
        from gateway.observability.logs import json_line

        line = json_line(event, "veriplex.settings", {"message": text}, level="warning")
        sys.stderr.write(f"{line}\n")
    else:
        print_error(text)


def _dialects() -> tuple[str, ...]:
    from adapters.registry import DIALECTS

    return tuple(dialect.name for dialect in DIALECTS)


def _plans() -> tuple[str, ...]:
    from adapters.registry import DIALECTS
    from gateway.accounts.plans import Plans

    return Plans({dialect.name: dialect.plans for dialect in DIALECTS}).names
