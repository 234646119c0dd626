"""`veriplex sources`: lists, pauses, resumes and tries sources; reports how right each was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.options import Command, CommandGroup, ConfigFile, Json, read_settings
from gateway.cli.tables import print_table
from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE, CommandError, run_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.outcomes.records import OutcomeRecords
    from gateway.settings import Settings
    from gateway.status.sources import TrialResult
    from gateway.upstreams.source.pauses import Pauses

MAX_WRONG = 25
MAX_CANDIDATES = 200
LOCAL = "local"
"""`gateway.settings.LOCAL_SOURCE`, without its import."""

T = TypeVar("T")

sources = typer.Typer(
    cls=CommandGroup,
    help="List, pause, resume and try the sources, and report how right each was.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the source.")]


@sources.command("list", cls=Command)
def list_(ctx: typer.Context, json: Json = False, config: ConfigFile = None) -> None:
    """List the sources of the settings, and which of them are paused.

    Examples:
      veriplex sources list
      veriplex sources list --json
    """
    import json as json_

    settings = read_settings(ctx, config)
    paused = run_async(_with_pauses(settings, _since))
    rows = [(name, kind, _time(paused.get(name))) for name, kind in _sources_of(settings).items()]
    if json:
        for name, kind, at in rows:
            typer.echo(json_.dumps({"name": name, "kind": kind, "paused_at": at or None}))
    else:
        print_table(rows, headings=("source", "dialect", "paused at"))


@sources.command(cls=Command)
def pause(ctx: typer.Context, name: Name, config: ConfigFile = None) -> None:
    """Ask a source no more, in any process, until it is resumed.

    Servers that run obey within two seconds. It is not even asked as a last resort.
    The engine's name is local.

    Examples:
      veriplex sources pause kickbox
    """
    settings = _settings_with(ctx, config, name)
    run_async(_with_pauses(settings, lambda pauses: pauses.pause(name)))
    typer.echo(f"{name} is paused: it is not asked until `veriplex sources resume {name}`.")


@sources.command(cls=Command)
def resume(ctx: typer.Context, name: Name, config: ConfigFile = None) -> None:
    """Ask a paused source again.

    Examples:
      veriplex sources resume kickbox
    """
    settings = _settings_with(ctx, config, name)
    run_async(_with_pauses(settings, lambda pauses: pauses.resume(name)))
    typer.echo(f"{name} is in use again.")


@sources.command("try", cls=Command)
def try_(ctx: typer.Context, name: Name, config: ConfigFile = None) -> None:
    """Ask an upstream for its balance, which costs nothing, and end its rest.

    Servers that run use a key that was refused, or had no credits, again within
    five seconds. The exit code is 0 if all its keys work, else 1.

    Examples:
      veriplex sources try kickbox
    """
    settings = _settings_with(ctx, config, name, secrets=True)
    if name == LOCAL:
        raise CommandError("the engine has no balance; try `veriplex verify`", EXIT_USAGE)
    result = run_async(_try(settings, name))
    typer.echo(f"{name}: {result.text}")
    if not result.works:
        raise typer.Exit(EXIT_FAILURE)


def _sources_of(settings: Settings) -> dict[str, str]:
    """The dialects of the sources by name; that of the engine is `local`, its name too."""
    routes = (settings.routing, *settings.routes)
    is_used = any(LOCAL in settings.sources_of(route) for route in routes)
    upstreams = {each.name: each.dialect for each in settings.upstreams}
    return {LOCAL: LOCAL, **upstreams} if is_used else upstreams


def _settings_with(
    ctx: typer.Context, config: Path | None, name: str, *, secrets: bool = False
) -> Settings:
    """The settings, which have a source of this name. Raises CommandError."""
    settings = read_settings(ctx, config, secrets=secrets)
    known = _sources_of(settings)
    if name not in known:
        hint = f"; the settings have {', '.join(known)}" if known else ""
        raise CommandError(f"there is no source {name!r}{hint}", EXIT_USAGE)
    return settings


async def _with_pauses(settings: Settings, act: Callable[[Pauses], Awaitable[T]]) -> T:
    """Raises CommandError."""
    import time

    from gateway.cli.database import open_database
    from gateway.store import StoreError
    from gateway.upstreams.source.pauses import Pauses

    try:
        async with open_database(settings) as store:
            return await act(Pauses(store, clock=time.time, on_resume=lambda: None))
    except StoreError as exc:
        raise CommandError(str(exc)) from exc


async def _since(pauses: Pauses) -> dict[str, int]:
    await pauses.read()
    return pauses.since


def _time(at: int | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat()


async def _try(settings: Settings, name: str) -> TrialResult:
    import random
    import time

    from adapters.registry import DIALECTS
    from gateway.cli.database import open_database
    from gateway.status.sources import try_upstream
    from gateway.store import StoreError
    from gateway.upstreams.opening import open_upstreams
    from gateway.upstreams.source.states import end_rests

    try:
        async with open_database(settings) as store:
            await end_rests(store, name)
    except StoreError as exc:
        raise CommandError(str(exc)) from exc
    only = settings.model_copy(
        update={"upstreams": tuple(each for each in settings.upstreams if each.name == name)}
    )
    async with open_upstreams(
        only, DIALECTS, clock=time.time, monotonic=time.monotonic, rng=random.SystemRandom()
    ) as (source,):
        return await try_upstream(source)


@sources.command(cls=Command)
def report(
    ctx: typer.Context,
    candidates: Annotated[
        bool,
        typer.Option(
            "--candidates",
            help="Show the replies of mail servers that led the engine to wrong verdicts.",
        ),
    ] = False,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Show, for each source, provider and verdict, how many mails bounced.

    It joins the outcomes that were told (POST /veriplex/v1/outcomes) with what
    the sources had said before. Every share comes with its count and its 95 %
    interval.

    With --candidates it shows what the engine would have to change: replies
    without addresses, hosts and ids, that can be passed on.

    Examples:
      veriplex sources report
      veriplex sources report --json
      veriplex sources report --candidates --json > candidates.json
    """
    from gateway.cli import outcome_tables
    from gateway.outcomes.candidates import candidates_as_dict, read_candidates
    from gateway.outcomes.report import read_report, report_as_dict

    settings = read_settings(ctx, config)
    if candidates:
        found = run_async(_with_records(settings, lambda r: read_candidates(r, MAX_CANDIDATES)))
        if json:
            _echo_json(candidates_as_dict(found))
        else:
            outcome_tables.print_candidates(found)
        return
    figures = run_async(_with_records(settings, lambda r: read_report(r, MAX_WRONG)))
    if json:
        _echo_json(report_as_dict(figures))
    else:
        outcome_tables.print_report(figures)


def _echo_json(body: object) -> None:
    import orjson

    typer.echo(orjson.dumps(body).decode())


async def _with_records(settings: Settings, read: Callable[[OutcomeRecords], Awaitable[T]]) -> T:
    """Raises CommandError."""
    from gateway.cli.database import open_database
    from gateway.outcomes.answers import open_answers
    from gateway.outcomes.records import OutcomeRecords
    from gateway.store import StoreError

    try:
        async with open_database(settings) as store:
            return await read(OutcomeRecords(store, await open_answers(store)))
    except StoreError as exc:
        raise CommandError(str(exc)) from exc
