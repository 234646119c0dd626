"""The servers that are measured, each in a process of its own.

`python -m tests.benchmarks.servers NAME` runs one on a free port and prints `listening on …`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from engine.address.offline import offline_evidence
from engine.model import Address, Checks, Reason, Verdict, Verification
from gateway.app import open_services
from gateway.observability.logs import set_up_logs
from gateway.settings import Settings
from gateway.sockets import bind
from gateway.web.dispatch import create_app
from gateway.web.server import ServerHooks, serve
from tests.fakes.socks import Socks, socks_server

LIVE_KEY = "live_0123456789abcdef0123"
TEST_KEY = "test_0123456789abcdef0123"
VALIDTO_TEST_KEY = "0123456789abcdef0123456789abcdef"
SAMPLE = {
    "accept_all": None,
    "did_you_mean": None,
    "disposable": False,
    "domain": "gmail.com",
    "duration": 0.493,
    "email": "john.smith@gmail.com",
    "first_name": "John",
    "free": True,
    "full_name": "John Smith",
    "gender": "male",
    "last_name": "Smith",
    "mailbox_full": False,
    "mx_record": "aspmx.l.google.com",
    "no_reply": False,
    "reason": "accepted_email",
    "role": False,
    "score": 100,
    "smtp_provider": "google",
    "state": "deliverable",
    "tag": None,
    "user": "john.smith",
}
"""Emailable's documented reply, which the bare endpoint sends."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server in its process."""

    port: int
    process: subprocess.Popen[str]

    @property
    def rss_mb(self) -> float:
        """Resident memory, from Linux's /proc."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024


@contextlib.contextmanager
def running(*command: str) -> Iterator[Running]:
    """Start a server and stop it again."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if listening := re.match(r"listening on http://127\.0\.0\.1:(\d+)", line):
                    yield Running(int(listening[1]), process)
                    return
            raise RuntimeError(f"{command} did not start")
        finally:
            process.terminate()


def ours(name: str) -> tuple[str, ...]:
    """The command of one of the servers here."""
    return (sys.executable, "-m", "tests.benchmarks.servers", name)


SANDBOX = (str(Path(sys.executable).with_name("veriplex")), "sandbox", "--port", "0")


def _say(url: str) -> None:
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()


SAY_LISTENING = ServerHooks(on_listening=_say)


async def bare() -> None:
    """One JSON endpoint of Starlette, on the same server with the same options."""

    async def verify(_: Request) -> JSONResponse:
        return JSONResponse(SAMPLE)

    await serve(
        Starlette(routes=[Route("/v1/verify", verify)]),
        bind("127.0.0.1", 0),
        hooks=SAY_LISTENING,
    )


async def live() -> None:
    """The whole server with a live key, and a verifier that answers at once."""
    settings = Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    )
    async with open_services(settings, verifier=Deliverable()) as services:
        account_id = await services.accounts.create_account("bench@example.com")
        await services.accounts.create_key(account_id, "emailable", key=LIVE_KEY)
        await serve(create_app(services), bind("127.0.0.1", 0), hooks=SAY_LISTENING)


async def attacked() -> None:
    """As `live`, with test keys, and all else as `veriplex serve` has it: a file, the log on."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"storage": {"url": f"sqlite:///{folder}/v.db"}})
        with (Path(folder) / "log").open("w") as log:
            set_up_logs(settings.log, log)
            async with open_services(settings, verifier=Deliverable()) as services:
                account_id = await services.accounts.create_account("bench@example.com")
                accounts = services.accounts
                await accounts.create_key(account_id, "emailable", key=LIVE_KEY)
                await accounts.create_key(account_id, "emailable", key=TEST_KEY, test=True)
                await accounts.create_key(account_id, "validto", key=VALIDTO_TEST_KEY, test=True)
                await serve(create_app(services), bind("127.0.0.1", 0), hooks=SAY_LISTENING)


async def socks() -> None:
    """A SOCKS5 proxy."""
    async with socks_server(Socks()) as server:
        _say(f"http://127.0.0.1:{server.port}")
        await asyncio.Event().wait()


class Deliverable:
    """Answers at once that an address is deliverable."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        return Verification(
            address=address,
            verdict=Verdict.DELIVERABLE,
            reason=Reason.ACCEPTED_EMAIL,
            score=100,
            evidence=offline_evidence(address),
            checks=checks,
            verified_at=datetime.now(UTC),
            duration_s=0.5,
        )


SERVERS = {"bare": bare, "live": live, "attacked": attacked, "socks": socks}

if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(SERVERS[sys.argv[1]]())
