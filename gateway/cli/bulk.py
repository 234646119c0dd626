"""`veriplex bulk`: verifies a list without a server, and writes it with the results.

The list is a batch like any other, in its own database beside the output (`OUT.part`), so that an
interrupted run can be resumed.
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
from gateway.cli.results import WRITERS, OutputFormat
from gateway.cli.terminal import EXIT_USAGE, CommandError, print_error, run_async
from gateway.store.private_files import private_opener

if TYPE_CHECKING:
    from adapters.contract.jobs import Job
    from engine.model import Checks
    from gateway.cli.local_batch import LocalBatch
    from gateway.settings import Settings

REFRESH_S = 0.25
PART_SUFFIX = ".part"
"""The database of an unfinished run has the output's name with this suffix."""
OUTPUT_FORMATS = {
    ".csv": OutputFormat.CSV,
    ".tsv": OutputFormat.CSV,
    ".txt": OutputFormat.CSV,
    ".jsonl": OutputFormat.JSONL,
    ".ndjson": OutputFormat.JSONL,
    ".json": OutputFormat.JSONL,
}


def bulk(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV, text (one address a line) or JSON lines; - is standard input.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Output file: JSON lines if it ends in .jsonl, else CSV; - is standard output.",
        ),
    ] = "-",
    output_format: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format",
            help="Format of the output (default: by the suffix of OUT).",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the address column (default: found by name or content).",
            show_default=False,
        ),
    ] = None,
    no_retries: Annotated[
        bool, typer.Option("--no-retries", help="Do not retry addresses that are refused for now.")
    ] = False,
    no_smtp: Annotated[
        bool, typer.Option("--no-smtp", help="Stop after DNS; contact no mail server.")
    ] = False,
    no_catch_all: Annotated[
        bool,
        typer.Option("--no-catch-all", help="Do not test whether domains accept every address."),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Leave cells that a spreadsheet would run as a formula (default: an apostrophe"
            " before them makes them text).",
        ),
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Verify a list of addresses, and write it with the results.

    The address column is found by its name or its content, and all columns
    are kept. Progress is shown on standard error. To resume an interrupted
    run, give the same command again: finished rows are kept in OUT.part.

    Examples:
      veriplex bulk customers.csv -o verified.csv
      veriplex bulk customers.csv -o verified.jsonl --column "Work e-mail"
      veriplex bulk - < addresses.txt > verified.csv
    """
    from engine.model import Checks

    settings = read_settings(ctx, config, probing=True)
    checks = Checks(smtp=not no_smtp, catch_all=not (no_smtp or no_catch_all))
    wanted = output_format or OUTPUT_FORMATS.get(Path(output).suffix.lower(), OutputFormat.CSV)
    with _open_input(file) as source:
        if output != "-" and not Path(output).absolute().parent.is_dir():
            raise CommandError(f"{output}: there is no folder {Path(output).parent}", EXIT_USAGE)
        request = _BulkRequest(file, source, output, wanted, column, checks, not no_retries, raw)
        run_async(_run_bulk(settings, request))


@dataclass(frozen=True, slots=True)
class _BulkRequest:
    """The command's arguments."""

    name: str
    source: BinaryIO
    output: str
    output_format: OutputFormat
    column: str | None
    checks: Checks
    retry_greylisted: bool
    raw: bool

    def read_entries(self) -> AddressList:
        self.source.seek(0)
        return read_list(self.name, self.source, self.column)

    def digest(self) -> str:
        """A digest of everything that must be equal for a run to be resumed."""
        self.source.seek(0)
        digest = hashlib.sha256()
        while chunk := self.source.read(1 << 20):
            digest.update(chunk)
        digest.update(repr((self.column, self.checks, self.retry_greylisted)).encode())
        return digest.hexdigest()


@contextlib.contextmanager
def _open_input(name: str) -> Iterator[BinaryIO]:
    """The file, or a copy of standard input. Raises CommandError."""
    if name != "-":
        try:
            with open(name, "rb") as file:
                yield file
        except OSError as exc:
            raise CommandError(f"{name}: cannot read: {exc.strerror}", EXIT_USAGE) from exc
        return
    with tempfile.TemporaryFile() as copy:
        while chunk := sys.stdin.buffer.read(1 << 20):
            copy.write(chunk)
        yield copy


async def _run_bulk(settings: Settings, request: _BulkRequest) -> None:
    from gateway.cli.local_batch import open_local_batch
    from gateway.store import StoreError

    part = "" if request.output == "-" else request.output + PART_SUFFIX
    keep = False
    try:
        async with open_local_batch(settings, part) as batch:
            keep = await batch.existing_job() is not None
            job = await _submit_or_resume(batch, request, part)
            keep = True
            job = await _run_to_end(batch, job)
            await _write_results(batch, job, request)
            keep = False
    except StoreError as exc:
        raise CommandError(str(exc)) from exc
    finally:
        if part and not keep:
            _remove_part(part)


def _remove_part(part: str) -> None:
    for end in ("", "-wal", "-shm"):
        Path(part + end).unlink(missing_ok=True)


async def _submit_or_resume(batch: LocalBatch, request: _BulkRequest, part: str) -> Job:
    """The batch of an earlier run, or a new one."""
    digest = await asyncio.to_thread(request.digest)
    job = await batch.existing_job()
    if job is None:
        found = request.read_entries()
        job = await batch.submit(
            found.entries,
            headers=found.headers,
            checks=request.checks,
            retries=request.retry_greylisted,
            options={"digest": digest, "form": found.format},
        )
    elif job.options["digest"] != digest:
        raise CommandError(
            f"{part} belongs to another list or to other options; remove it to start again",
            EXIT_USAGE,
        )
    elif job.done_count:
        print_error(f"resuming after {job.done_count:,} of {job.row_count:,}")
    return job


async def _run_to_end(batch: LocalBatch, job: Job) -> Job:
    from gateway.cli.progress import ProgressDisplay, format_duration, format_verdicts

    began = asyncio.get_running_loop().time()
    before = job.done_count
    try:
        async with ProgressDisplay(sys.stderr, total=job.row_count) as progress, batch.running():
            while not job.state.is_final:
                progress.update(job.done_count, format_verdicts(job.counts))
                await asyncio.sleep(REFRESH_S)
                job = await batch.get_job()
    except asyncio.CancelledError:
        job = await asyncio.shield(batch.get_job())
        print_error(f"stopped after {job.done_count:,} of {job.row_count:,}")
        raise
    seconds = asyncio.get_running_loop().time() - began
    rate = (job.done_count - before) / seconds if seconds else 0.0
    verified = f"{job.done_count:,} verified in {format_duration(round(seconds))}"
    print_error("  ".join([verified, f"{rate:,.0f}/s", format_verdicts(job.counts)]).rstrip())
    return job


async def _write_results(batch: LocalBatch, job: Job, request: _BulkRequest) -> None:
    writer = WRITERS[request.output_format](job.headers, raw=request.raw)

    async def pieces() -> AsyncIterator[bytes]:
        yield writer.header
        async for row in batch.rows(job):
            yield writer.render_row(row)

    if request.output == "-":
        out = sys.stdout.buffer
        async for piece in pieces():
            out.write(piece)
        out.flush()
        return
    with _atomic_file(request.output) as file:
        async for piece in pieces():
            file.write(piece)


@contextlib.contextmanager
def _atomic_file(name: str) -> Iterator[BinaryIO]:
    """A file that appears only when it is complete. Raises CommandError."""
    unfinished = Path(name + ".tmp")
    try:
        unfinished.unlink(missing_ok=True)  # of an earlier run, with permissions of its own
        with open(unfinished, "xb", opener=private_opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(name)
    except OSError as exc:
        raise CommandError(f"{name}: cannot write: {exc.strerror}") from exc
