"""Requests that are being answered at a time, for plans that limit them (`Plan.parallel`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Owner = tuple[int, str]
"""The id of a key, and its client's address."""


@dataclass(eq=False, slots=True)
class OpenRequest:
    """A request that has not been answered."""

    owner: Owner
    is_disconnected: Callable[[], bool]
    """Whether its client has closed the connection; then it no longer counts."""
    place: str = ""
    """The token of its place among those of all servers."""

    @property
    def name(self) -> str:
        """Under which it counts at all servers."""
        return f"{self.owner[0]} {self.owner[1]}"


class RequestPlaces(Protocol):
    """Open requests at all servers, such as `gateway.cluster.shared.pacing.SharedPlaces`."""

    def share(self, places: int) -> int:
        """How many of `places` this server may use now."""
        ...

    async def try_take(self, name: str, places: int) -> str | None:
        """A token; empty if nothing is counted, None if all places are taken."""
        ...

    def give_back(self, name: str, token: str) -> None: ...


class OpenRequests:
    """The open requests of this process, by key and client address."""

    def __init__(self, places: RequestPlaces | None = None) -> None:
        """`places` count those of the other servers, too."""
        self._open: dict[Owner, set[OpenRequest]] = {}
        self._places = places

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    async def begin(self, request: OpenRequest, most: int) -> bool:
        """Count a request until it is ended; False if there are `most` already."""
        if self._places is None:
            return self._begin_here(request, most)
        if not self._begin_here(request, self._places.share(most)):
            return False
        place = None
        try:
            place = await self._places.try_take(request.name, most)
        finally:
            if place is None:
                self.end(request)
        if place is None:
            return False
        request.place = place
        return True

    def _begin_here(self, request: OpenRequest, most: int) -> bool:
        found = self._open.setdefault(request.owner, set())
        if len(found) >= most:
            found -= {other for other in found if other.is_disconnected()}
        if len(found) >= most:
            return False
        found.add(request)
        return True

    def end(self, request: OpenRequest) -> None:
        if self._places is not None and request.place:
            self._places.give_back(request.name, request.place)
            request.place = ""
        found = self._open.get(request.owner)
        if found is None:
            return
        found.discard(request)
        if not found:
            del self._open[request.owner]
