"""`/openapi/<name>.json`: the descriptions of the dialects and of the native API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from adapters.contract.dialect import Dialect

NATIVE = "veriplex"
PUBLIC = {"Access-Control-Allow-Origin": "*"}
"""A description holds nothing but what the source code does, so that viewers elsewhere may load
it."""


class ApiDescriptions:
    """Makes each description once, when it is first asked for, in a thread."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._by_name = {
            name: dialect for dialect in dialects for name in (dialect.name, *dialect.aliases)
        }
        self._dialects = tuple(dialects)
        self.titles = {NATIVE: "Veriplex", **{d.name: d.title for d in dialects}}
        """The titles of the APIs, by name."""
        self._documents: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def find(self, name: str, url: str) -> dict[str, Any] | None:
        """The description of an API for a server at `url`; None for an unknown name."""
        if name == NATIVE:
            native = await self._made(NATIVE, lambda: _describe_native(self._dialects[0]))
            return {**native, "servers": [{"url": url}]}
        dialect = self._by_name.get(name)
        if dialect is None:
            return None
        document = await self._made(dialect.name, lambda: _describe(dialect))
        return _with_servers(document, dialect, url)

    async def _made(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        task = self._documents.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._documents[name] = asyncio.create_task(asyncio.to_thread(make))
        return await asyncio.shield(task)

    async def index(self, request: Request) -> Response:
        """The list of the API descriptions."""
        url = base_url(request)
        return _json({name: f"{url}/openapi/{name}.json" for name in self.titles})

    async def show(self, request: Request) -> Response:
        """The OpenAPI description of a dialect, or of the native API (veriplex)."""
        found = await self.find(request.path_params["name"], base_url(request))
        if found is None:
            raise HTTPException(404, f"There is no such API; there are {', '.join(self.titles)}.")
        return _json(found)


def base_url(request: Request) -> str:
    """Where the client called this server, without a slash at the end."""
    return str(request.base_url).rstrip("/")


# The generator is imported when it is needed: a sandbox has to start within half a second.


def _describe(dialect: Dialect) -> dict[str, Any]:
    from adapters.kit.openapi.document import describe

    return describe(dialect, version=version("veriplex"))


def _describe_native(dialect: Dialect) -> dict[str, Any]:
    from gateway.web.native_description import describe_native

    return describe_native(dialect, version=version("veriplex"))


def _with_servers(document: dict[str, Any], dialect: Dialect, url: str) -> dict[str, Any]:
    from adapters.kit.openapi.document import with_servers

    return with_servers(document, dialect, url)


def _json(body: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(body), headers=PUBLIC, media_type="application/json")
