"""`veriplex blocks`: client addresses that were blocked after failed attempts."""

from __future__ import annotations

import json as json_
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile, Json, read_settings
from gateway.cli.tables import print_table
from gateway.cli.terminal import EXIT_FAILURE, CommandError, run_async

if TYPE_CHECKING:
    from gateway.accounts.blocked_clients import BlockedClient
    from gateway.settings import Settings

blocks = typer.Typer(
    cls=CommandGroup,
    help="List and lift blocks of client addresses, also while the server runs.",
    no_args_is_help=True,
    add_completion=False,
)


@blocks.command(name="list", cls=Command)
def list_(ctx: typer.Context, json: Json = False, config: ConfigFile = None) -> None:
    """List the client addresses that are refused, the newest first.

    A dialect blocks addresses only if its settings say so, such as
    dataoorts.block_enabled.

    Examples:
      veriplex blocks list
      veriplex blocks list --json
    """
    found = run_async(_list(read_settings(ctx, config)))
    if json:
        for block in found:
            row = {
                "dialect": block.dialect,
                "client": block.client,
                "blocked_at": block.blocked_at.isoformat(),
            }
            typer.echo(json_.dumps(row))
        return
    if not found:
        typer.echo("no client address is blocked")
        return
    rows = [(b.client, b.dialect, f"{b.blocked_at:%Y-%m-%d %H:%M} UTC") for b in found]
    print_table(rows, headings=("client", "dialect", "blocked"))


@blocks.command(cls=Command)
def lift(
    ctx: typer.Context,
    client: Annotated[str, typer.Argument(metavar="ADDRESS", help="The client's IP address.")],
    config: ConfigFile = None,
) -> None:
    """Lift the blocks of a client address; a running server accepts it within a second.

    Examples:
      veriplex blocks lift 192.0.2.7
    """
    if not run_async(_lift(read_settings(ctx, config), client.strip())):
        raise CommandError(f"{client!r} is not blocked", EXIT_FAILURE)
    typer.echo(f"{client} is not blocked any more")


async def _list(settings: Settings) -> list[BlockedClient]:
    import time

    from gateway.accounts.blocked_clients import BlockedClients
    from gateway.cli.database import open_database

    async with open_database(settings) as store:
        return await BlockedClients(store, time.time).all_blocks()


async def _lift(settings: Settings, client: str) -> int:
    import time

    from gateway.accounts.blocked_clients import BlockedClients
    from gateway.cli.database import open_database

    async with open_database(settings) as store:
        return await BlockedClients(store, time.time).lift(client)
