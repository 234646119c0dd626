"""What an engine shares with other processes that probe by the same egresses, as it sees it.

Alone, a process has every place and every turn to itself, and nobody to ask. With others it either
counts together with them, or takes its share of each limit; which of the two may change at any
moment, and the callers do not see it.
"""

from __future__ import annotations

from typing import Protocol


class Places(Protocol):
    """Connections at a time, of all processes together."""

    @property
    def is_counted(self) -> bool:
        """Whether `take` counts for all processes now."""
        ...

    def share(self, places: int) -> int:
        """How many of `places` this process may hold now, at least 1.

        All of them while they are counted for all processes, else its part. The caller keeps to
        it, and asks again from time to time.
        """
        ...

    async def take(self, name: str, places: int) -> str:
        """Wait until fewer than `places` are held under `name`, and hold one.

        Returns a token for `give_back`; empty if nothing is counted. It may be cancelled.
        """
        ...

    def give_back(self, name: str, token: str) -> None: ...


class Paces(Protocol):
    """When the next request may be made, by all processes together."""

    def share(self, interval_s: float) -> float:
        """The time between two requests of this process, if it is `interval_s` for all of them:
        the same while turns are counted for all processes, else longer."""
        ...

    async def wait_s(self, name: str, interval_s: float, *, burst_s: float = 0.0) -> float:
        """Take the next turn under `name`, which is `interval_s` after the one before.

        Returns 0 if it is now, else the seconds until one may be taken. After a pause, as many
        turns may be taken at once as fit into `burst_s`.
        """
        ...

    def delay(self, name: str, seconds: float) -> None:
        """No turn under `name` is given for so long."""
        ...


class Notes(Protocol):
    """Findings that processes tell each other. Each may be lost at any moment."""

    async def get(self, name: str) -> str | None: ...

    def put(self, name: str, value: str, ttl_s: float) -> None:
        """Tell others soon; with `ttl_s` 0 or less, that it holds no more."""
        ...

    async def claim(self, name: str, ttl_s: float, *, lasting: bool = False) -> bool:
        """Whether this process is the first to claim `name` within `ttl_s`.

        A `lasting` claim holds in other processes even without the server that the notes are on.
        """
        ...


class SharedState(Protocol):
    """All that an engine shares."""

    @property
    def notes(self) -> Notes: ...

    def places_of(self, egress: str) -> Places:
        """Those of the processes that have the egress of that name."""
        ...

    def paces_of(self, egress: str) -> Paces: ...


class NoPlaces:
    """Those of a process without others."""

    is_counted = False

    def share(self, places: int) -> int:
        return places

    async def take(self, name: str, places: int) -> str:
        return ""

    def give_back(self, name: str, token: str) -> None:
        pass


class NoPaces:
    """Those of a process without others."""

    def share(self, interval_s: float) -> float:
        return interval_s

    async def wait_s(self, name: str, interval_s: float, *, burst_s: float = 0.0) -> float:
        return 0.0

    def delay(self, name: str, seconds: float) -> None:
        pass


class NoNotes:
    """Those of a process without others: what it knows itself is in its own caches."""

    async def get(self, name: str) -> str | None:
        return None

    def put(self, name: str, value: str, ttl_s: float) -> None:
        pass

    async def claim(self, name: str, ttl_s: float, *, lasting: bool = False) -> bool:
        return True


NO_PLACES, NO_PACES, NO_NOTES = NoPlaces(), NoPaces(), NoNotes()
"""They have no state, so that one of each will do."""


class Unshared:
    """The state of a process without others."""

    notes: Notes = NO_NOTES

    def places_of(self, egress: str) -> Places:
        return NO_PLACES

    def paces_of(self, egress: str) -> Paces:
        return NO_PACES


UNSHARED = Unshared()
