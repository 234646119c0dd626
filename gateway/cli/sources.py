"""`veriplex sources report`: how right each source was, by what became of the mails."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile, Json, read_settings
from gateway.cli.tables import print_table
from gateway.cli.terminal import run_async

if TYPE_CHECKING:
    from gateway.outcomes.report import OutcomeReport
    from gateway.settings import Settings

MAX_WRONG = 25

sources = typer.Typer(
    cls=CommandGroup,
    help="Show how right each source was, by what became of the mails.",
    no_args_is_help=True,
    add_completion=False,
)


@sources.callback()
def _root() -> None:
    """Makes `report` a subcommand, although it is the only one."""


@sources.command(cls=Command)
def report(ctx: typer.Context, json: Json = False, config: ConfigFile = None) -> None:
    """Show, for each source, provider and verdict, how many mails bounced.

    It joins the outcomes that were told (POST /veriplex/v1/outcomes) with what
    the sources had said before. Every share comes with its count and its 95 %
    interval.

    Examples:
      veriplex sources report
      veriplex sources report --json
    """
    found = run_async(_read(read_settings(ctx, config)))
    if json:
        import orjson

        from gateway.outcomes.report import report_as_dict

        typer.echo(orjson.dumps(report_as_dict(found)).decode())
    else:
        _print(found)


async def _read(settings: Settings) -> OutcomeReport:
    from gateway.cli.database import open_database
    from gateway.cli.terminal import CommandError
    from gateway.outcomes.answers import open_answers
    from gateway.outcomes.records import OutcomeRecords
    from gateway.outcomes.report import read_report
    from gateway.store import StoreError

    try:
        async with open_database(settings) as store:
            records = OutcomeRecords(store, await open_answers(store))
            return await read_report(records, MAX_WRONG)
    except StoreError as exc:
        raise CommandError(str(exc)) from exc


def _print(found: OutcomeReport) -> None:
    from gateway.outcomes import words

    if not found.outcomes:
        sys.stdout.write(
            "No outcomes are known yet. POST /veriplex/v1/outcomes tells what became of mails.\n"
        )
        return
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in found.outcomes.items())
    sys.stdout.write(f"Outcomes: {counts}.\n")
    if not found.verdicts:
        sys.stdout.write("None of these addresses was verified here before.\n")
        return
    sys.stdout.write("\nMail that bounced, by what the source had said before\n")
    print_table(
        [
            (row.source, row.provider or "all", row.verdict.value, words.share(row.bounced))
            for row in found.verdicts
        ],
        headings=("source", "provider", "verdict", "bounced"),
    )
    sys.stdout.write("\nCalibration: the share delivered by the source's score\n")
    print_table(
        [
            (source, f"{band.low}-{band.high}", words.share(band.delivered))
            for source, bands in found.calibration.items()
            for band in bands
        ],
        headings=("source", "score", "delivered"),
    )
    if found.wrong:
        sys.stdout.write("\nReasons for verdicts that were wrong\n")
        print_table(
            [
                (
                    f"{row.count:,}",
                    row.source,
                    f"{row.verdict.value} ({row.reason})",
                    " ".join(filter(None, (row.code, row.text))),
                )
                for row in found.wrong
            ],
            headings=("count", "source", "said", "then"),
        )
