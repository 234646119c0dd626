"""`veriplex bulk`: verifies a list without a server, and writes it with the results.

The list is a batch like any other, in its own database beside the output (`OUT.part`), so that an
interrupted run can be resumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from adapters.kit.list_file import AddressList, Shape
from gateway.cli.hints import NetworkHints
from gateway.cli.lists import (
    STANDARD_INPUT,
    check_encoding,
    column_words,
    file_chunks,
    print_remarks,
    read_list,
)
from gateway.cli.options import Column, ConfigFile, Encoding, read_settings
from gateway.cli.output_file import OutputFile
from gateway.cli.results import WRITERS, OutputFormat
from gateway.cli.terminal import EXIT_USAGE, CommandError, is_terminal, print_error, run_async

if TYPE_CHECKING:
    from adapters.contract.jobs import Job
    from engine.model import Checks
    from gateway.cli.local_batch import LocalBatch
    from gateway.settings import Settings

REFRESH_S = 0.25
LOOK_PAUSES = 5
"""After a look at what is unfinished, so many times as long as it took."""
OUTPUT_FORMATS = {
    ".jsonl": OutputFormat.JSONL,
    ".ndjson": OutputFormat.JSONL,
    ".json": OutputFormat.JSONL,
}
"""By the suffix of the output; any other is CSV."""
TAB_SUFFIXES = frozenset({".tsv", ".tab"})
"""Of outputs with tabs between cells, whatever is between those of the list."""


def bulk(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV, text (one address a line) or JSON; - is standard input.",
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
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT if it exists, FILE included.")
    ] = False,
    output_format: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format",
            help="Format of the output (default: by the suffix of OUT).",
            show_default=False,
        ),
    ] = None,
    column: Column = None,
    encoding: Encoding = None,
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

    The address column is found by its content and its title, and all columns
    are kept. The output has the delimiter, line ends and encoding of FILE.
    Progress is shown on standard error. To resume an interrupted run, give the
    same command again: finished rows are kept in OUT.part.

    Examples:
      veriplex bulk customers.csv -o verified.csv
      veriplex bulk customers.csv -o verified.jsonl --column "Work e-mail"
      veriplex bulk excel.csv -o verified.csv --encoding cp1252
      veriplex bulk - < addresses.txt > verified.csv
    """
    from engine.model import Checks

    settings = read_settings(ctx, config, probing=True)
    checks = Checks(smtp=not no_smtp, catch_all=not (no_smtp or no_catch_all))
    wanted = output_format or OUTPUT_FORMATS.get(Path(output).suffix.lower(), OutputFormat.CSV)
    encoding = check_encoding(encoding)
    with open_input(file) as source:
        out = OutputFile(output, force)
        out.check(source)
        request = _BulkRequest(
            file, source, out, wanted, column, encoding, checks, not no_retries, raw
        )
        run_async(_run_bulk(settings, request))


@dataclass(frozen=True, slots=True)
class _BulkRequest:
    """The command's arguments."""

    name: str
    source: BinaryIO
    output: OutputFile
    output_format: OutputFormat
    column: str | None
    encoding: str | None
    checks: Checks
    retry_greylisted: bool
    raw: bool

    def read(self) -> AddressList:
        return read_list(
            self.name, file_chunks(self.source), column=self.column, encoding=self.encoding
        )

    def digest(self) -> str:
        """A digest of everything that must be equal for a run to be resumed."""
        digest = hashlib.sha256()
        for chunk in file_chunks(self.source)():
            digest.update(chunk)
        options = (self.column, self.encoding, self.checks, self.retry_greylisted)
        digest.update(repr(options).encode())
        return digest.hexdigest()


@contextlib.contextmanager
def open_input(name: str) -> Iterator[BinaryIO]:
    """The file, or a copy of what can be read once. Raises CommandError."""
    with contextlib.ExitStack() as stack:
        try:
            if name != "-":
                file: BinaryIO = stack.enter_context(open(name, "rb"))
            else:
                if is_terminal(sys.stdin):
                    print_error("reading addresses from standard input; Ctrl-D ends them")
                file = sys.stdin.buffer
            if name == "-" or not file.seekable():
                copy = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(file, copy)
                file = copy
        except OSError as exc:
            shown = STANDARD_INPUT if name == "-" else name
            raise CommandError(f"{shown}: cannot read: {exc.strerror}", EXIT_USAGE) from exc
        yield file


async def _run_bulk(settings: Settings, request: _BulkRequest) -> None:
    from gateway.cli.local_batch import open_local_batch
    from gateway.settings.egress import probe_config
    from gateway.store import StoreError

    part = request.output.part
    keep = False
    try:
        async with open_local_batch(settings, part) as batch:
            keep = await batch.existing_job() is not None
            job = await _submit_or_resume(batch, request, part)
            keep = True
            summary = await _run_to_end(batch, job, request) if job.row_count else ""
            hints = NetworkHints(probe_config(settings))
            await _write_results(batch, job, request, hints)
            hints.observe_egresses(batch.egresses)
            keep = False
    except StoreError as exc:
        raise CommandError(str(exc)) from exc
    finally:
        if part and not keep:
            _remove_part(part)
    for line in (summary, *hints.lines(), _last_line(job, request)):
        if line:
            print_error(line)


def _remove_part(part: str) -> None:
    for end in ("", "-wal", "-shm"):
        Path(part + end).unlink(missing_ok=True)


def _last_line(job: Job, request: _BulkRequest) -> str:
    """Where the addresses came from and where the result is, as far as that is not plain."""
    shown = STANDARD_INPUT if request.name == "-" else request.name
    came_from = _column_words(job) if job.row_count else f"no addresses in {shown}"
    went_to = "" if request.output.is_stdout else f"→ {request.output.name}"
    return "  ".join(filter(None, (came_from, went_to)))


def _column_words(job: Job) -> str:
    return column_words(job.headers, job.options["email_at"], job.options["other_columns"])


async def _submit_or_resume(batch: LocalBatch, request: _BulkRequest, part: str) -> Job:
    """The batch of an earlier run, or a new one."""
    digest = await asyncio.to_thread(request.digest)
    job = await batch.existing_job()
    if job is None:
        found = await asyncio.to_thread(request.read)
        job = await _submit(batch, found, request, digest)
        print_remarks(request.name, found.remarks)
    elif job.options.get("digest") != digest:
        raise CommandError(
            f"{part} belongs to another list or to other options; remove it to start again",
            EXIT_USAGE,
        )
    elif job.done_count:
        print_error(f"resuming after {job.done_count:,} of {job.row_count:,}")
    return job


async def _submit(batch: LocalBatch, found: AddressList, request: _BulkRequest, digest: str) -> Job:
    from adapters.contract.problems import Problem

    try:
        return await batch.submit(
            found.entries,
            headers=found.headers,
            checks=request.checks,
            retries=request.retry_greylisted,
            options={
                "digest": digest,
                "email_at": found.email_at,
                "other_columns": found.other_columns,
                "shape": asdict(found.shape),
            },
        )
    except Problem as exc:
        raise CommandError(f"{request.name}: {exc.detail}", EXIT_USAGE) from exc


async def _run_to_end(batch: LocalBatch, job: Job, request: _BulkRequest) -> str:
    """Verify the batch; returns a summary."""
    from gateway.cli.progress import (
        MAX_WAITED_FOR,
        ProgressDisplay,
        format_counts,
        format_duration,
    )

    loop = asyncio.get_running_loop()
    began = next_look_at = loop.time()
    before = job.done_count
    shown, waiting_for = -1, list[str]()
    try:
        async with ProgressDisplay(sys.stderr, total=job.row_count) as progress, batch.running():
            while not job.state.is_final:
                if job.done_count != shown and loop.time() >= next_look_at:
                    shown, asked_at = job.done_count, loop.time()
                    waiting_for = await batch.unfinished_domains(job, limit=MAX_WAITED_FOR)
                    # of a million rows all are looked through, which takes a second or more
                    next_look_at = loop.time() + LOOK_PAUSES * (loop.time() - asked_at)
                progress.update(job.done_count, format_counts(job.counts), waiting_for)
                await asyncio.sleep(REFRESH_S)
                job = await batch.get_job()
    except asyncio.CancelledError:
        job = await asyncio.shield(batch.get_job())
        stopped = f"stopped after {job.done_count:,} of {job.row_count:,}"
        print_error("; ".join(filter(None, (stopped, _column_words(job), _how_to_go_on(request)))))
        raise
    seconds = loop.time() - began
    rate = (job.done_count - before) / seconds if seconds else 0.0
    verified = f"{job.done_count:,} verified in {format_duration(round(seconds))}"
    return "  ".join([verified, f"{rate:,.0f}/s", format_counts(job.counts)]).rstrip()


def _how_to_go_on(request: _BulkRequest) -> str:
    if part := request.output.part:
        return f"the same command goes on from here ({part})"
    return "nothing was kept; with -o FILE the same command would go on"


async def _write_results(
    batch: LocalBatch, job: Job, request: _BulkRequest, hints: NetworkHints
) -> None:
    shape = Shape(**job.options["shape"])
    if Path(request.output.name).suffix.lower() in TAB_SUFFIXES:
        shape = replace(shape, delimiter="\t")
    writer = WRITERS[request.output_format](
        job.headers, job.options["email_at"], shape, raw=request.raw
    )
    with request.output.open() as file:
        file.write(writer.header)
        async for row in batch.rows(job):
            file.write(writer.render_row(row))
            hints.observe(row.verification)
