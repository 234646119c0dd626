"""`veriplex cluster`: what the processes of one database do."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import EXIT_FAILURE, CommandError, run_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.processes import ProcessInfo
    from gateway.settings import Settings
    from gateway.store import Store


def cluster(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigFile = None,
) -> None:
    """Show the processes of the database, and the work that waits for them.

    The exit code is 1 if there is work and no process that does it, or if
    the database or the shared store cannot be reached.

    Examples:
      veriplex cluster
      veriplex cluster --json
    """
    settings = read_settings(ctx, config, secrets=True)
    report = run_async(_report(settings))
    typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(_lines(report)))
    if report["problems"]:
        raise typer.Exit(EXIT_FAILURE)


async def _report(settings: Settings) -> dict[str, Any]:
    from gateway.batches.backlog import read_backlog
    from gateway.cli.database import open_database
    from gateway.cluster.clock import DatabaseClock
    from gateway.cluster.opening import open_dispatch
    from gateway.cluster.processes import living_processes
    from gateway.store import StoreError

    try:
        async with open_database(settings) as store:
            clock: Callable[[], float] = time.time
            if not settings.storage.url.startswith("sqlite"):
                clock = database_clock = DatabaseClock()
                await database_clock.read(store)
            now = clock()
            backlog = await read_backlog(store, now)
            processes = await living_processes(store, now)
            dispatch = open_dispatch(settings, (), clock=clock)
            async with store.read() as connection:
                turns = sum((await dispatch.waiting_turns(connection)).values())
                workers = await dispatch.count_workers(connection)
            shared = await _shared_state(settings, store, clock)
    except StoreError as exc:
        raise CommandError(str(exc)) from exc
    # a server works on its file itself
    is_worked_on = bool(processes if workers is None else workers)
    problems = []
    if (backlog.due_chunks or backlog.webhooks_due) and not is_worked_on:
        what = "`veriplex serve`" if workers is None else "`veriplex worker`"
        problems.append(f"there is work, and no process that does it; start {what}")
    if shared == "unreachable":
        problems.append("the shared store cannot be reached")
    return {
        "database": store.where,
        "processes": [_process(each, now) for each in processes],
        "work": {
            "due_chunks": backlog.due_chunks,
            "oldest_due_s": round(backlog.oldest_due_s, 1),
            "chunks_in_flight": backlog.chunks_in_flight,
            "stalled": backlog.expired_leases,
            "turns_waiting": turns,
            "webhooks_due": backlog.webhooks_due,
        },
        "is_worked_on": is_worked_on,
        "shared": shared,
        "problems": problems,
    }


async def _shared_state(settings: Settings, store: Store, clock: Callable[[], float]) -> str:
    """`none`, `ok` or `unreachable`."""
    if not settings.shared.url:
        return "none"
    from gateway.cluster.processes import LivingProcesses, ProcessKind
    from gateway.cluster.shared import open_shared
    from gateway.cluster.shared.keys import SharedStoreAway

    process = LivingProcesses(store, ProcessKind.SERVE, (), clock=clock)
    async with open_shared(settings.shared, store, process, clock=clock) as shared:
        assert shared.store is not None
        try:
            await shared.store.read("cluster")
        except SharedStoreAway:
            return "unreachable"
    return "ok"


def _process(process: ProcessInfo, now: float) -> dict[str, Any]:
    return {
        "kind": process.kind,
        "name": process.name,
        "version": process.version,
        "egresses": sorted(process.egresses),
        "up_s": max(round(now - process.started_at), 0),
        "seen_s": max(round(now - process.seen_at), 0),
    }


def _lines(report: dict[str, Any]) -> list[str]:
    work = report["work"]
    oldest = f", the oldest for {work['oldest_due_s']:,.0f} s" if work["due_chunks"] else ""
    return [
        report["database"],
        "",
        *(map(_process_line, report["processes"]) if report["processes"] else ["no process runs"]),
        "",
        f"chunks due        {work['due_chunks']:,}{oldest}",
        f"chunks in flight  {work['chunks_in_flight']:,}",
        f"stalled           {work['stalled']:,}",
        f"webhooks due      {work['webhooks_due']:,}",
        f"shared store      {report['shared']}",
        *(f"\nproblem: {problem}" for problem in report["problems"]),
    ]


def _process_line(process: dict[str, Any]) -> str:
    egresses = ", ".join(process["egresses"]) or "none"
    return (
        f"{process['kind']:<7} {process['name']}  {process['version']}  egress {egresses}"
        f"  up {process['up_s']:,} s, seen {process['seen_s']} s ago"
    )
