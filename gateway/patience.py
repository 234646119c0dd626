"""How long a call to the database waits for a server that is silent.

Work in the background waits long, since a statement may take long. A client would not wait for it.
"""

from __future__ import annotations

from contextvars import ContextVar

SILENCE_S = 6.0
"""More than a lock of others takes at most (`gateway.store.BUSY_TIMEOUT_S`)."""
NEXT_SILENCE_S = 1.0
"""For what a request asks of a server that was silent before."""
CONNECT_S = 3
NEXT_CONNECT_S = 2
"""The least that libpq can wait for."""


class Patience:
    """That of one request, and of the tasks that it starts."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self.silence_s = silence_s
        """How long the server may be silent in the middle of a statement."""
        self.connect_s = CONNECT_S

    def is_over(self) -> None:
        """The server was silent: a request that goes on without it waits no second time."""
        self.silence_s = min(self.silence_s, NEXT_SILENCE_S)
        self.connect_s = NEXT_CONNECT_S


PATIENCE: ContextVar[Patience | None] = ContextVar("patience", default=None)
"""None leaves it to the connection."""
