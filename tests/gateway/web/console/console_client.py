"""A server with a console, driven without a network."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local

BASE = "http://127.0.0.1:8025"
PASSWORD = "correct horse battery"
VIEWER_PASSWORD = "only looking around"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


@dataclass(slots=True)
class Browser:
    """What a person does with the console; it keeps cookies."""

    client: httpx.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, data: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.client.post(path, data=data, headers={"origin": BASE, **headers})

    async def log_in(self, password: str = PASSWORD) -> httpx.Response:
        return await self.post("/console/login", {"password": password})

    async def csrf(self, path: str = "/console") -> str:
        found = _CSRF.search((await self.get(path)).text)
        assert found
        return found[1]

    async def send(self, path: str, **data: Any) -> httpx.Response:
        """Send a form of the console, and follow to the page that shows what was done."""
        reply = await self.post(path, {"csrf": await self.csrf(), **data})
        return await self.get(reply.headers["location"]) if reply.status_code == 303 else reply


def console_settings(**sections: Any) -> Settings:
    return Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, **sections},
        context={"environ": {"PASSWORD": PASSWORD, "VIEWER": VIEWER_PASSWORD}},
    )


WITH_PASSWORDS = {"password": "env:PASSWORD", "viewer_password": "env:VIEWER"}


@contextlib.asynccontextmanager
async def running(**sections: Any) -> AsyncIterator[Services]:
    """A server with the passwords, unless `console` says otherwise."""
    settings = console_settings(**{"console": WITH_PASSWORDS, **sections})
    async with open_services(settings, verifier=Local(), run_workers=False) as services:
        yield services


def browser(services: Any, client: str = "127.0.0.1", base: str = BASE) -> Browser:
    transport = httpx.ASGITransport(create_app(services), client=(client, 40000))
    return Browser(httpx.AsyncClient(transport=transport, base_url=base))
