"""Imports the bounces of a mailbox, a chunk at a time, so that an interrupted run goes on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import orjson
from sqlalchemy import delete, select

from gateway.outcomes.dsn import check_installed, read_report
from gateway.outcomes.mailboxes import StoredMessage, read_messages
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.terms import MailOutcome
from gateway.store import Store
from gateway.store.tables import mailbox_imports

SERVICE = "mailbox"
MESSAGES_PER_CHUNK = 200
"""In one transaction, after which the position is kept; so many messages are in memory."""


@dataclass(slots=True)
class ImportTallies:
    """What an import read, from the beginning of the mailbox."""

    messages: int = 0
    with_outcomes: int = 0
    """Messages that told what became of a mail."""
    not_understood: int = 0
    """Messages that are no report, or one that could not be read."""
    unreadable: int = 0
    """Messages whose files could not be opened."""
    outcomes: int = 0
    joined: int = 0
    """Outcomes of addresses that a source was asked about before."""


class MailboxImport:
    """`clock` is Unix time in seconds."""

    def __init__(
        self, store: Store, records: OutcomeRecords, *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._records = records
        self._clock = clock

    async def run(self, path: Path, on_progress: Callable[[ImportTallies], None]) -> ImportTallies:
        """Import a mailbox, from where an interrupted run of it stopped.

        A message that was read before has the same outcomes, which are kept once. Raises
        MissingExtra, NoMailbox, OSError and StoreError.
        """
        check_installed()
        key = await asyncio.to_thread(_key, path)
        position, tallies = await self._resume(key)
        on_progress(tallies)
        messages = read_messages(path, position)
        while chunk := await asyncio.to_thread(self._read_chunk, messages, tallies):
            outcomes, position = chunk
            if outcomes:
                await self._records.add(outcomes, SERVICE)
                tallies.joined += await self._records.count_joined(outcomes)
            await self._keep(key, position, tallies)
            on_progress(tallies)
        async with self._store.write() as connection:
            where = mailbox_imports.c.mailbox == key
            await connection.execute(delete(mailbox_imports).where(where))
        return tallies

    def _read_chunk(
        self, messages: Iterator[StoredMessage], tallies: ImportTallies
    ) -> tuple[list[MailOutcome], str] | None:
        """The outcomes of the next messages and the position after them; None at the end."""
        outcomes: list[MailOutcome] = []
        position = ""
        for message in islice(messages, MESSAGES_PER_CHUNK):
            position = message.next_position
            tallies.messages += 1
            if not message.is_readable:
                tallies.unreadable += 1
                continue
            found = read_report(message.content, message.arrived_at, self._clock())
            tallies.with_outcomes += bool(found)
            tallies.not_understood += not found
            tallies.outcomes += len(found)
            outcomes += found
        return (outcomes, position) if position else None

    async def _resume(self, key: bytes) -> tuple[str, ImportTallies]:
        query = select(mailbox_imports).where(mailbox_imports.c.mailbox == key)
        for row in await self._store.fetch_all(query):
            return row.position, ImportTallies(**orjson.loads(row.tallies))
        return "", ImportTallies()

    async def _keep(self, key: bytes, position: str, tallies: ImportTallies) -> None:
        row = {
            "mailbox": key,
            "position": position,
            "tallies": orjson.dumps(asdict(tallies)).decode(),
            "at": datetime.fromtimestamp(self._clock(), UTC),
        }
        async with self._store.write() as connection:
            await self._store.insert_rows(connection, mailbox_imports, [row], or_update=True)


def _key(path: Path) -> bytes:
    return hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).digest()[:16]
