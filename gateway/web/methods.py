"""Methods that the HTTP parser does not know. Pure.

Any token is a method (RFC 9110, section 9.1), and a vendor has an error of its own for one that
its API does not have; the parser ends the connection of any that is not in its table.
"""

from __future__ import annotations

import re

KNOWN_METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR"
    b" MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH"
    b" SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""Those of llhttp, which may be fewer in an older release."""
STAND_IN = b"UNLINK"
"""What the parser is given; no vendor has it."""

_REQUEST_LINE = re.compile(rb"\A([!#$%&'*+.^_`|~0-9A-Za-z-]{1,30}) (?=/)")


def replace_unknown_method(data: bytes) -> tuple[bytes, str]:
    """The beginning of a request as the parser takes it, and the method that was replaced in it.

    The method is empty if nothing was replaced.
    """
    found = _REQUEST_LINE.match(data)
    if found is None or found[1] in KNOWN_METHODS:
        return data, ""
    return STAND_IN + data[found.end(1) :], found[1].decode("ascii")
