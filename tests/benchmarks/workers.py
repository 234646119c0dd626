"""What `serve --workers 2` serves, compared with one process."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.servers import LIVE_KEY, TEST_KEY, Running, running

ADDRESSES = 5_000
PATH = "/v1/verify?email=user{}@example.com"


def workers(rounds: int, seconds: float) -> None:
    """Requests a second of test keys, and their ratio.

    The load takes a part of the cores: on a machine with two the ratio cannot reach two.
    """
    requests = [
        f"GET {PATH.format(n)} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {TEST_KEY}\r\n\r\n".encode()
        for n in range(ADDRESSES)
    ]
    with contextlib.ExitStack() as stack:
        servers = {count: stack.enter_context(_server(count)) for count in (1, 2)}
        best = dict.fromkeys(servers, 0.0)
        cpu_ms = dict.fromkeys(servers, 1e9)
        for server in servers.values():
            load.run(server.port, requests, seconds=0.5)
        for _ in range(rounds):
            for count, server in servers.items():
                before = _cpu_s(server.process.pid)
                result = load.run(server.port, requests, seconds=seconds)
                used_s = _cpu_s(server.process.pid) - before
                cpu_ms[count] = min(cpu_ms[count], used_s / result.requests * 1000)
                if result.errors:
                    raise SystemExit(f"{count} workers: {result.errors} errors")
                best[count] = max(best[count], result.per_s)
    sys.stdout.write(
        f"1 and 2 workers, log on: {best[1]:,.0f} and {best[2]:,.0f} requests/s,"
        f" {best[2] / best[1]:.2f}; CPU a request {cpu_ms[1]:.3f} and {cpu_ms[2]:.3f} ms, so with"
        f" cores of their own about {2 * cpu_ms[1] / cpu_ms[2]:.2f}\n"
    )


def _cpu_s(pid: int) -> float:
    """CPU time of a process and its children, from Linux's /proc."""
    used = 0.0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if pid in (int(folder.name), int(fields[1])):
                    used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


@contextlib.contextmanager
def _server(count: int) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "veriplex.toml"
        config.write_text(
            f'[storage]\nurl = "sqlite:///{folder}/v.db"\n'
            f'[[keys]]\ndialect = "emailable"\nkey = "file:{folder}/live"\n'
            f'[[keys]]\ndialect = "emailable"\nkey = "file:{folder}/test"\ntest = true\n'
        )
        (Path(folder) / "live").write_text(LIVE_KEY)
        (Path(folder) / "test").write_text(TEST_KEY)
        command = f'exec "$0" serve --config {config} --port 0 --workers {count} 2> {folder}/log'
        with running("sh", "-c", command, str(Path(sys.executable).with_name("veriplex"))) as one:
            yield one
