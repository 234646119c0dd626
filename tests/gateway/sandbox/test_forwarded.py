"""Faults on requests that `veriplex serve`, as a process, would forward to a vendor."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.registry import DIALECTS
from tests.fakes.vendor import GOOD_KEY, Vendor, vendor

EMAILABLE = next(dialect for dialect in DIALECTS if dialect.name == "emailable")
API = "/veriplex/v1"
COMMAND = (sys.executable, "-c", "from gateway.cli import main; main()", "serve", "--port", "0")

CONFIG = """
[storage]
url = "sqlite:///{folder}/veriplex.db"

[log]
level = "error"

[[upstreams]]
name = "behind"
dialect = "emailable"
base_url = "{base_url}"
api_key = "env:BEHIND_KEY"
balance_every_s = 0

[routing]
order = ["behind"]

[sandbox]
live_control = true
"""


class Served:
    """The server, a live key, and the vendor behind it."""

    def __init__(self, client: httpx.AsyncClient, key: str, behind: Vendor) -> None:
        self.client = client
        self.key = key
        self.behind = behind
        self._number = 0

    async def verify(self) -> httpx.Response:
        """Verify an address that was never verified before."""
        self._number += 1
        params = {"email": f"ada{self._number}@example.org", "api_key": self.key}
        return await self.client.get("/emailable/v1/verify", params=params)

    async def fault(self, **fault: Any) -> None:
        set_ = await self.client.post(f"{API}/faults", params={"key": self.key}, json=fault)
        assert set_.status_code == 200, set_.text

    async def control(self, method: str, path: str, body: object = None) -> Any:
        reply = await self.client.request(
            method, f"{API}/{path}", params={"key": self.key}, json=body
        )
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("serve")
    async with vendor(EMAILABLE) as behind:
        config = folder / "veriplex.toml"
        config.write_text(CONFIG.format(folder=folder, base_url=behind.base_url))
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "--config",
            str(config),
            env={"BEHIND_KEY": GOOD_KEY},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            url = key = ""
            while not url:
                line = (await process.stdout.readline()).decode()
                assert line, "it did not start"
                if found := re.search(r"\blive_[0-9a-f]{20}\b", line):
                    key = found[0]
                if found := re.match(r"listening on (\S+)", line):
                    url = found[1]
            async with httpx.AsyncClient(base_url=url, timeout=10) as client:
                yield Served(client, key, behind)
        finally:
            process.terminate()
            assert await process.wait() == 0


@pytest.fixture
async def served(running: Served) -> AsyncIterator[Served]:
    yield running
    await running.control("POST", "reset")


def forwarded(reply: httpx.Response) -> bool:
    return reply.status_code == 200 and reply.headers["x-veriplex-source"] == "behind"


async def statuses(served: Served, count: int) -> Sequence[int]:
    return [(await served.verify()).status_code for _ in range(count)]


async def test_without_a_fault_the_vendor_answers(served: Served) -> None:
    assert forwarded(await served.verify())
    assert served.behind.asked[GOOD_KEY] >= 1


async def test_a_simulated_problem_does_not_reach_the_vendor(served: Served) -> None:
    await served.fault(simulate="503", times=2)
    asked = served.behind.asked[GOOD_KEY]
    assert await statuses(served, 2) == [503, 503]
    assert served.behind.asked[GOOD_KEY] == asked
    assert forwarded(await served.verify())


async def test_skip_and_rate_apply_to_forwarded_requests(served: Served) -> None:
    await served.fault(simulate="429", skip=1, times=1)
    assert await statuses(served, 3) == [200, 429, 200]
    await served.control("DELETE", "faults")
    await served.fault(simulate="500", rate=0.5, seed="a")
    drawn = await statuses(served, 30)
    assert {200, 500} == set(drawn)
    await served.control("DELETE", "faults")
    await served.fault(simulate="500", rate=0.5, seed="a")
    assert await statuses(served, 30) == drawn


async def test_a_rate_limit_is_timed_by_the_keys_clock(served: Served) -> None:
    await served.control("POST", "clock", {"frozen": True})
    await served.fault(limit={"count": 2, "per_s": 60})
    assert await statuses(served, 3) == [200, 200, 429]
    await served.control("POST", "clock", {"advance_s": 60})
    assert forwarded(await served.verify())


@pytest.mark.parametrize("latency", [150, [150, 160], {"median": 150, "sigma": 0}])
async def test_latency_is_added(served: Served, latency: Any) -> None:
    await served.fault(latency_ms=latency, times=1)
    began = asyncio.get_running_loop().time()
    assert forwarded(await served.verify())
    assert asyncio.get_running_loop().time() - began >= 0.149


async def test_the_connection_is_reset(served: Served) -> None:
    await served.fault(connection="reset", times=1)
    with pytest.raises(httpx.ReadError):
        await served.verify()
    assert forwarded(await served.verify())


async def test_the_body_is_truncated(served: Served) -> None:
    await served.fault(connection="truncate", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await served.verify()
    assert forwarded(await served.verify())


async def test_the_body_arrives_slowly(served: Served) -> None:
    await served.fault(connection="drip", drip={"bytes": 64, "every_ms": 20}, times=1)
    began = asyncio.get_running_loop().time()
    reply = await served.verify()
    assert forwarded(reply)
    assert reply.json()["state"] == "deliverable"
    pauses = len(reply.content) // 64
    assert asyncio.get_running_loop().time() - began >= 0.02 * pauses


async def test_a_fault_of_another_key_has_no_effect(served: Served) -> None:
    other = {"key": EMAILABLE.sandbox_key}
    await served.client.post(f"{API}/faults", params=other, json={"simulate": "500"})
    assert forwarded(await served.verify())
    assert await served.control("GET", "faults") == {"faults": []}
