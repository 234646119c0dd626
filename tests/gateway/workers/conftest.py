"""`veriplex serve --workers` as processes, and mail hosts for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.fakes.dns import fake_dns
from tests.fakes.smtp import Delay, Script, fake_smtp
from tests.gateway.cli.conftest import VERIPLEX

KEY = "live_0123456789abcdef0123"
TEST_KEY = "test_0123456789abcdef0123"
WITHIN_S = 90
"""For anything that is waited for; it takes a second where nothing else runs."""

HOSTS = 8
ADDRESSES = 2_000
CREDITS = 10_000


@dataclass(slots=True)
class Server:
    """A running server with several workers. Its log is a file, which never fills up."""

    process: asyncio.subprocess.Process
    folder: Path
    url: str = ""
    printed: list[str] = field(default_factory=list)

    @property
    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def events(self, name: str) -> list[dict[str, object]]:
        return [line for line in self.log if line["event"] == name]

    def pids(self) -> dict[int, int]:
        """The processes of the workers, by their numbers."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    *_, place = (folder / "cmdline").read_text().rstrip("\0").split("\0")
                    found[int(place.split(":")[0])] = int(folder.name)
        return found

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that processes do."""
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                assert self.process.returncode is None, self.log[-5:]
                await asyncio.sleep(0.02)

    async def metrics(self, client: httpx.AsyncClient) -> dict[str, float]:
        reply = await client.get("/metrics", headers={"Connection": "close"})
        assert reply.status_code == 200, reply.text
        lines = [line for line in reply.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class Start:
    """Starts servers in a folder, with the given settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VERIPLEX_")}
        self.environ = {
            **kept,
            "VERIPLEX_LOG__FORMAT": "json",
            "VERIPLEX_KEYS": json.dumps(
                [
                    {"dialect": "emailable", "key": "env:LIVE_KEY"},
                    {"dialect": "emailable", "key": "env:TEST_KEY", "test": True},
                ]
            ),
            "LIVE_KEY": KEY,
            "TEST_KEY": TEST_KEY,
        }

    @contextlib.asynccontextmanager
    async def __call__(
        self, *arguments: str, **settings: str
    ) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
        """A server that is ready, and a client for it. It is killed at the end if it still runs."""
        with (self.folder / "log").open("w") as log:
            process = await asyncio.create_subprocess_exec(
                VERIPLEX,
                *("serve", "--port", "0", *arguments),
                cwd=self.folder,
                env={**self.environ, **settings},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        server = Server(process, self.folder)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(WITHIN_S):
                while not server.url:
                    line = (await process.stdout.readline()).decode()
                    assert line, (self.folder / "log").read_text()
                    server.printed.append(line)
                    server.url = json.loads(line).get("url", "")
            async with httpx.AsyncClient(base_url=server.url, timeout=WITHIN_S) as client:
                yield server, client
        finally:
            for pid in [*server.pids().values(), process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


@pytest.fixture
async def mail() -> AsyncIterator[dict[str, str]]:
    """Settings for a network of mail hosts that answer after a while."""
    zone: dict[str, dict[str, list[str]]] = {}
    for i in range(HOSTS):
        zone[f"d{i}.test"] = {"MX": [f"10 mx.d{i}.test."]}
        zone[f"mx.d{i}.test"] = {"A": [f"127.0.1.{i + 1}"]}
    slow = Script(rcpt=[("^user", (Delay(0.08), "250 2.1.5 Ok"))])
    hosts = {f"127.0.1.{i + 1}": slow for i in range(HOSTS)}
    async with fake_dns(zone) as dns, fake_smtp(hosts) as smtp:
        yield {
            "VERIPLEX_ENGINE__DNS_SERVERS": json.dumps([dns.address]),
            "VERIPLEX_ENGINE__SMTP_PORT": str(smtp.port),
            "VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS": "true",
            "VERIPLEX_ENGINE__HELO": "probe.test",
        }


class Database:
    """What tests read of a database while servers write it."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))

    def rows(self, query: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(query)))

    def write(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement))

    def done(self) -> int:
        return int(self.rows("SELECT count(*) FROM batch_results")[0][0])

    def holders(self) -> set[str]:
        """Who has leases now, by the names that the workers gave themselves."""
        found = self.rows("SELECT lease FROM batch_chunks WHERE lease IS NOT NULL")
        return {lease.rpartition("/")[0] for (lease,) in found}

    def close(self) -> None:
        self._engine.dispose()
