"""The URL with which links in replies begin.

It is `server.public_url`, or what the server listens on; but behind a trusted proxy, without a
`public_url`, it is the URL by which the client called.
"""

from __future__ import annotations

from contextvars import ContextVar

URL_OF_REQUEST: ContextVar[str] = ContextVar("url_of_request", default="")
"""Where the client of the request that is being answered reaches us; empty if the server's own URL
will do."""
