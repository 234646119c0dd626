"""`veriplex serve --workers N`: the supervisor's process, and each worker's part in it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import typer
from prometheus_client import generate_latest

from gateway.cli.announce import Announce, announce
from gateway.cli.listen import open_sockets
from gateway.cli.terminal import EXIT_USAGE, CommandError
from gateway.observability.logs import set_up_logs
from gateway.observability.metrics import MetricsUnavailable
from gateway.observability.redaction import SecretList
from gateway.settings import secrets_in
from gateway.web.server import url_of
from gateway.workers.place import WorkerPlace
from gateway.workers.supervisor import Supervisor
from gateway.workers.totals import Families, FamiliesCollector, to_families
from gateway.workers.worker import NoSum, Worker

if TYPE_CHECKING:
    from gateway.app import Services
    from gateway.settings import Settings


def supervise(settings: Settings, count: int, read_again: Callable[[], Settings]) -> None:
    """Run `count` workers until a signal ends them, each with this process' command line.

    `read_again` raises CommandError for settings that cannot be used. Raises CommandError.
    """
    if not settings.storage.can_be_shared:
        raise CommandError(
            "--workers needs a database that all of them can open: storage.url is in memory",
            EXIT_USAGE,
        )
    sockets = open_sockets(settings, count)
    set_up_logs(settings.log, redact=SecretList(secrets_in(settings)).redact)
    url = url_of(sockets[0], tls=bool(settings.server.ssl_certfile))

    def mistake() -> str | None:
        try:
            read_again()
        except CommandError as exc:
            return str(exc)
        return None

    def print_ready(greeting: Any) -> None:
        steps = [(label, text) for label, text in greeting["steps"]]
        announce(settings.log, steps, workers=count, **greeting["fields"])(url)

    supervisor = Supervisor(
        sockets,
        sys.argv[1:],
        drain_s=settings.server.drain_s,
        on_ready=print_ready,
        check_settings=mistake,
    )
    # asyncio's own loop: uvloop starts no process in a group of its own
    code = asyncio.run(supervisor.run())
    for sock in sockets:
        sock.close()
    if code:
        raise typer.Exit(code)


@contextlib.asynccontextmanager
async def in_place(place: WorkerPlace, services: Services) -> AsyncIterator[Worker]:
    """Be a worker while inside: its metrics are added to those of the others, and they work on each
    other's batches."""
    metrics, batches = services.metrics, services.batch_services

    async def report() -> Families:
        await metrics.refresh()
        return to_families(metrics.registry.collect())

    async with Worker.joined(place, report) as worker:

        async def text_of_all() -> bytes:
            try:
                families = await worker.sum()
            except NoSum as exc:
                raise MetricsUnavailable("The supervisor of the workers does not answer.") from exc
            return generate_latest(FamiliesCollector(families))

        metrics.text_of_all = text_of_all
        batches.operations.tell_siblings = worker.tell_of_work
        worker.on_work = batches.runner.wake
        yield worker


def ready_by(worker: Worker, steps: list[tuple[str, str]], fields: dict[str, str]) -> Announce:
    """Has the supervisor print what a server prints once it listens."""
    return lambda _: worker.ready(steps, fields)
