"""`veriplex upstreams check`, run as a command against vendors on loopback."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from adapters.registry import DIALECTS
from tests.fakes.vendor import GOOD_KEY, vendor

COMMAND = (sys.executable, "-c", "from gateway.cli import main; main()")


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KEY": GOOD_KEY, "BAD": "bad-key"},
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_each_key_of_each_upstream_is_checked_for_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        vendors = [await stack.enter_async_context(vendor(d)) for d in DIALECTS]
        config = tmp_path / "veriplex.toml"
        config.write_text(
            "".join(
                f"[[upstreams]]\nname = '{v.dialect.name}'\ndialect = '{v.dialect.name}'\n"
                f"base_url = '{v.base_url}'\napi_key = 'env:KEY'\nspare_api_keys = ['env:BAD']\n"
                for v in vendors
            )
        )
        code, out = await run("--config", str(config), "upstreams", "check", "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 1
        for v in vendors:
            good, bad = (row for row in rows if row["name"] == v.dialect.name)
            assert v.dialect.upstream is not None
            if v.dialect.upstream.balance is None:
                assert [good["says"], bad["says"]] == ["reachable", "reachable"]
                continue
            assert (good["ok"], good["says"], good["credits"]) == (True, "good", 1000)
            assert (bad["ok"], bad["says"]) == (False, "dead_key")
        assert not any(v.asked for v in vendors)
        code, table = await run("--config", str(config), "upstreams", "check")
        assert code == 1
        assert "emailable" in table
        assert GOOD_KEY not in table
        assert "bad-key" not in table


async def test_an_unreachable_upstream_is_reported(tmp_path: Path) -> None:
    config = tmp_path / "veriplex.toml"
    config.write_text(
        "[[upstreams]]\nname = 'gone'\ndialect = 'generic'\n"
        "base_url = 'http://127.0.0.1:1/api/v1'\napi_key = 'env:KEY'\n"
    )
    code, out = await run("--config", str(config), "upstreams", "check")
    assert code == 1
    assert "unreachable" in out
    assert out.rstrip().endswith("the connection was refused")
