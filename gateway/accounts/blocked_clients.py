"""The blocks of client addresses in the database, which processes share and which outlive them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select

from gateway.store import Store, StoreConflict
from gateway.store.tables import client_blocks

MAX_BLOCKS = 100_000
"""Stored; the oldest are deleted first."""
MAX_CLIENT_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class BlockedClient:
    """A client address that a dialect refuses."""

    dialect: str
    client: str
    blocked_at: datetime


class BlockedClients:
    """The blocks of one database. `clock` is Unix time in seconds; methods raise StoreError."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def is_blocked(self, dialect: str, client: str) -> bool:
        async with self._store.read() as connection:
            found = select(client_blocks.c.client).where(
                client_blocks.c.dialect == dialect,
                client_blocks.c.client == client[:MAX_CLIENT_CHARACTERS],
            )
            return await connection.scalar(found) is not None

    async def block(self, dialect: str, client: str) -> None:
        """Block an address until it is lifted."""
        row = {
            "dialect": dialect,
            "client": client[:MAX_CLIENT_CHARACTERS],
            "blocked_at": int(self._clock()),
        }
        try:
            async with self._store.write() as connection:
                await connection.execute(insert(client_blocks).values(**row))
                count = await connection.scalar(select(func.count()).select_from(client_blocks))
                if count and count > MAX_BLOCKS:
                    oldest = select(func.min(client_blocks.c.blocked_at)).scalar_subquery()
                    await connection.execute(
                        delete(client_blocks).where(client_blocks.c.blocked_at == oldest)
                    )
        except StoreConflict:
            return  # another process was faster

    async def all_blocks(self) -> list[BlockedClient]:
        """The newest first."""
        rows = select(client_blocks).order_by(
            client_blocks.c.blocked_at.desc(), client_blocks.c.dialect, client_blocks.c.client
        )
        async with self._store.read() as connection:
            return [
                BlockedClient(row.dialect, row.client, datetime.fromtimestamp(row.blocked_at, UTC))
                for row in await connection.execute(rows)
            ]

    async def lift(self, client: str) -> int:
        """Lift the blocks of an address in all dialects; returns how many there were."""
        async with self._store.write() as connection:
            gone = await connection.execute(
                delete(client_blocks).where(client_blocks.c.client == client)
            )
            return gone.rowcount
