"""A Veriplex behind a Veriplex: the sandbox, in a process of its own, as every vendor."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product

import pytest

from adapters.contract.upstream import UpstreamQuery, UpstreamReply, UpstreamResult
from adapters.registry import DIALECTS
from engine.address import syntax
from engine.model import Reason, Verdict
from gateway.settings import Settings
from tests.dialects import FACTS
from tests.gateway.upstreams.conftest import front

BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
NAMES = tuple(BY_NAME)
"""Those that the command speaks."""

MAGIC = {
    "deliverable": (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    "undeliverable": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    "accept-all": (Verdict.RISKY, Reason.CATCH_ALL),
    "unknown": (Verdict.UNKNOWN, Reason.NO_CONNECT),
}


@asynccontextmanager
async def sandbox() -> AsyncIterator[str]:
    """The command, on a free port; its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from gateway.cli import main; main()",
        "sandbox",
        "--port",
        "0",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            if listening := re.match(rb"listening on (http://\S+)", line):
                yield listening[1].decode()
                return
        raise AssertionError("it did not start")
    finally:
        process.terminate()
        await process.wait()


def settings(url: str) -> Settings:
    """An upstream for each dialect, and a route for each."""
    upstreams = [
        {
            "name": name,
            "dialect": name,
            "base_url": f"{url}/{name}{dialect.base_path}",
            "api_key": f"env:{name}",
        }
        for name, dialect in BY_NAME.items()
    ]
    routes = [
        {"name": name, "keys": [name], "order": [name], "complete": "none"} for name in BY_NAME
    ]
    return Settings.model_validate(
        {"storage": {"url": "sqlite:///:memory:"}, "upstreams": upstreams, "routes": routes},
        context={"environ": {name: dialect.sandbox_key for name, dialect in BY_NAME.items()}},
    )


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with sandbox() as url:
        yield url


@pytest.mark.parametrize(("before", "behind"), list(product(NAMES, NAMES)))
async def test_the_sandbox_answers_in_all_pairs(url: str, before: str, behind: str) -> None:
    async with front(settings(url), label=behind) as here:
        for name, (verdict, reason) in MAGIC.items():
            # With a tag it is none of the addresses that a vendor answers for live keys too.
            email = f"{name}+7@example.com"
            reply = await here.verify(before, email)
            assert reply.status_code == 200
            assert reply.headers["x-veriplex-source"] == behind
            upstream = BY_NAME[before].upstream
            assert upstream is not None
            result = upstream.verify.parse(
                UpstreamReply(200, {}, reply.content, 0.0),
                UpstreamQuery(syntax.parse_address(email)),
            )
            assert isinstance(result, UpstreamResult)
            through = FACTS[behind].verdict_back(verdict, reason)
            assert result.verdict is FACTS[before].verdict_back(through, reason)
