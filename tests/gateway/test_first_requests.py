"""The first requests to a server wait for nothing to be loaded.

`python -m tests.gateway.test_first_requests` opens a server, and prints what its event loop imports
and opens for some requests.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from typing import Any

import httpx

from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import Script, fake_smtp

KEY = "live_0123456789abcdef0123"
EMAILS = (
    "ada@mail.example",
    "ada.byron@mail.example",
    "info2@mail.example",
    "jon@gmial.com",
    "jürgen@münchen.example",
    "a@b.mailinator.com",
    "a@below.co.uk",
    "no address",
)
"""One for each of the lists, and for each library that reads addresses."""
OF_THE_TEST = ("import sniffio", "import dns.", "/dns/rdtypes/")
"""What its HTTP client and its DNS server load."""
PATHS = ("/v1/account", "/livez", "/readyz", "/v1/verifi", "/nowhere")


def test_nothing_is_imported_or_opened_for_them() -> None:
    command = (sys.executable, "-m", "tests.gateway.test_first_requests")
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert found == {"statuses": [200] * len(EMAILS) + [200, 200, 200, 404, 404], "loaded": []}


async def _first_requests() -> None:
    loaded: list[str] = []
    loop_thread = threading.get_ident()
    is_watching = False

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if is_watching and event in ("import", "open") and threading.get_ident() == loop_thread:
            what = f"{event} {args[0]}"
            if not any(part in what for part in OF_THE_TEST):
                loaded.append(what)

    zone = {"mail.example": {"MX": ["5 mx.mail.example."]}, "mx.mail.example": {"A": ["127.0.0.2"]}}
    async with fake_dns(zone) as dns, fake_smtp({"127.0.0.2": Script()}) as smtp:
        settings = Settings.model_validate(
            {
                "storage": {"url": "sqlite:///:memory:"},
                "engine": {
                    "dns_servers": [dns.address],
                    "smtp_port": smtp.port,
                    "allow_private_networks": True,
                },
            }
        )
        async with open_services(settings) as services:
            account = await services.accounts.create_account("owner@example.com")
            await services.accounts.create_key(account, "emailable", key=KEY)
            transport = httpx.ASGITransport(create_app(services))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asks:
                sys.addaudithook(watch)
                is_watching = True
                replies = [
                    await asks.get("/v1/verify", params={"email": email, "api_key": KEY})
                    for email in EMAILS
                ]
                replies += [await asks.get(path, params={"api_key": KEY}) for path in PATHS]
                is_watching = False
    found = {"statuses": [reply.status_code for reply in replies], "loaded": loaded}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(_first_requests())
