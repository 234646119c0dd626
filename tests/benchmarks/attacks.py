"""`python -m tests.benchmarks attacks`: a good client's latency while a stranger attacks.

The server, the good client and the attacker are a process each. The attacker has four connections
(or as many as it can open, if that is the attack), no key or a test key, and repeats one thing.
`python -m tests.benchmarks.attacks NAME PORT` is the attacker, `client PORT SECONDS` the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any

from tests.benchmarks.servers import LIVE_KEY, TEST_KEY, VALIDTO_TEST_KEY, ours, running

CONNECTIONS = 4
PAUSE_S = 0.01
"""Between two requests of the good client."""
WARM_UP_S = 1.0
IDLE_CONNECTIONS = 4_000
WAITS = 5
"""Calls that wait, beside each of the four connections."""

Attack = Callable[[int], Coroutine[Any, Any, None]]
"""One connection's attack on a port, without an end."""


# -- requests ----------------------------------------------------------------------------


def request(
    method: str, target: str, body: bytes = b"", *headers: str, key: str = TEST_KEY
) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}")
    length = f"Content-Length: {len(body)}"
    return "\r\n".join((*lines, *headers, length, "", "")).encode() + body


JSON = "Content-Type: application/json"


def upload(file: bytes) -> bytes:
    """A list for ValidTo."""
    head = b'--x\r\nContent-Disposition: form-data; name="local_file"; filename="a.csv"\r\n\r\n'
    body = head + file + b"\r\n--x--\r\n"
    target = f"/v1/bulk?apikey={VALIDTO_TEST_KEY}"
    return request("POST", target, body, "Content-Type: multipart/form-data; boundary=x")


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> tuple[bytes, bytes]:
    """Send a request and read the reply: its head and its body. Raises OSError, EOFError."""
    writer.write(data)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    if b"\r\ntransfer-encoding: chunked\r\n" in lowered:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return head, body
    _, _, rest = lowered.partition(b"\r\ncontent-length:")
    return head, await reader.readexactly(int(rest.partition(b"\r\n")[0] or 0))


def repeating(*requests: bytes) -> Attack:
    """Sends the requests one after the other, again and again."""

    async def attack(port: int) -> None:
        unsent = itertools.cycle(requests)
        while True:
            with contextlib.suppress(OSError, EOFError):
                async with connected(port) as (reader, writer):
                    for data in unsent:
                        await exchange(reader, writer, data)

    return attack


# -- attacks -----------------------------------------------------------------------------


async def endless_heads(port: int) -> None:
    while True:
        with contextlib.suppress(OSError, EOFError):
            async with connected(port) as (_, writer):
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ")
                while True:
                    writer.write(b"a" * 65_536)
                    await writer.drain()


async def many_headers(port: int) -> None:
    while True:
        with contextlib.suppress(OSError, EOFError):
            async with connected(port) as (_, writer):
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
                while True:
                    writer.write(b"a:b\r\n" * 10_000)
                    await writer.drain()


async def pipelined_requests(port: int) -> None:
    """Thousands at a time; the answers are thrown away."""
    while True:
        with contextlib.suppress(OSError, EOFError):
            async with connected(port) as (reader, writer):
                while True:
                    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
                    await asyncio.gather(writer.drain(), reader.read(1 << 20))


async def idle_connections(port: int) -> None:
    """As many as there may be, each of which sends a byte now and then."""
    held: list[asyncio.StreamWriter] = []
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"G")
            held.append(writer)
        if len(held) > IDLE_CONNECTIONS / CONNECTIONS:
            held.pop(0).transport.abort()
            await asyncio.sleep(PAUSE_S)


async def reads_of_a_long_list(port: int) -> None:
    """The status of a list of 90,000 rows that is never done."""
    list_ = b"".join(b"a%d+simulate-slow@example.com\n" % n for n in range(90_000))
    while True:
        with contextlib.suppress(OSError, EOFError):
            async with connected(port) as (reader, writer):
                _, body = await exchange(reader, writer, upload(list_))
                id_ = json.loads(body).get("bulk_id", "")
                target = f"/v1/bulk/{id_}?apikey={VALIDTO_TEST_KEY}"
                while True:
                    await exchange(reader, writer, request("GET", target))


def waiting_calls() -> Attack:
    """Calls that wait for requests with a text, and requests that have to be searched."""
    wait = request("GET", "/veriplex/v1/requests/wait?count=1000&timeout_s=60&text=zzzz")
    verify = request("POST", "/v1/verify?email=a@example.com", b"y" * 60_000)
    search = repeating(verify)

    async def attack(port: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WAITS):
                group.create_task(repeating(wait)(port))
            group.create_task(search(port))

    return attack


WORDS = b'apikey"' * 8_500
BRACKETS = b'{"apiKey":"x","emails":[' + b"{}," * 6_300_000 + b"1]}"
CELLS = b"email" + b",c" * 9 + b"\n" + (b"a@example.com" + (b"," + b"v" * 99_000) * 9 + b"\n") * 11
HEADERS = tuple(f"X-{n}: {'v' * 600}" for n in range(90))
EMAILS = json.dumps({"emails": [f"a{n}@example.com" for n in range(50_000)]}).encode()
VERIFY = "/v1/verify?email=a@example.com"

ATTACKS: Mapping[str, Callable[[], Attack]] = {
    # what as many connections cost that do no harm
    "plain requests": lambda: repeating(request("GET", "/livez")),
    "request log": lambda: repeating(
        request("POST", "/v1/verify", WORDS, "Content-Type: text/plain"),
        request("GET", "/veriplex/v1/requests?limit=1000&text=zzzz"),
        request("GET", "/veriplex/v1/requests?limit=1000"),
    ),
    "json without a key": lambda: repeating(
        request("POST", "/api/bevService/request", BRACKETS, JSON, key="x"),
        request("POST", "/v1/batch", BRACKETS, JSON, key="x"),
    ),
    "endless head": lambda: endless_heads,
    "pipelined requests": lambda: pipelined_requests,
    "many headers": lambda: many_headers,
    "idle connections": lambda: idle_connections,
    "logged headers": lambda: repeating(request("GET", VERIFY, b"", *HEADERS)),
    "wide lists": lambda: repeating(upload(CELLS)),
    "lists of line ends": lambda: repeating(upload(b"\n" * 9_900_000)),
    "waiting calls": waiting_calls,
    "long lists": lambda: reads_of_a_long_list,
    "json lists": lambda: repeating(request("POST", "/v1/batch", EMAILS, JSON)),
}


async def attack(name: str, port: int) -> None:
    one = ATTACKS[name]()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one(port))


# -- the good client ---------------------------------------------------------------------


async def good_client(port: int, seconds: float) -> None:
    """Prints the latencies in ms as JSON, by path."""
    took_ms: defaultdict[str, list[float]] = defaultdict(list)
    numbers = itertools.count()

    def requests() -> Iterator[tuple[str, bytes]]:
        while True:
            target = f"/v1/verify?email=ada{next(numbers)}@example.com"
            yield "/v1/verify", request("GET", target, key=LIVE_KEY)
            yield "/livez", request("GET", "/livez", key=LIVE_KEY)
            yield "/v1/account", request("GET", "/v1/account", key=LIVE_KEY)

    stop_at = time.perf_counter() + seconds
    async with connected(port) as (reader, writer):
        for path, data in requests():
            began = time.perf_counter()
            if began > stop_at:
                break
            head, _ = await exchange(reader, writer, data)
            if head[9:12] != b"200":
                raise SystemExit(f"{path}: {head!r}")
            took_ms[path].append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE_S)
    sys.stdout.write(json.dumps(took_ms))


# -- measuring ---------------------------------------------------------------------------


def attacks(_: int, seconds: float) -> None:
    """Latency of a good client, and the server's memory, during each attack."""
    say(f"{'p50, p99 ms':<20} {'':>10} {'/v1/verify':>15} {'/livez':>15} {'/v1/account':>15}")
    for name in ("", *ATTACKS):
        with running(*ours("attacked")) as server:
            measured, peak_mb = _measure(name, server.port, seconds, lambda: server.rss_mb)
        columns = (
            f"{_percentile(found, 0.5):6.1f} {_percentile(found, 0.99):8.1f}"
            for found in measured.values()
        )
        say(f"{name or 'none':<20} {peak_mb:7.0f} MB {' '.join(columns)}")


def _measure(
    name: str, port: int, seconds: float, rss_mb: Callable[[], float]
) -> tuple[dict[str, list[float]], float]:
    module = (sys.executable, "-m", "tests.benchmarks.attacks")
    peaks = [rss_mb()]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peaks.append(rss_mb())

    watching = threading.Thread(target=watch)
    attacking = subprocess.Popen((*module, name, str(port))) if name else None
    watching.start()
    try:
        time.sleep(WARM_UP_S)
        client = subprocess.run(
            (*module, "client", str(port), str(seconds)), stdout=subprocess.PIPE, check=True
        )
    finally:
        if attacking is not None:
            attacking.kill()
            attacking.wait()
        over.set()
        watching.join()
    found: dict[str, list[float]] = json.loads(client.stdout)
    return found, max(peaks)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what, port, *rest = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        if what == "client":
            asyncio.run(good_client(int(port), float(rest[0])))
        else:
            asyncio.run(attack(what, int(port)))
