"""`veriplex compare`: asks several sources about the same addresses, and shows which differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.bulk import open_input
from gateway.cli.lists import check_encoding, file_chunks, read_list
from gateway.cli.options import Column, ConfigFile, Encoding, read_settings
from gateway.cli.output_file import OutputFile
from gateway.cli.terminal import EXIT_USAGE, CommandError, run_async

if TYPE_CHECKING:
    from gateway.settings import Settings

SUFFIXES = (".html", ".json", ".csv")
MIN_BUDGET = 0.000001
"""Amounts are counted in millionths."""
MAX_BUDGET = 1e9


def compare(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The addresses: CSV, text (one address a line) or JSON; - is standard input.",
        ),
    ],
    sources: Annotated[
        str,
        typer.Option(
            "--sources",
            metavar="NAMES",
            help="Names of upstreams, and local for the engine, with commas between them.",
        ),
    ],
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            metavar="N",
            min=1,
            help="Ask about N of the addresses, of each mail provider its share.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            metavar="X",
            help="Spend no more than this in the run, in the currency of the settings. If it does"
            " not suffice for all addresses, a sample is taken.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            metavar="COLUMN",
            help="Title of the column that says what became of mail to the address: delivered or"
            " bounced (or 1 or 0).",
            show_default=False,
        ),
    ] = None,
    bounce_rate: Annotated[
        float,
        typer.Option(
            "--bounce-rate",
            metavar="RATE",
            min=0,
            max=1,
            help="With --truth: look for the cheapest mix of sources that surely stays below it.",
        ),
    ] = 0.02,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A report as .html, .json, or .csv (a row an address); default: a table here.",
        ),
    ] = "-",
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Ask anew, also what is known from before this run."),
    ] = False,
    show_addresses: Annotated[
        bool,
        typer.Option("--show-addresses", help="Write addresses instead of their digests."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Decides which sample is taken.")] = 0,
    column: Column = None,
    encoding: Encoding = None,
    config: ConfigFile = None,
) -> None:
    """Ask several sources about the same addresses, and show how they differ.

    The report has verdicts, agreement, unknown rates, latency and cost of each
    source, and with --truth how right each was, for each mail provider. Every
    share comes with its count and its 95 % interval. Answers that are known
    from the same sources are not paid for twice. To resume an interrupted run,
    give the same command again.

    Examples:
      veriplex compare customers.csv --sources local,emailable-main --sample 500
      veriplex compare sent.csv --sources local,zerobounce --truth outcome -o report.html
      veriplex compare list.txt --sources kickbox,zerobounce --budget 5 -o answers.csv
    """
    from gateway.cli.comparison import ComparisonRequest, run_comparison

    settings = read_settings(ctx, config, secrets=True)
    names = tuple(filter(None, (name.strip() for name in sources.split(","))))
    _check_sources(names, settings)
    if budget is not None and not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise CommandError(
            f"--budget: should be from {MIN_BUDGET:f} to {MAX_BUDGET:,.0f}", EXIT_USAGE
        )
    if output != "-" and Path(output).suffix.lower() not in SUFFIXES:
        raise CommandError(f"-o {output}: name it .html, .json or .csv", EXIT_USAGE)
    with open_input(file) as source:
        out = OutputFile(output, force)
        out.check(source)
        request = ComparisonRequest(
            file=file,
            output=out,
            names=names,
            sample=sample,
            budget=budget,
            truth=truth,
            bounce_rate=bounce_rate,
            fresh=fresh,
            show_addresses=show_addresses,
            seed=seed,
            addresses=read_list(
                file, file_chunks(source), column=column, encoding=check_encoding(encoding)
            ),
        )
        run_async(run_comparison(settings, request))


def _check_sources(names: Sequence[str], settings: Settings) -> None:
    from gateway.settings import LOCAL_SOURCE
    from gateway.settings.problems import suggestion

    known = [LOCAL_SOURCE, *(upstream.name for upstream in settings.upstreams)]
    for name in names:
        if name not in known:
            hint = f"{suggestion(name, known)}; known: {', '.join(known)}"
            raise CommandError(f"--sources: no source is named {name!r}{hint}", EXIT_USAGE)
    if len(set(names)) < len(names):
        raise CommandError("--sources: a source is named twice", EXIT_USAGE)
    if len(names) < 2:
        raise CommandError("--sources: name two sources or more", EXIT_USAGE)
