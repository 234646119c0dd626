"""Connections to PostgreSQL whose calls end even if the server is frozen.

A server that is suspended keeps its connections: its kernel acknowledges what is sent, so neither
TCP nor the server's own `statement_timeout` ends a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from gateway.patience import PATIENCE, Patience


def bounded_connect(answer_timeout_s: float) -> Callable[..., Awaitable[psycopg.AsyncConnection]]:
    """A function that connects as `psycopg.AsyncConnection.connect` does.

    A connection on which the server is silent for `answer_timeout_s` in one wait, or for the
    shorter time that a request has (`gateway.patience`), is cut, and the call raises
    psycopg.OperationalError.
    """

    class BoundedConnection(psycopg.AsyncConnection[Any]):
        async def wait(self, *args: Any, **kwargs: Any) -> Any:
            patience = PATIENCE.get()
            within_s = answer_timeout_s
            if patience is not None:
                within_s = min(within_s, patience.silence_s)
            timer = asyncio.get_running_loop().call_later(within_s, self._cut, patience)
            try:
                return await super().wait(*args, **kwargs)
            finally:
                timer.cancel()

        def _cut(self, patience: Patience | None) -> None:
            if patience is not None:
                patience.is_over()
            # as if the server had: libpq then ends what waits, and closes its socket itself
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.fileno())) as own:
                own.shutdown(socket.SHUT_RDWR)

    async def connect(*args: Any, **kwargs: Any) -> psycopg.AsyncConnection:
        patience = PATIENCE.get()
        if patience is None:
            return await BoundedConnection.connect(*args, **kwargs)
        try:
            return await BoundedConnection.connect(
                *args, **{**kwargs, "connect_timeout": patience.connect_s}
            )
        except psycopg.OperationalError:
            patience.is_over()
            raise

    return connect
