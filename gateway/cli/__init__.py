"""The command line: `veriplex COMMAND …`, with a module for each command.

A command's module is imported only when the command runs, so that `veriplex --version` does not
import a server. A command that fails raises `CommandError`; only `main` ends the process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile
from gateway.cli.terminal import (
    EXIT_FAILURE,
    EXIT_USAGE,
    CommandError,
    discard_output,
    prepare_streams,
    print_error,
)

COMMANDS = (
    "serve",
    "worker",
    "sandbox",
    "verify",
    "bulk",
    "compare",
    "keys",
    "blocks",
    "upstreams",
    "sources",
    "outcomes",
    "init",
    "check",
    "console",
    "openapi",
    "doctor",
    "readyz",
    "cluster",
    "migrate",
    "backup",
)
"""In the order of `--help`. The module of that name has a function or an app of that name."""


class _LazyCommands(Mapping[str, Any]):
    """The commands by name, each imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        found = getattr(import_module(f"gateway.cli.{name}"), name)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False)
            found.command(name, cls=Command)(function)
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _CommandGroup(CommandGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": _LazyCommands()})


app = typer.Typer(
    name="veriplex",
    cls=_CommandGroup,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"veriplex {version('veriplex')}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    config: ConfigFile = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """One server that speaks the HTTP APIs of email-verification vendors.

    veriplex serve                       run the server; prints its first keys
    veriplex verify ada@example.com      verify an address, without a server
    veriplex bulk list.csv -o out.csv    verify a list, without a server
    veriplex sandbox                     run the offline sandbox for tests
    veriplex COMMAND --help              show a command's options, with examples
    """
    ctx.obj = config


def main() -> None:
    """Run the command line; the console script."""
    prepare_streams()
    try:
        app()
    except CommandError as refusal:
        print_error(str(refusal))
        sys.exit(refusal.exit_code)
    except OSError as exc:  # such as a full disk, or too many open files
        discard_output()
        about = f"{exc.filename}: " if exc.filename is not None else ""
        print_error(f"cannot continue: {about}{exc.strerror or exc}")
        sys.exit(EXIT_FAILURE)
    except UnicodeEncodeError as exc:  # such as an argument in Latin-1 that is to be stored
        print_error(f"cannot continue: {exc.object!r} is not UTF-8 text")
        sys.exit(EXIT_USAGE)
