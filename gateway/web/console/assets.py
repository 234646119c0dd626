"""The files that pages load: styles, scripts and the icon.

The name of a file's content is part of its URL, so that a browser may keep it for ever and still
gets the new one after an upgrade.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

PREFIX = "/console/static"
MEDIA_TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    # of a file that is opened by itself; a picture may hold a style
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
DIGEST_CHARACTERS = 12


def asset_url(name: str) -> str:
    """The URL of a file of `static`."""
    return f"{PREFIX}/{_digest(name)}/{name}"


async def asset(request: Request) -> Response:
    """A file of `static`, for everybody: the page of the login needs them, too."""
    name = request.path_params["name"]
    if name not in _names():
        raise HTTPException(404)
    headers = dict(HEADERS)
    if request.path_params["digest"] != _digest(name):
        headers["Cache-Control"] = "no-store"  # of another version; two may run side by side
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(_content(name), headers=headers, media_type=media_type)


@cache
def _names() -> frozenset[str]:
    return frozenset(each.name for each in files(__package__).joinpath("static").iterdir())


@cache
def _content(name: str) -> bytes:
    return files(__package__).joinpath("static", name).read_bytes()


@cache
def _digest(name: str) -> str:
    return sha256(_content(name)).hexdigest()[:DIGEST_CHARACTERS]
