"""What shadow traffic adds to the latency of requests: one that answers, and one that hangs.

`python -m tests.benchmarks.shadowing ORDER_URL [SHADOW_URL]` runs a server.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import tempfile
from types import SimpleNamespace
from typing import cast

import uvloop

from tests.benchmarks import load
from tests.benchmarks.forwarding import front, get_fresh
from tests.benchmarks.servers import Running, ours, running

RATE = 100.0
"""Requests a second: a load that leaves the server time, so that latency is not that of a queue."""
SHARE = 0.5
"""Ten times the default."""


def shadowing(rounds: int, seconds: float) -> None:
    """Latency of steady requests, the servers in alternating rounds."""
    numbers = itertools.count()
    with socket.create_server(("127.0.0.1", 0)) as silent, running(*ours("bare")) as bare:
        # it accepts connections, and never reads
        hanging = cast(Running, SimpleNamespace(port=silent.getsockname()[1]))
        with (
            running(*_command(bare)) as without,
            running(*_command(bare, bare)) as answering,
            running(*_command(bare, hanging)) as hung,
        ):
            servers = {"without": without, "with one that answers": answering, "that hangs": hung}
            p50: dict[str, list[float]] = {name: [] for name in servers}
            p99: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(rounds):
                for name, server in servers.items():
                    requests = [get_fresh(numbers) for _ in range(int(RATE * seconds * 2))]
                    found = load.run(
                        server.port, requests, seconds=seconds, connections=10, rate=RATE
                    )
                    if found.errors:
                        raise SystemExit(f"{found.errors} errors")
                    p50[name].append(found.percentile_ms(0.5))
                    p99[name].append(found.percentile_ms(0.99))
    for name in p50:
        sys.stdout.write(
            f"shadow {name}: median {min(p50[name]):.2f} ms, p99 {min(p99[name]):.2f} ms\n"
        )


def _command(*upstreams: Running) -> tuple[str, ...]:
    urls = [f"http://127.0.0.1:{upstream.port}/v1" for upstream in upstreams]
    return (sys.executable, "-m", "tests.benchmarks.shadowing", *urls)


if __name__ == "__main__":
    shadow = {"shadow": ["v1"], "shadow_share": SHARE, "shadow_rate_per_s": 1e6}
    routing = {"order": ["v0"], **(shadow if len(sys.argv) > 2 else {})}
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(front(folder, {"routing": routing}, {}, *sys.argv[1:]))
