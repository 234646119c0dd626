"""A new batch: a list is uploaded, its column and its price are shown, and then it is submitted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adapters.contract.batch_rules import MAX_ENTRY_CHARACTERS, BilledUnit
from adapters.contract.dialect import Dialect
from adapters.contract.jobs import BatchEntry, Job
from adapters.contract.operations import ShowAccount, SubmitJob
from adapters.contract.problems import Problem
from adapters.kit.csv import MAX_LINES, NotCsv
from adapters.kit.list_file import ListOptions, read_list
from gateway.accounts.console_access import Role
from gateway.batches.model import rules_of
from gateway.batches.oversight import BatchOversight, BatchSummary
from gateway.batches.uploads import Uploads
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Visit

if TYPE_CHECKING:
    from gateway.accounts.accounts import Accounts, KeyInfo
    from gateway.accounts.caller import Caller

MAX_FILE_BYTES = 25 * 1024 * 1024
MAX_KEYS_SHOWN = 500
SAMPLE_ROWS = 5
MAX_CELLS = 1_000
MAX_CELL_CHARACTERS = 10_000
MAX_NAME_CHARACTERS = 255
MAX_RETRIED = 50_000
"""Addresses that are verified again at a time."""
OPTIONS = ListOptions(
    otherwise="cp1252",  # in which Excel saves "CSV" on Windows
    max_lines=MAX_LINES,
    max_cells=MAX_CELLS,
    max_cell_characters=MAX_CELL_CHARACTERS,
)
EMAIL_HEADER = "email"
LOST = "The list is not here any more. Upload it again."


@dataclass(frozen=True, slots=True)
class Preview:
    """What an uploaded list holds."""

    headers: tuple[str, ...]
    email_at: int
    sample: tuple[tuple[str, ...], ...]
    addresses: int
    different: int
    """Without repeated ones."""
    remarks: str = ""


class BatchUpload:
    def __init__(
        self, services: ConsoleServices, accounts: Accounts, batches: BatchOversight
    ) -> None:
        self._services = services
        self._accounts = accounts
        self._batches = batches
        self._dialects = {
            dialect.name: dialect
            for dialect in services.dialects
            if dialect.batch_rules is not None
        }
        self._uploads = Uploads()

    def routes(self) -> tuple[PageRoute, ...]:
        return (
            PageRoute("/batches/new", self.show, role=Role.OPERATOR),
            PageRoute("/batches/new", self.upload, "POST", max_body_bytes=MAX_FILE_BYTES + 65_536),
            PageRoute("/batches/new/{token}", self.preview, role=Role.OPERATOR),
            PageRoute("/batches/new/{token}", self.submit, "POST"),
            PageRoute("/batches/{id:number}/again", self.show_again, role=Role.OPERATOR),
            PageRoute("/batches/{id:number}/again", self.submit_again, "POST"),
        )

    async def show(self, visit: Visit, error: str = "") -> Response:
        """The form for a file."""
        return visit.render(
            "batch_new.html",
            400 if error else 200,
            keys=await self._keys(),
            dialects=self._dialects,
            megabytes=MAX_FILE_BYTES // 1024**2,
            error=error,
        )

    async def _keys(self) -> list[KeyInfo]:
        """Live keys, with which batches can be submitted."""
        found = [
            key
            for key in await self._accounts.list_keys()
            if key.revoked_at is None and not key.test and key.dialect in self._dialects
        ]
        return found[:MAX_KEYS_SHOWN]

    async def upload(self, visit: Visit) -> Response:
        """Store the file, and lead to its columns; nothing is verified or charged."""
        file = visit.form.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            return await self.show(visit, "Choose a file with addresses.")
        key = visit.text("key")
        try:
            token = await asyncio.to_thread(self._uploads.save, file.file)
            await asyncio.to_thread(self._preview, token, None)
        except NotCsv as exc:
            await asyncio.to_thread(self._uploads.remove, token)
            return await self.show(visit, _list_problem(exc))
        except OSError as exc:
            return await self.show(visit, f"The list cannot be stored: {exc.strerror}.")
        name = file.filename[:MAX_NAME_CHARACTERS]
        return visit.redirect(f"/batches/new/{token}?{_query(key=key, name=name)}")

    async def preview(self, visit: Visit, error: str = "") -> Response:
        """The columns of a list, the one with the addresses, and the price."""
        token = visit.request.path_params["token"]
        source = visit.form if error else visit.query
        key, name = str(source.get("key", "")), str(source.get("name", ""))
        if not await asyncio.to_thread(self._uploads.has, token):
            return await self.show(visit, LOST)
        column = str(source.get("column", "")) or None
        try:
            found = await asyncio.to_thread(self._preview, token, column)
        except NotCsv as exc:
            return await self.show(visit, _list_problem(exc))
        except OSError:
            return await self.show(visit, LOST)
        caller, dialect = await self._caller(key)
        if caller is None or dialect is None:
            return await self.show(visit, "Choose a key: its account pays, and owns the batch.")
        rules = rules_of(dialect)
        billed = found.different if rules.merge_duplicates else found.addresses
        return visit.render(
            "batch_preview.html",
            400 if error else 200,
            token=token,
            key=key,
            name=name,
            found=found,
            caller=caller,
            dialect=dialect,
            error=error,
            billed=billed,
            merges=rules.merge_duplicates,
            is_highest=rules.billed_unit is BilledUnit.VALID or bool(rules.refund_word),
            **await self._price(caller, dialect, billed),
        )

    async def submit(self, visit: Visit) -> Response:
        """Submit the list as it was shown."""
        token = visit.request.path_params["token"]
        caller, dialect = await self._caller(visit.text("key"))
        if caller is None or dialect is None:
            return await self.show(visit, "This key was revoked.")
        if not await asyncio.to_thread(self._uploads.has, token):
            return await self.show(visit, LOST)
        try:
            headers, entries = await asyncio.to_thread(
                self._entries, token, visit.text("column") or None
            )
            job = await self._submit(
                caller,
                dialect,
                SubmitJob(
                    entries=entries,
                    headers=headers,
                    name=visit.text("name")[:MAX_NAME_CHARACTERS],
                    retry_greylisted=bool(visit.text("retry")),
                ),
            )
        except NotCsv as exc:
            return await self.preview(visit, _list_problem(exc))
        except Problem as problem:
            return await self.preview(visit, _problem_words(problem))
        except OSError:
            return await self.show(visit, LOST)
        await asyncio.to_thread(self._uploads.remove, token)
        return await self._lead_to(visit, job, dialect, "batch.submit")

    # -- the unknown ones again ----------------------------------------------------------

    async def show_again(self, visit: Visit, error: str = "") -> Response:
        """How many addresses of a batch are unknown, and what it costs to verify them again."""
        summary, job = await self._find(visit)
        count = await self._batches.count_unknown(summary.id, MAX_RETRIED)
        caller, dialect = await self._caller(str(summary.key_id))
        return visit.render(
            "batch_again.html",
            400 if error else 200,
            batch=summary,
            job=job,
            count=count,
            limit=MAX_RETRIED,
            caller=caller,
            error=error,
            **(await self._price(caller, dialect, count) if caller and dialect else {}),
        )

    async def submit_again(self, visit: Visit) -> Response:
        """Submit the unknown addresses of a batch as another batch of the same key."""
        summary, job = await self._find(visit)
        entries = await self._batches.unknown_entries(summary.id, MAX_RETRIED)
        caller, dialect = await self._caller(str(summary.key_id))
        if caller is None or dialect is None:
            return await self.show_again(visit, "The key of this batch was revoked.")
        op = SubmitJob(
            entries=entries,
            headers=job.headers,
            name=f"{job.name or job.id}, unknown ones again"[:MAX_NAME_CHARACTERS],
            options=job.options,
        )
        try:
            again = await self._submit(caller, dialect, op)
        except Problem as problem:
            return await self.show_again(visit, _problem_words(problem))
        return await self._lead_to(visit, again, dialect, "batch.again")

    async def _find(self, visit: Visit) -> tuple[BatchSummary, Job]:
        try:
            return await self._batches.find(visit.request.path_params["id"])
        except (Problem, OverflowError):
            raise HTTPException(404) from None

    # -- what both have in common --------------------------------------------------------

    async def _caller(self, key: str) -> tuple[Caller | None, Dialect | None]:
        known = key.isdecimal() and len(key) < 10
        caller = await self._accounts.find_caller(int(key)) if known else None
        if caller is None or caller.test:
            return None, None
        return caller, self._dialects.get(caller.dialect)

    async def _submit(self, caller: Caller, dialect: Dialect, op: SubmitJob) -> Job:
        """Raises `Problem`, NotCsv and OSError."""
        return (await self._services.service.run(dialect, caller, op)).outcome

    async def _lead_to(self, visit: Visit, job: Job, dialect: Dialect, action: str) -> Response:
        found, _ = await self._batches.find_page(job.id, [], offset=0, limit=10)
        batch = next((each for each in found if each.dialect.name == dialect.name), None)
        visit.log_change(action, job_id=job.id, dialect=dialect.name, addresses=job.total)
        path = "/batches" if batch is None else f"/batches/{batch.id}"
        return visit.redirect(path, f"{job.total:,} addresses are being verified.")

    async def _price(self, caller: Caller, dialect: Dialect, addresses: int) -> dict[str, object]:
        account = (await self._services.service.run(dialect, caller, ShowAccount())).outcome
        settings = self._services.settings
        dearest = 0.0
        if settings is not None:
            routing = next(
                (route for route in settings.routes if caller.key_label in route.keys),
                settings.routing,
            )
            names = settings.sources_of(routing)
            prices = [each.price for each in settings.upstreams if each.name in names]
            dearest = max(prices, default=0.0)
        return {
            "credits": account.credits,
            "cost": dearest * addresses,
            "is_covered": account.credits is None or account.credits >= addresses,
        }

    # -- reading a list, in a thread -----------------------------------------------------

    def _preview(self, token: str, column: str | None) -> Preview:
        """Raises NotCsv and OSError."""
        found = read_list(partial(self._uploads.chunks, token), _options(column))
        headers = found.headers or (EMAIL_HEADER,)
        first = list(islice(found.entries, SAMPLE_ROWS))
        addresses = 0
        different: set[int] = set()
        for entry in chain(first, found.entries):
            if entry.email:
                addresses += 1
                different.add(hash(entry.email.lower()))
        sample = tuple((entry.cells or (entry.email,))[: len(headers)] for entry in first)
        return Preview(headers, found.email_at, sample, addresses, len(different))

    def _entries(
        self, token: str, column: str | None
    ) -> tuple[tuple[str, ...], Iterator[BatchEntry]]:
        """The titles, and the rows that have an address. Iterating raises NotCsv and OSError."""
        found = read_list(partial(self._uploads.chunks, token), _options(column))
        headers = list(found.headers or (EMAIL_HEADER,))
        if headers[found.email_at] == f"col{found.email_at}":
            headers[found.email_at] = EMAIL_HEADER
        return tuple(headers), _with_addresses(found.entries)


def _with_addresses(entries: Iterator[BatchEntry]) -> Iterator[BatchEntry]:
    for entry in entries:
        if len(entry.email) > MAX_ENTRY_CHARACTERS:
            raise NotCsv("has an address that is too long")
        if entry.email:
            yield BatchEntry(entry.email, entry.cells or (entry.email,))


def _options(column: str | None) -> ListOptions:

    return replace(OPTIONS, column=column)


def _query(**values: str) -> str:

    return urlencode(values)


def _list_problem(exc: NotCsv) -> str:
    where = "The list" if exc.line is None else f"Line {exc.line} of the list"
    return f"{where} {exc}."


def _problem_words(problem: Problem) -> str:
    words = problem.detail or f"It was refused: {problem.kind.replace('_', ' ')}."
    return f"{words} Nothing was charged."
