"""How far a request has come: whether it may have reached the server when its time is over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """Given to a transport as the extension `progress` of an `httpx.Request`."""

    connecting: bool = False
    """There is no connection yet, so that nothing was sent."""
