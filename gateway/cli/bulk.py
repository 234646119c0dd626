"""`veriplex bulk`: a list in, the same list with verdicts out, without a server.

The list is a batch like any other, in a database of its own beside the output (`OUT.part`), so
that an interrupted run goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from gateway.cli.lists import AddressList, read_list
from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.results import WRITERS, OutputForm
from gateway.cli.terminal import USAGE, Refusal, complain, run

if TYPE_CHECKING:
    from adapters.contract.jobs import Job
    from engine.model import Checks
    from gateway.cli.local_batch import LocalBatch
    from gateway.settings import Settings

SHOW_EVERY_S = 0.25
PART = ".part"
"""Follows the output's name in that of the unfinished run."""
OUTPUT_FORMS = {
    ".csv": OutputForm.CSV,
    ".tsv": OutputForm.CSV,
    ".txt": OutputForm.CSV,
    ".jsonl": OutputForm.JSONL,
    ".ndjson": OutputForm.JSONL,
    ".json": OutputForm.JSONL,
}


def bulk(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV, TXT or JSON lines; - is standard input.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Where results go: CSV, or JSON lines if it ends in .jsonl; - is standard output.",
        ),
    ] = "-",
    form: Annotated[
        OutputForm | None,
        typer.Option(
            "--format", help="How results are written; else by OUT's suffix.", show_default=False
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The column with the addresses; else it is found.",
            show_default=False,
        ),
    ] = None,
    no_retries: Annotated[
        bool, typer.Option("--no-retries", help="Do not ask greylisted addresses again later.")
    ] = False,
    no_smtp: Annotated[
        bool, typer.Option("--no-smtp", help="Stop after DNS; ask no mail server.")
    ] = False,
    no_catch_all: Annotated[
        bool,
        typer.Option("--no-catch-all", help="Do not ask whether domains accept everything."),
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Verify a list of addresses, and write it with what was found out.

    The column with the addresses is found by its name or by what is in it; the other columns
    are kept. Progress goes to standard error. A run that was interrupted goes on when the
    same command is given again: what is done is kept in OUT.part.

    Examples:
      veriplex bulk customers.csv -o verified.csv
      veriplex bulk customers.csv -o verified.jsonl --column "Work e-mail"
      veriplex bulk - < addresses.txt > verified.csv
    """
    from engine.model import Checks

    settings = read_settings(ctx, config)
    checks = Checks(smtp=not no_smtp, catch_all=not (no_smtp or no_catch_all))
    wanted = form or OUTPUT_FORMS.get(Path(output).suffix.lower(), OutputForm.CSV)
    with _opened(file) as source:
        if output != "-" and not Path(output).absolute().parent.is_dir():
            raise Refusal(f"{output}: there is no folder {Path(output).parent}", USAGE)
        asked = _Asked(file, source, output, wanted, column, checks, not no_retries)
        run(_bulk(settings, asked))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The command as it was given."""

    name: str
    source: BinaryIO
    output: str
    form: OutputForm
    column: str | None
    checks: Checks
    retries: bool

    def entries(self) -> AddressList:
        self.source.seek(0)
        return read_list(self.name, self.source, self.column)

    def digest(self) -> str:
        """What must be the same for a run to go on."""
        self.source.seek(0)
        digest = hashlib.sha256()
        while chunk := self.source.read(1 << 20):
            digest.update(chunk)
        digest.update(repr((self.column, self.checks, self.retries)).encode())
        return digest.hexdigest()


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """The file, or what standard input holds. Raises Refusal."""
    if name != "-":
        try:
            with open(name, "rb") as file:
                yield file
        except OSError as exc:
            raise Refusal(f"{name}: cannot read: {exc.strerror}", USAGE) from exc
        return
    with tempfile.TemporaryFile() as kept:
        while chunk := sys.stdin.buffer.read(1 << 20):
            kept.write(chunk)
        yield kept


async def _bulk(settings: Settings, asked: _Asked) -> None:
    from gateway.cli.local_batch import open_local_batch
    from gateway.store import StoreError

    part = "" if asked.output == "-" else asked.output + PART
    keep = False
    try:
        async with open_local_batch(settings, part) as batch:
            keep = await batch.earlier() is not None
            job = await _taken_in(batch, asked, part)
            keep = True
            job = await _worked_on(batch, job)
            await _write(batch, job, asked)
            keep = False
    except StoreError as exc:
        raise Refusal(str(exc)) from exc
    finally:
        if part and not keep:
            _remove(part)


def _remove(part: str) -> None:
    for end in ("", "-wal", "-shm"):
        Path(part + end).unlink(missing_ok=True)


async def _taken_in(batch: LocalBatch, asked: _Asked, part: str) -> Job:
    """The batch of an earlier run, or a new one."""
    digest = await asyncio.to_thread(asked.digest)
    job = await batch.earlier()
    if job is None:
        found = asked.entries()
        job = await batch.submit(
            found.entries,
            headers=found.headers,
            checks=asked.checks,
            retries=asked.retries,
            options={"digest": digest, "form": found.form},
        )
    elif job.options["digest"] != digest:
        raise Refusal(
            f"{part} belongs to another list or to other options; remove it to begin anew", USAGE
        )
    elif job.done:
        complain(f"going on after {job.done:,} of {job.rows:,}")
    return job


async def _worked_on(batch: LocalBatch, job: Job) -> Job:
    from gateway.cli.gauge import Gauge, duration, verdicts

    gauge = Gauge(sys.stderr)
    began = asyncio.get_running_loop().time()
    before = job.done
    try:
        async with batch.working():
            while not job.state.over:
                gauge.show(job.done, job.rows, job.counts)
                await asyncio.sleep(SHOW_EVERY_S)
                job = await batch.show()
    except asyncio.CancelledError:
        gauge.clear()
        job = await asyncio.shield(batch.show())
        complain(f"stopped after {job.done:,} of {job.rows:,}")
        raise
    gauge.clear()
    seconds = asyncio.get_running_loop().time() - began
    rate = (job.done - before) / seconds if seconds else 0.0
    told = "  ".join([f"{job.done:,} verified in {duration(round(seconds))}", f"{rate:,.0f}/s"])
    complain("  ".join([told, *verdicts(job.counts)]))
    return job


async def _write(batch: LocalBatch, job: Job, asked: _Asked) -> None:
    writer = WRITERS[asked.form](job.headers)

    async def pieces() -> AsyncIterator[bytes]:
        yield writer.head
        async for row in batch.rows(job):
            yield writer.row(row)

    if asked.output == "-":
        out = sys.stdout.buffer
        async for piece in pieces():
            out.write(piece)
        out.flush()
        return
    with _whole(asked.output) as file:
        async for piece in pieces():
            file.write(piece)


@contextlib.contextmanager
def _whole(name: str) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all: nobody reads half a result. Raises Refusal."""
    unfinished = Path(name + ".tmp")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(name)
    except OSError as exc:
        raise Refusal(f"{name}: cannot write: {exc.strerror}") from exc
