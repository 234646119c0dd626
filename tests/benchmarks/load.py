"""A load generator: one request after the other on each of many connections.

It reads no more of a reply than its length, and so it is faster than the servers.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import cast

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
BODY_FOLLOWS = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of some seconds of load."""

    requests: int
    seconds: float
    latencies_ms: tuple[float, ...]
    """Sorted."""
    errors: int
    """Replies with a status other than 2xx."""

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds

    def percentile_ms(self, share: float) -> float:
        return self.latencies_ms[
            min(int(len(self.latencies_ms) * share), len(self.latencies_ms) - 1)
        ]


def run(
    port: int, requests: list[bytes], *, seconds: float, connections: int = 50, rate: float = 0
) -> Result:
    """Send `requests` in turn for so long; `rate` a second, or as fast as answers come."""
    return uvloop.run(_run(port, requests, seconds, connections, rate))


async def _run(
    port: int, requests: list[bytes], seconds: float, connections: int, rate: float
) -> Result:
    loop = asyncio.get_running_loop()
    sending = cycle(requests)
    pause_s = connections / rate if rate else 0.0
    clients: list[_Client] = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: _Client(sending, pause_s), "127.0.0.1", port
        )
        clients.append(client)
    began = time.perf_counter()
    for number, client in enumerate(clients):
        loop.call_later(pause_s * number / connections, client.begin)
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    for client in clients:
        client.transport.abort()
    latencies = sorted(ms for client in clients for ms in client.latencies_ms)
    errors = sum(client.errors for client in clients)
    return Result(len(latencies), took, tuple(latencies), errors)


class _Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, sending: Iterator[bytes], pause_s: float) -> None:
        self._sending = sending
        self._pause_s = pause_s
        self._received = b""
        self._sent_at = 0.0
        self.latencies_ms: list[float] = []
        self.errors = 0
        self.begin: Callable[[], None] = self._send

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def _send(self) -> None:
        if self.transport.is_closing():
            return
        self._sent_at = time.perf_counter()
        self.transport.write(next(self._sending))

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        head, found, body = received.partition(BODY_FOLLOWS)
        if not found:
            return
        length = LENGTH.search(head + b"\r\n")
        if length is None or len(body) < int(length[1]):
            return
        self._received = b""
        self.errors += head[9:10] != b"2"
        took_s = time.perf_counter() - self._sent_at
        self.latencies_ms.append(took_s * 1000)
        if self._pause_s > took_s:
            asyncio.get_running_loop().call_later(self._pause_s - took_s, self._send)
        else:
            self._send()
