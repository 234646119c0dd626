"""`veriplex sources list`, `pause`, `resume` and `try`, beside a server on the same database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.app import open_services
from gateway.settings import load
from tests.dialects import BY_NAME
from tests.fakes.vendor import GOOD_KEY, vendor
from tests.gateway.cli.conftest import Here
from tests.gateway.upstreams.conftest import Local

pytestmark = pytest.mark.anyio


def settings_text(folder: Path, base_url: str) -> str:
    return f"""
[storage]
url = "sqlite:///{folder / "v.db"}"
[routing]
order = ["acme", "local"]
[[upstreams]]
name = "acme"
dialect = "kickbox"
base_url = "{base_url}"
api_key = "env:KEY"
balance_every_s = 0
"""


async def test_a_source_is_paused_resumed_and_tried(here: Here, tmp_path: Path) -> None:
    async with vendor(BY_NAME["kickbox"]) as acme:
        text = settings_text(tmp_path, acme.base_url)
        (tmp_path / "veriplex.toml").write_text(text, "utf-8")

        async def run(*args: str) -> tuple[int, str, str]:
            done = await asyncio.to_thread(here, "sources", *args, KEY=GOOD_KEY)
            return done.code, done.out, done.err

        assert (await run("pause", "acme"))[0] == 1  # there is no database yet
        settings = load(tmp_path / "veriplex.toml", {"KEY": GOOD_KEY})
        async with open_services(settings, verifier=Local(), run_workers=False) as services:
            assert services.console is not None
            assert services.console.overview is not None
            sources = services.console.overview.sources
            code, out, err = await run("pause", "acme")
            assert (code, err) == (0, "")
            assert "veriplex sources resume acme" in out
            await sources.read_pauses()
            assert {each.name: each.state for each in await sources.list()} == {
                "local": "in use",
                "acme": "paused",
            }
            _, out, _ = await run("list", "--json")
            engine, paused = map(json.loads, out.splitlines())
            assert engine == {"name": "local", "kind": "local", "paused_at": None}
            assert (paused["kind"], paused["paused_at"][-6:]) == ("kickbox", "+00:00")
            assert "acme" in (await run("list"))[1]
            assert (await run("resume", "acme"))[0] == 0
            await sources.read_pauses()
            assert [each.state for each in await sources.list()] == ["in use", "in use"]

            code, out, _ = await run("try", "acme")
            assert (code, "1,000 credits left" in out) == (0, True)
            acme.keys.clear()
            code, out, _ = await run("try", "acme")
            assert (code, "refused the key" in out) == (1, True)
            for command in ("pause", "resume", "try"):
                code, _, err = await run(command, "nobody")
                assert (code, "the settings have local, acme" in err) == (2, True)
            assert (await run("try", "local"))[0] == 2
