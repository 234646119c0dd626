"""Things that one of several processes does for all of them, agreed on in the database."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from sqlalchemy import delete

from gateway.store import Store
from gateway.store.tables import claims


class DatabaseClaims:
    """Claims in the database. `clock` is Unix time in seconds."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def claim(self, name: str, ttl_s: float) -> bool:
        """Whether nobody has claimed `name` within `ttl_s`. Raises StoreError."""
        now = self._clock()
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        insert = self._store.insert(claims)
        taken = insert.on_conflict_do_update(
            index_elements=["name"], set_={"until": now + ttl_s}, where=claims.c.until <= now
        ).returning(claims.c.name)
        async with self._store.write() as connection:
            await connection.execute(delete(claims).where(claims.c.until <= now))
            found = await connection.execute(taken.values(name=digest, until=now + ttl_s))
            return found.first() is not None
