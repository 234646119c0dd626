"""Names of files in `Content-Disposition` (RFC 6266), whose headers have no letters but ASCII's."""

from __future__ import annotations

from urllib.parse import quote

MAX_CHARACTERS = 200
"""Of a name; of a longer one the end is kept. Clients refuse long headers."""
_UNSAFE = frozenset("\"\\/;%,'")


def ascii_file_name(name: str) -> str:
    """The name with `_` for each character that a header or a file system may not have."""
    return "".join(
        c if c.isascii() and c.isprintable() and c not in _UNSAFE else "_" for c in _end(name)
    )


def extended_file_name(name: str) -> str:
    """The name as the value of `filename*` (RFC 8187), without paths and control characters."""
    clean = "".join(c if c.isprintable() and c not in "\\/" else "_" for c in _end(name))
    return f"UTF-8''{quote(clean, safe='', errors='replace')}"


def _end(name: str) -> str:
    return name[-MAX_CHARACTERS:]
