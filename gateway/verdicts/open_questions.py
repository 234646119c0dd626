"""Free repeats that all processes of a database know of.

A client that repeats its request may reach another process than the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from sqlalchemy import delete, select

from gateway.accounts.caller import Charge
from gateway.store import Store
from gateway.store.tables import open_questions
from gateway.verdicts.free_repeats import RepeatKey


class OpenQuestions:
    """`gateway.verdicts.free_repeats.FreeRepeats` in the database. `clock` is Unix time in seconds.

    Every method may raise StoreError. The table holds no addresses.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def get(self, key: RepeatKey) -> Charge | None:
        query = select(open_questions).where(
            open_questions.c.digest == _digest(key), open_questions.c.expires_at > self._clock()
        )
        found = await self._store.fetch_all(query)
        return Charge(key[0], found[0].month, found[0].units) if found else None

    async def remember(self, key: RepeatKey, charge: Charge, free_for_s: float) -> None:
        """The time of a charge that is remembered already is not prolonged."""
        now = self._clock()
        values = {
            "digest": _digest(key),
            "month": charge.month,
            "units": charge.units,
            "expires_at": now + free_for_s,
        }
        adding = self._store.insert(open_questions).values(values)
        adding = adding.on_conflict_do_update(
            index_elements=["digest"],
            set_={name: adding.excluded[name] for name in ("month", "units", "expires_at")},
            where=open_questions.c.expires_at <= now,
        )
        async with self._store.write() as connection:
            await connection.execute(adding)

    async def forget(self, key: RepeatKey) -> None:
        async with self._store.write() as connection:
            await connection.execute(
                delete(open_questions).where(open_questions.c.digest == _digest(key))
            )

    async def delete_expired(self) -> None:
        async with self._store.write() as connection:
            await connection.execute(
                delete(open_questions).where(open_questions.c.expires_at <= self._clock())
            )


def _digest(key: RepeatKey) -> bytes:
    return blake2b(repr(key).encode(), digest_size=16).digest()
