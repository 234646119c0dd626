"""What a shared server costs: known verdicts, and a plan's rate, with it and without.

`python -m tests.benchmarks.sharing FOLDER [URL]` runs one of the servers that are measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

import uvloop

from gateway.app import open_services
from gateway.observability.logs import set_up_logs
from gateway.settings import Settings
from gateway.sockets import bind
from gateway.web.dispatch import create_app
from gateway.web.server import serve
from tests.benchmarks import load
from tests.benchmarks.servers import LIVE_KEY, SAY_LISTENING, Deliverable, Running, running
from tests.valkey_server import ValkeyServer

LIMITED_KEY = "live_0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab"
ADDRESSES = 20_000
LIMITED_PER_S = 60
"""Below the rate of the plan."""


def sharing(rounds: int, seconds: float) -> None:
    """Ratios, and milliseconds, of a server with a shared one to a server without."""
    valkey = ValkeyServer()
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            kinds = {"without": "", "with": valkey.url}
            folders = {name: Path(folder) / name for name in kinds}
            for name, url in kinds.items():
                folders[name].mkdir()
                with _server(folders[name], url) as one:  # another process finds the verdicts
                    for start in range(0, ADDRESSES, 500):
                        _send(one, [_get(n) for n in range(start, start + 500)], 0.25)
            best = {kind: dict.fromkeys(kinds, 0.0) for kind in ("in memory", "elsewhere")}
            fresh = {name: iter(range(0, ADDRESSES, 1_000)) for name in kinds}
            servers = {
                name: stack.enter_context(_server(folders[name], url))
                for name, url in kinds.items()
            }
            for _ in range(rounds):
                for name, one in servers.items():
                    known = _send(one, [_get(0)], seconds)
                    best["in memory"][name] = max(best["in memory"][name], known.per_s)
                    first = next(fresh[name])
                    asked = [_get(n) for n in range(first, first + 1_000)]
                    elsewhere = _send(one, asked, seconds=0.1)
                    best["elsewhere"][name] = max(best["elsewhere"][name], elsewhere.per_s)
            for kind, found in best.items():
                _say(
                    f"known verdicts, {kind:<10} {found['without']:>7,.0f} and"
                    f" {found['with']:>7,.0f} requests/s: {found['with'] / found['without']:.2f}"
                )
            p50 = dict.fromkeys(kinds, 1e9)
            for _ in range(rounds):
                for name, one in servers.items():
                    result = load.run(
                        one.port, [_limited()], seconds=1.0, connections=1, rate=LIMITED_PER_S
                    )
                    p50[name] = min(p50[name], result.percentile_ms(0.5))
            _say(
                f"a plan's rate, p50            {p50['without']:.2f} and {p50['with']:.2f} ms:"
                f" {p50['with'] - p50['without']:+.2f} ms"
            )
    finally:
        valkey.close()


def _server(folder: Path, url: str) -> contextlib.AbstractContextManager[Running]:
    return running(sys.executable, "-m", "tests.benchmarks.sharing", str(folder), url)


def _send(server: Running, requests: list[bytes], seconds: float) -> load.Result:
    result = load.run(server.port, requests, seconds=seconds)
    if result.errors:
        raise SystemExit(f"{result.errors} errors")
    return result


def _get(number: int) -> bytes:
    return (
        f"GET /v1/verify?email=a{number}@example.com HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {LIVE_KEY}\r\n\r\n"
    ).encode()


def _limited() -> bytes:
    return (
        f"GET /kickbox/v2/verify?email=a0@example.com&apikey={LIMITED_KEY} HTTP/1.1\r\n"
        "Host: localhost\r\n\r\n"
    ).encode()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _serve(folder: Path, url: str) -> None:
    settings = Settings.model_validate(
        {"storage": {"url": f"sqlite:///{folder}/v.db"}, "shared": {"url": url, "timeout_ms": 500}}
    )
    with (folder / "log").open("w") as log:
        set_up_logs(settings.log, log)
        async with open_services(settings, verifier=Deliverable()) as services:
            accounts = services.accounts
            if await accounts.is_empty():
                account = await accounts.create_account("bench@example.com")
                await accounts.create_key(account, "emailable", key=LIVE_KEY)
                limited = await accounts.create_account("limited@example.com", plan="kickbox")
                await accounts.create_key(limited, "kickbox", key=LIMITED_KEY)
            await serve(create_app(services), bind("127.0.0.1", 0), hooks=SAY_LISTENING)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1]), sys.argv[2]))
