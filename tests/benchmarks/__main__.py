"""`python -m tests.benchmarks [NAME…]`: measures, and prints ratios.

The servers are measured in alternating rounds, and the best round of each counts, since other work
on the machine only slows them down.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from statistics import median

from tests.benchmarks import load
from tests.benchmarks.attacks import attacks
from tests.benchmarks.changing_faults import changing_faults
from tests.benchmarks.console_pages import console_pages
from tests.benchmarks.egress import egress
from tests.benchmarks.forwarding import forwarding, outages
from tests.benchmarks.lists import far, jobs, lists
from tests.benchmarks.peers import peers
from tests.benchmarks.probing import probing
from tests.benchmarks.servers import LIVE_KEY, SANDBOX, Running, ours, running
from tests.benchmarks.shadowing import shadowing
from tests.benchmarks.sharing import sharing
from tests.benchmarks.storage import storage
from tests.benchmarks.workers import workers

TEST_KEY = "test_7aff7fc0142c65f86a00"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def get(key: str, email: str) -> bytes:
    return (
        f"GET /v1/verify?email={email} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {key}\r\nAccept: application/json\r\n\r\n"
    ).encode()


ONE = "john.smith@gmail.com"
MANY = [f"{first}.{last}{n}@example.com" for first in ("ada", "john") for last in ("byron", "doe")
        for n in range(2_500)]  # fmt: skip


PEOPLE = enumerate(cycle(("ada.byron", "john.smith", "jdoe", "mary-jane.watson", "info", "x")))
NEW_PER_S = 15_000
"""More than a server answers."""


def speed(rounds: int, seconds: float) -> None:
    """Requests a second, and latency at half of that."""
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(running(*ours("bare")))
        sandbox = stack.enter_context(running(*SANDBOX))
        live = stack.enter_context(running(*ours("live")))
        cases: Mapping[str, tuple[Running, list[bytes]]] = {
            "bare Starlette": (bare, [get(TEST_KEY, ONE)]),
            "sandbox, one address": (sandbox, [get(TEST_KEY, ONE)]),
            "sandbox, 10,000 addresses": (sandbox, [get(TEST_KEY, email) for email in MANY]),
            "cached verify, live key": (live, [get(LIVE_KEY, ONE)]),
        }
        for server, requests in cases.values():
            load.run(server.port, requests, seconds=0.5)
        best: dict[str, float] = dict.fromkeys(cases, 0.0)
        new = (get(TEST_KEY, f"{person}{n}@company{n % 999}.com") for n, person in PEOPLE)
        best_new = 0.0
        for _ in range(rounds):
            for name, (server, requests) in cases.items():
                result = load.run(server.port, requests, seconds=seconds)
                if result.errors:
                    raise SystemExit(f"{name}: {result.errors} errors")
                best[name] = max(best[name], result.per_s)
        for _ in range(rounds):  # later, since they take the place of the 10,000
            unseen = list(islice(new, round(NEW_PER_S * seconds)))
            best_new = max(best_new, load.run(sandbox.port, unseen, seconds=seconds).per_s)
        say(
            f"sandbox, never seen before {best_new:>8,.0f} requests/s"
            f"   {best_new / best['bare Starlette']:.2f} of bare"
        )
        for name, (server, requests) in cases.items():
            half = load.run(server.port, requests, seconds=seconds, rate=best[name] / 2)
            say(
                f"{name:<26} {best[name]:>8,.0f} requests/s"
                f"   {best[name] / best['bare Starlette']:.2f} of bare"
                f"   at half: p50 {half.percentile_ms(0.5):.2f} ms,"
                f" p99 {half.percentile_ms(0.99):.2f} ms"
            )


def start(rounds: int, _: float) -> None:
    """Time from the command to the first answer, and from SIGTERM to the exit."""
    firsts, ends = [], []
    for _round in range(rounds * 2):
        began = time.perf_counter()
        with running(*SANDBOX) as sandbox:
            with socket.create_connection(("127.0.0.1", sandbox.port)) as client:
                client.sendall(get(TEST_KEY, ONE))
                answer = client.recv(4096)
            firsts.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"the first answer was {answer!r}")
            began = time.perf_counter()
            sandbox.process.terminate()
            sandbox.process.wait()
            ends.append(time.perf_counter() - began)
    bare = min(
        _took(sys.executable, "-c", "import uvicorn, starlette.applications") for _ in firsts
    )
    say(
        f"sandbox: first answer after {min(firsts):.3f} s (median {median(firsts):.3f}),"
        f" stopped after {median(ends):.3f} s;"
        f" importing uvicorn and Starlette alone takes {bare:.3f} s"
    )


def memory(_: int, seconds: float) -> None:
    """Resident memory of the sandbox under load."""
    with running(*SANDBOX) as sandbox:
        say(f"sandbox: {sandbox.rss_mb:.1f} MB at the start")
        total = 0
        for _step in range(4):
            requests = [get(TEST_KEY, email) for email in MANY]
            total += load.run(sandbox.port, requests, seconds=seconds * 2).requests
            say(f"sandbox: {sandbox.rss_mb:.1f} MB after {total:,} requests")


def _took(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


BENCHMARKS: Mapping[str, Callable[[int, float], None]] = {
    "start": start,
    "speed": speed,
    "memory": memory,
    "forwarding": forwarding,
    "faults": changing_faults,
    "outages": outages,
    "probing": probing,
    "lists": lists,
    "far": far,
    "egress": egress,
    "jobs": jobs,
    "peers": peers,
    "shadowing": shadowing,
    "sharing": sharing,
    "storage": storage,
    "console": console_pages,
    "workers": workers,
    "attacks": attacks,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    given = parser.parse_args()
    unknown = [name for name in given.names if not re.fullmatch("|".join(BENCHMARKS), name)]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    for name in given.names or BENCHMARKS:
        BENCHMARKS[name](given.rounds, given.seconds)


main()
