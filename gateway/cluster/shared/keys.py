"""The shared server as its users see it: whether it is there, and how its keys are named."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.cluster.shared.connection import SharedStore


class SharedStoreAway(Exception):
    """The shared server is not there, or did not answer in time."""


class SharedKeys:
    """The server, if there is one, and how its keys are named.

    A name is a keyed hash of what it stands for, so that neither addresses, domains nor keys of
    vendors can be read from the server, nor found by trying them.
    """

    def __init__(self, store: SharedStore | None, secret: bytes) -> None:
        """`secret` is the same in all processes, up to 64 bytes."""
        self.store = store
        self._prefix = store.prefix if store is not None else ""
        self._secret = secret

    @property
    def is_counted(self) -> bool:
        """Whether what is counted now is counted for all processes."""
        return self.store is not None and self.store.is_up

    def name(self, kind: str, what: str) -> str:
        digest = blake2b(
            what.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=16
        ).hexdigest()
        return f"{self._prefix}:{kind}:{digest}"
