"""State that processes share through a Valkey or Redis server, each part of it short-lived.

Every key may vanish at any moment. "The server is away" and "there is none" are one case: each
process then keeps to its part of every limit, and knows what it found itself. What must not be
lost, such as credits, charges, budgets and leases, is in the database.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import select

from engine.sharing import Paces, Places
from gateway.cluster.claims import DatabaseClaims
from gateway.cluster.processes import LivingProcesses, ProcessKind
from gateway.cluster.shared.flights import SharedFlights
from gateway.cluster.shared.keys import SharedKeys
from gateway.cluster.shared.limits import SharedLimiter
from gateway.cluster.shared.notes import SharedNotes
from gateway.cluster.shared.pacing import HeldPlaces, SharedPaces, SharedPlaces
from gateway.settings.storage import SharedSettings
from gateway.store import Store, StoreUnusable
from gateway.store.tables import secrets as secrets_table
from gateway.tasks import in_background

if TYPE_CHECKING:
    from gateway.cluster.shared.connection import SharedStore

SECRET_NAME = "shared.keys"  # noqa: S105
SECRET_BYTES = 32
MAX_GUESSERS = 100_000
"""Client addresses whose failed attempts are counted in memory."""


class Shared:
    """What the processes of one database share. `clock` is Unix time in seconds."""

    def __init__(
        self,
        store: SharedStore | None,
        processes: LivingProcesses,
        secret: bytes,
        *,
        stored_claims: DatabaseClaims,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.store = store
        self._processes = processes
        self.process = processes.this.id
        self._keys = keys = SharedKeys(store, secret)
        self.held = HeldPlaces(keys, processes.this.id, rng)
        self.flights = SharedFlights(keys, processes.this.id, rng)
        self.notes = SharedNotes(keys, stored_claims, lambda: processes.total)
        self.limiter = SharedLimiter(keys, clock, lambda: processes.count(ProcessKind.SERVE))
        """For the limits of accounts."""
        self.guess_limiter = SharedLimiter(keys, clock, lambda: 1, max_windows=MAX_GUESSERS)
        """For failed attempts: a part of the few that are allowed would block the innocent."""

    @property
    def is_degraded(self) -> bool:
        """Whether there is a server that cannot be used now."""
        return self.store is not None and not self.store.is_up

    def places_of(self, egress: str) -> Places:
        """As `engine.sharing.SharedState.places_of`."""
        return SharedPlaces(
            self.held, f"egress {egress}", lambda: self._processes.count_with_egress(egress)
        )

    def paces_of(self, egress: str) -> Paces:
        """As `engine.sharing.SharedState.paces_of`."""
        return SharedPaces(
            self._keys, f"egress {egress}", lambda: self._processes.count_with_egress(egress)
        )

    def parts(self) -> int:
        """Processes among which what is not counted together is divided."""
        return 1 if self._keys.is_counted else self._processes.total

    def request_places(self) -> SharedPlaces:
        """Open requests of clients, at all servers."""
        return SharedPlaces(self.held, "requests", lambda: self._processes.count(ProcessKind.SERVE))

    def upstream_places(self) -> Places:
        """Requests to upstreams at a time; a name is an upstream's."""
        return SharedPlaces(self.held, "upstreams", lambda: self._processes.total)

    def upstream_paces(self) -> Paces:
        return SharedPaces(self._keys, "upstreams", lambda: self._processes.total)


@contextlib.asynccontextmanager
async def open_shared(
    settings: SharedSettings,
    store: Store,
    processes: LivingProcesses,
    *,
    clock: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> AsyncIterator[Shared]:
    """The shared state that the settings want. The server is not waited for.

    Raises StoreError.
    """
    rng = rng or random.SystemRandom()
    claims = DatabaseClaims(store, clock)
    if not settings.url:
        yield Shared(None, processes, b"", stored_claims=claims, clock=clock, rng=rng)
        return
    try:
        # imported here, since a process on its own need not have it
        from gateway.cluster.shared.connection import SharedStore, open_client
    except ModuleNotFoundError as exc:
        raise StoreUnusable(
            "shared.url", "needs a driver: pip install 'veriplex[cluster]'"
        ) from exc
    secret = await common_secret(store, SECRET_NAME)
    client = open_client(
        settings.url, settings.password.value, timeout_s=settings.timeout_ms / 1000
    )
    shared_store = SharedStore(client, server_of(settings), prefix=settings.prefix, rng=rng)
    shared = Shared(shared_store, processes, secret, stored_claims=claims, clock=clock, rng=rng)
    async with (
        shared_store.running(),
        in_background(shared.held.renew_periodically()),
        in_background(shared.flights.renew_periodically()),
    ):
        yield shared


def server_of(settings: SharedSettings) -> str:
    """The host and port, for messages."""
    return urlsplit(settings.url).netloc.rpartition("@")[2]


async def common_secret(store: Store, name: str) -> bytes:
    """A random value that all processes of the database have in common. Raises StoreError."""
    query = select(secrets_table.c.value).where(secrets_table.c.name == name)
    found = await store.fetch_all(query)
    if not found:
        insert = store.insert(secrets_table).on_conflict_do_nothing()
        async with store.write() as connection:
            row = {"name": name, "value": secrets.token_bytes(SECRET_BYTES)}
            await connection.execute(insert, row)
        found = await store.fetch_all(query)
    return bytes(found[0].value)
