"""How a server stops: Ctrl-C once and twice, SIGTERM with a drain."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from adapters.registry import DIALECTS
from tests.gateway.cli.conftest import Shell

EMAILABLE = next(d for d in DIALECTS if d.name == "emailable")
KEY = {"Authorization": f"Bearer {EMAILABLE.sandbox_key}"}
VERIFY = "/v1/verify?email=deliverable@example.com"
LATENCY_S = 30.0


class Running:
    """A sandbox whose Emailable requests take long."""

    def __init__(self, process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self.client = client

    async def until_logged(self, text: str) -> str:
        """The lines of standard error up to the one with `text`."""
        assert self.process.stderr is not None
        seen = ""
        async with asyncio.timeout(20):
            while text not in seen:
                line = (await self.process.stderr.readline()).decode()
                assert line, seen
                seen += line
        return seen

    async def start_slow(self) -> asyncio.Task[httpx.Response]:
        """A request that is being answered."""
        task = asyncio.create_task(self.client.get(VERIFY, headers=KEY))
        async with asyncio.timeout(20):
            while True:
                faults = (await self.client.get("/veriplex/v1/faults")).json()
                if json.dumps(faults).count('"struck": 1'):
                    return task

    async def end(self) -> tuple[int, str]:
        _, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


@pytest.fixture
async def running(shell: Shell) -> AsyncIterator[Running]:
    shell.environ["VERIPLEX_SERVER__DRAIN_S"] = "60"
    process = await shell.start("sandbox", "--port", "0")
    assert process.stdout is not None
    try:
        while not (line := (await process.stdout.readline()).decode()).startswith("listening on "):
            assert line
        url = line.removeprefix("listening on ").strip()
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            fault = {"dialect": "emailable", "latency_ms": LATENCY_S * 1000}
            assert (await client.post("/veriplex/v1/faults", json=fault)).status_code == 200
            yield Running(process, client)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_second_ctrl_c_answers_in_the_dialect_and_exits_130(running: Running) -> None:
    slow = await running.start_slow()
    running.process.send_signal(signal.SIGINT)
    seen = await running.until_logged("again to stop at once")
    assert "veriplex: finishing 1 request; Ctrl-C again to stop at once\n" in seen
    assert "server.stopping  in_flight=1\n" in seen
    running.process.send_signal(signal.SIGINT)
    reply = await slow
    assert (reply.status_code, reply.json()) == (503, {"message": "Service Unavailable"})
    code, err = await running.end()
    assert code == 130
    assert "Traceback" not in err
    assert "  503  unavailable  " in err


async def test_ctrl_c_without_requests_ends_at_once(running: Running) -> None:
    running.process.send_signal(signal.SIGINT)
    code, err = await running.end()  # although the drain would take a minute
    assert (code, "again to stop" in err) == (0, False)


async def test_a_drain_answers_everything_but_readyz(running: Running) -> None:
    assert (await running.client.get("/readyz")).status_code == 200
    running.process.send_signal(signal.SIGTERM)
    await running.until_logged("server.stopping")
    async with httpx.AsyncClient(base_url=running.client.base_url) as another:  # a new connection
        reply = await another.get("/readyz")
        assert (reply.status_code, reply.json()) == (503, {"status": "stopping"})
        assert (await another.get("/livez")).status_code == 200
        key = DIALECTS[1].sandbox_key
        reply = await another.get(f"/validto/v1/info?apikey={key}")
        assert reply.status_code == 200
    running.process.send_signal(signal.SIGTERM)  # ends the drain
    code, err = await running.end()
    assert (code, "Traceback" in err) == (0, False)
