"""The command line: `veriplex COMMAND …`, one file a command.

What a command needs is imported inside it, so that `veriplex --version` does not pay for a
server. Commands that fail raise `Refusal`; `main` alone ends the process.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli.bulk import bulk
from gateway.cli.check import check
from gateway.cli.init import init
from gateway.cli.keys import keys
from gateway.cli.options import ConfigFile
from gateway.cli.sandbox import sandbox
from gateway.cli.serve import serve
from gateway.cli.terminal import FAILURE, Refusal, complain, drop_output, prepare_streams
from gateway.cli.verify import verify

app = typer.Typer(
    name="veriplex",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command()(sandbox)
app.command()(verify)
app.command()(bulk)
app.add_typer(keys, name="keys")
app.command()(init)
app.command()(check)


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
            metavar="",
            callback=_show_version,
            is_eager=True,
            help="Show the version and leave.",
        ),
    ] = False,
) -> None:
    """One server that speaks the HTTP APIs of five email-verification vendors.

    veriplex serve                       run the server; prints its first keys
    veriplex verify ada@example.com      verify one address, here and now
    veriplex bulk list.csv -o out.csv    verify a list, here and now
    veriplex sandbox                     run the offline sandbox for tests
    veriplex COMMAND --help              more of a command, with examples
    """
    ctx.obj = config


def main() -> None:
    """The console script."""
    prepare_streams()
    try:
        app()
    except Refusal as refusal:
        complain(str(refusal))
        sys.exit(refusal.exit_code)
    except OSError as exc:  # a full disk under the output, too many open files
        drop_output()
        complain(f"cannot go on: {exc}")
        sys.exit(FAILURE)
