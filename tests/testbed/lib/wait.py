#!/usr/bin/env python3
"""Wait until DNS answers and every listener accepts connections.

usage: wait.py STATE_DIR SECONDS     exit status 0 when all are ready
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

DNS = "127.0.0.153"
GREETED = {"127.0.0.10", "127.0.0.11", "127.0.0.12", "127.0.0.13"}
"""Servers that must send their banner; the others may be slow or silent on purpose."""
QUERY = (
    struct.pack(">HHHHHH", 4242, 0x0100, 1, 0, 0, 0) + b"\x04test\x00" + struct.pack(">HH", 6, 1)
)
"""SOA of `test.`"""


def dns_answers() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        sock.connect((DNS, 53))
        sock.send(QUERY)
        reply = sock.recv(4096)
        return reply[3] & 15 == 0 and reply[6:8] != b"\0\0"


def smtp_answers(address: str) -> bool:
    with socket.create_connection((address, 25), 1) as sock:
        if address in GREETED:
            sock.settimeout(2)
            if not sock.recv(512).startswith(b"220"):
                return False
            sock.sendall(b"QUIT\r\n")
        return True


def holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except OSError:
        return False


def main(state: Path, limit_s: float) -> None:
    waiting: dict[str, Callable[[], bool]] = {f"dns {DNS}": dns_answers}
    for address in (state / "run" / "listeners").read_text().split():
        waiting[f"smtp {address}"] = partial(smtp_answers, address)
    end = time.monotonic() + limit_s
    while waiting := {name: check for name, check in waiting.items() if not holds(check)}:
        if time.monotonic() > end:
            sys.exit(f"not ready: {', '.join(waiting)}")
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
