"""The console's tokens in the database, so that a session is valid in every process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from gateway.accounts.console_access import MAX_TOKENS, ConsoleAccess, Role, StoredToken, TokenKind
from gateway.store import Store
from gateway.store.tables import console_tokens

if TYPE_CHECKING:
    from gateway.settings import Settings


def console_access(settings: Settings, store: Store, clock: Callable[[], float]) -> ConsoleAccess:
    """Access by the settings' passwords, and by tokens in the database."""
    return ConsoleAccess(
        ConsoleTokens(store, clock),
        password=settings.console.password.value,
        viewer_password=settings.console.viewer_password.value,
        clock=clock,
    )


class ConsoleTokens:
    """The tokens of one database. `clock` is Unix time in seconds; methods raise StoreError."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def put(self, token: StoredToken) -> None:
        columns = console_tokens.c
        row = {
            "digest": token.digest,
            "kind": token.kind.value,
            "role": token.role.value,
            "proof": token.proof,
            "expires_at": token.expires_at,
        }
        last_kept = (
            select(columns.digest)
            .order_by(columns.expires_at.desc(), columns.digest)
            .limit(MAX_TOKENS - 1)
        )
        async with self._store.write() as connection:
            await connection.execute(
                delete(console_tokens).where(columns.expires_at <= int(self._clock()))
            )
            await connection.execute(delete(console_tokens).where(columns.digest.not_in(last_kept)))
            await connection.execute(insert(console_tokens).values(**row))

    async def find(self, digest: bytes) -> StoredToken | None:
        query = select(console_tokens).where(console_tokens.c.digest == digest)
        rows = await self._store.fetch_all(query)
        for row in rows:
            return StoredToken(
                row.digest, TokenKind(row.kind), Role(row.role), row.proof, row.expires_at
            )
        return None

    async def take(self, digest: bytes, kind: TokenKind) -> StoredToken | None:
        found = await self.find(digest)
        if found is None or found.kind is not kind:
            return None
        async with self._store.write() as connection:
            gone = await connection.execute(
                delete(console_tokens).where(console_tokens.c.digest == digest)
            )
            return found if gone.rowcount else None
