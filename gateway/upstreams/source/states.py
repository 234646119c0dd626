"""Keys that rest, and upstreams that refuse our account, in the database.

All processes see them within some seconds, and so does the next run: a key that was refused is not
tried anew by each of them, which some vendors answer by blocking an address for good. A key is
known by its hash, so that a new key in its place is tried at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b

from sqlalchemy import and_, delete, select

from gateway.store import Store, StoreError
from gateway.store.tables import source_states
from gateway.upstreams.source.keys import UpstreamKey
from gateway.upstreams.source.upstream import UpstreamSource

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
MIN_REST_S = 10.0
"""A shorter one is over before the others have read it."""
SAME_S = 2.0
"""Ends that are less apart are the same: each is counted from another moment, in whole seconds."""

_Row = tuple[str, bytes]
"""The source, and the hash of the key; empty for the source itself."""
_State = tuple[str, int]
"""The kind of rest, and its end in Unix time."""


class Rest(StrEnum):
    """Why a key is not used."""

    REFUSED = "refused"
    THROTTLED = "throttled"
    NO_CREDITS = "no_credits"
    BANNED = "banned"
    """The upstream refuses our account or address, with any key."""


class SourceStates:
    """The rests of the upstreams' keys. `clock` is Unix time, `monotonic` that of the sources."""

    def __init__(
        self,
        store: Store,
        sources: Sequence[UpstreamSource],
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._sources = sources
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[_Row, _State] = {}
        """As last written or read."""

    async def run(self) -> None:
        """Look periodically, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except StoreError as exc:
                log.warning("source_states.delayed", extra={"error": str(exc)})

    async def look(self) -> None:
        """Write what is new here, and follow what is new elsewhere. Raises StoreError."""
        await self._write(dict(self._rests()))
        stored = await self._read()
        for source in self._sources:
            for row, key in self._rows_of(source):
                state = stored.get(row)
                if state is not None and state != self._known.get(row):
                    self._follow(source, key, *state)
                elif state is None and row in self._known:
                    self._lift(source, key)
        self._known = stored

    def _rows_of(self, source: UpstreamSource) -> Iterator[tuple[_Row, UpstreamKey | None]]:
        yield (source.name, b""), None
        for key in source.keys.keys:
            yield (source.name, _hash(key.value)), key

    def _rests(self) -> Iterator[tuple[_Row, _State]]:
        """The rests of this process that are long enough to be told."""
        now, unix_now = self._monotonic(), self._clock()
        for source in self._sources:
            for row, key in self._rows_of(source):
                if key is None:
                    kind = Rest.BANNED if source.circuit.is_banned else None
                    left_s = source.circuit.reopens_in_s
                else:
                    kind, left_s = _kind_of(key), key.paused_until - now
                if kind is not None and left_s >= MIN_REST_S:
                    yield row, (kind, int(unix_now + left_s))

    async def _write(self, rests: dict[_Row, _State]) -> None:
        new = {
            row: state
            for row, state in sorted(rests.items())
            if not _is_same(self._known.get(row), state)
        }
        now = int(self._clock())
        ended = sorted(
            row
            for row, state in self._known.items()
            if row not in rests and state[1] > now + MIN_REST_S
        )
        if not new and not ended:
            return
        insert = self._store.insert(source_states)
        values = {name: insert.excluded[name] for name in ("state", "until")}
        upsert = insert.on_conflict_do_update(index_elements=["source", "key_hash"], set_=values)
        async with self._store.write() as connection:
            await connection.execute(delete(source_states).where(source_states.c.until <= now))
            for source, key_hash in ended:
                same = and_(source_states.c.source == source, source_states.c.key_hash == key_hash)
                await connection.execute(delete(source_states).where(same))
                del self._known[source, key_hash]
            if new:
                rows = [
                    {"source": row[0], "key_hash": row[1], "state": state[0], "until": state[1]}
                    for row, state in new.items()
                ]
                await connection.execute(upsert, rows)
        self._known |= new

    async def _read(self) -> dict[_Row, _State]:
        query = select(source_states).where(source_states.c.until > int(self._clock()))
        return {
            (row.source, bytes(row.key_hash)): (row.state, row.until)
            for row in await self._store.fetch_all(query)
        }

    def _follow(
        self, source: UpstreamSource, key: UpstreamKey | None, kind: str, until: int
    ) -> None:
        left_s = until - self._clock()
        if key is None:
            source.circuit.follow_pause(left_s, is_ban=True)
        elif kind == Rest.REFUSED:
            source.keys.follow_refusal(key, left_s)
        elif kind == Rest.THROTTLED:
            source.keys.throttle(key, left_s)
        elif kind == Rest.NO_CREDITS:
            source.keys.pause(key, left_s)

    def _lift(self, source: UpstreamSource, key: UpstreamKey | None) -> None:
        """Another process has found that it is served again."""
        if key is None:
            source.circuit.allow_trial()
        elif _kind_of(key) is not None:
            source.keys.lift(key)


async def end_rests(store: Store, source: str) -> None:
    """End what a source and its keys rest for, in each process within `LOOK_EVERY_S`. Raises
    StoreError."""
    async with store.write() as connection:
        await connection.execute(delete(source_states).where(source_states.c.source == source))


def _kind_of(key: UpstreamKey) -> Rest | None:
    if key.dead:
        return Rest.REFUSED
    if key.throttled_at is not None:
        return Rest.THROTTLED
    return Rest.NO_CREDITS if key.paused_until else None


def _is_same(known: _State | None, state: _State) -> bool:
    return known is not None and known[0] == state[0] and abs(known[1] - state[1]) <= SAME_S


def _hash(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
