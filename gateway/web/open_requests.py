"""Requests that are being answered at a time, for plans that limit them (`Plan.parallel`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Owner = tuple[int, str]
"""The id of a key, and its client's address."""


@dataclass(eq=False, slots=True)
class OpenRequest:
    """A request that has not been answered."""

    owner: Owner
    is_disconnected: Callable[[], bool]
    """Whether its client has closed the connection; then it no longer counts."""


class OpenRequests:
    """The open requests of this process, by key and client address."""

    def __init__(self) -> None:
        self._open: dict[Owner, set[OpenRequest]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def begin(self, request: OpenRequest, most: int) -> bool:
        """Count a request until it is ended; False if there are `most` already."""
        found = self._open.setdefault(request.owner, set())
        if len(found) >= most:
            found -= {other for other in found if other.is_disconnected()}
        if len(found) >= most:
            return False
        found.add(request)
        return True

    def end(self, request: OpenRequest) -> None:
        found = self._open.get(request.owner)
        if found is None:
            return
        found.discard(request)
        if not found:
            del self._open[request.owner]
