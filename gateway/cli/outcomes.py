"""`veriplex outcomes import`: what became of mails, from the bounces in a mailbox."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile, Json, read_settings
from gateway.cli.terminal import EXIT_USAGE, CommandError, run_async

if TYPE_CHECKING:
    from gateway.outcomes.importing import ImportTallies
    from gateway.settings import Settings

outcomes = typer.Typer(
    cls=CommandGroup,
    help="Tell what became of mails, by the bounces in a mailbox.",
    no_args_is_help=True,
    add_completion=False,
)


@outcomes.callback()
def _root() -> None:
    """Makes `import` a subcommand, although it is the only one."""


@outcomes.command("import", cls=Command)
def import_(
    ctx: typer.Context,
    mailbox: Annotated[
        Path, typer.Argument(metavar="MAILBOX", help="A file (mbox) or a folder (Maildir).")
    ],
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Read the bounces in a mailbox, and join them with what the sources said.

    Nothing in the mailbox is changed. A message that is imported twice counts
    once; an interrupted run goes on where it stopped.

    Examples:
      veriplex outcomes import /var/mail/bounces
      veriplex outcomes import ~/Maildir --json
    """
    settings = read_settings(ctx, config)
    if not settings.outcomes.keep_days:
        raise CommandError("outcomes.keep_days is 0, so that no outcomes are kept", EXIT_USAGE)
    if not mailbox.exists():
        raise CommandError(f"there is no mailbox {mailbox}", EXIT_USAGE)
    try:
        tallies = run_async(_import(settings, mailbox))
    except KeyboardInterrupt:
        sys.stderr.write("The same command goes on from here.\n")
        raise
    if json:
        import orjson

        typer.echo(orjson.dumps(asdict(tallies)).decode())
    else:
        typer.echo(summary(tallies))


def summary(tallies: ImportTallies) -> str:
    lines = [
        f"Messages read: {tallies.messages:,}, of which {tallies.with_outcomes:,} told what became"
        " of a mail.",
        f"Outcomes: {tallies.outcomes:,}, of which {tallies.joined:,} are of addresses that were"
        " verified here.",
    ]
    if tallies.not_understood:
        lines.append(f"No report that is understood: {tallies.not_understood:,}.")
    if tallies.unreadable:
        lines.append(f"Could not be opened: {tallies.unreadable:,}.")
    return "\n".join(lines)


async def _import(settings: Settings, mailbox: Path) -> ImportTallies:
    """Raises CommandError."""
    import time

    from gateway.cli.database import open_database
    from gateway.cli.progress import ProgressDisplay
    from gateway.outcomes.answers import open_answers
    from gateway.outcomes.events.terms import MissingExtra
    from gateway.outcomes.importing import MailboxImport
    from gateway.outcomes.mailboxes import NoMailbox
    from gateway.outcomes.records import OutcomeRecords
    from gateway.store import StoreError

    try:
        async with open_database(settings) as store, ProgressDisplay(sys.stderr) as progress:
            records = OutcomeRecords(store, await open_answers(store))

            def show(tallies: ImportTallies) -> None:
                progress.update(tallies.messages, f"{tallies.outcomes:,} outcomes")

            return await MailboxImport(store, records, clock=time.time).run(mailbox, show)
    except (MissingExtra, NoMailbox, StoreError) as exc:
        raise CommandError(str(exc)) from exc
    except OSError as exc:
        raise CommandError(f"cannot read {mailbox}: {exc.strerror or exc}") from exc
