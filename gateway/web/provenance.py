"""The headers on every reply: which request it answers, where the answer came from, and that it is
for the client alone."""

from __future__ import annotations

import re
from functools import lru_cache
from random import getrandbits

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""An `X-Request-Id` that is taken over as it is; any other is replaced."""

PRIVATE_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""Replies hold addresses and their URLs keys: no cache on the way may store them (RFC 9111 section
5.2.2.5), and no browser take them for another type of content than ours."""


def request_id(sent: str) -> str:
    """The id of a request whose client `sent` one, or nothing."""
    return sent if REQUEST_ID.fullmatch(sent) else f"{getrandbits(128):032x}"


@lru_cache(1024)
def provenance_headers(
    source: str, attempts: int, cache_status: str
) -> tuple[tuple[bytes, bytes], ...]:
    """`cache_status` is what follows the cache's name (RFC 9211).

    There are few combinations, and encoding them costs as much as the rest of the headers.
    """
    return (
        (b"x-veriplex-source", source.encode("latin-1")),
        (b"x-veriplex-attempts", b"%d" % attempts),
        (b"cache-status", f"veriplex; {cache_status}".encode("latin-1")),
        *PRIVATE_HEADERS,
    )
