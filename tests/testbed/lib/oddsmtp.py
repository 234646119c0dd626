#!/usr/bin/env python3
"""Scripted SMTP servers for behaviours that a healthy MTA will not show.

usage: oddsmtp.py TABLE.json [MORE.json ...]

Each table maps a local address to a profile.  A profile has either a "script"
(actions run right after the connection is accepted) or a "banner" followed by
an ordinary SMTP dialogue in which "on" overrides one command ("*" = any) and
"rcpt" lists [pattern, action...] rows for RCPT TO, first match wins.
"rcpt_limit": [n, reply] answers every recipient after the n-th with `reply`.

Actions: a string is sent as a reply line; "hang" says nothing until the client
leaves; "close" ends the connection; "raw TEXT" sends TEXT as it is;
["sleep", s], ["drip", text, gap], ["flood", text, total_bytes].
Every connection ends after MAX_LIFE seconds whatever its profile says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PORT = 25
MAX_LIFE = 120
MAX_COMMANDS = 5000


Profile = dict[str, Any]


class Close(Exception):
    """The connection is to be ended."""


async def act(action: Any, reader: StreamReader, writer: StreamWriter) -> None:
    if action == "hang":
        while await reader.read(4096):
            pass
        raise Close
    if action == "close":
        raise Close
    if isinstance(action, str):
        text = action[4:] if action.startswith("raw ") else action + "\r\n"
        writer.write(text.encode())
        await writer.drain()
        return
    kind, *args = action
    if kind == "sleep":
        await asyncio.sleep(args[0])
    elif kind == "drip":
        for char in args[0]:
            writer.write(char.encode())
            await writer.drain()
            await asyncio.sleep(args[1])
    elif kind == "flood":
        chunk = args[0].encode() * 200
        sent = 0
        while sent < args[1]:
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    else:
        raise ValueError(f"unknown action {action!r}")


async def run(actions: list[Any], reader: StreamReader, writer: StreamWriter) -> None:
    for action in actions:
        await act(action, reader, writer)


@dataclass
class State:
    """What the dialogue has come to."""

    mail: bool = False
    rcpts: int = 0


def reply_for(profile: Profile, verb: str, line: str, state: State) -> list[Any]:
    on: dict[str, list[Any]] = profile.get("on", {})
    if verb in on:
        return on[verb]
    if "*" in on:
        return on["*"]
    host = profile.get("banner", "220 odd.test")[4:].split()[0]
    if verb == "EHLO":
        state.mail = False
        return [f"250-{host}\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME"]
    if verb == "HELO":
        state.mail = False
        return ["250 " + host]
    if verb == "MAIL":
        state.mail = True
        return ["250 2.1.0 Ok"]
    if verb == "RCPT":
        if not state.mail:
            return ["503 5.5.1 need MAIL first"]
        state.rcpts += 1
        limit = profile.get("rcpt_limit")
        if limit and state.rcpts > limit[0]:
            return [limit[1]]
        found = re.search(r"<([^>]*)>", line)
        address = found.group(1) if found else ""
        rules: list[list[Any]] = profile.get("rcpt", [[".*", "250 2.1.5 Ok"]])
        for pattern, *actions in rules:
            if re.search(pattern, address, re.I):
                return actions
        return ["550 5.1.1 No such user"]
    if verb == "DATA":
        return ["554 5.7.0 This server takes no messages"]
    if verb == "RSET":
        state.mail = False
        return ["250 2.0.0 Ok"]
    if verb == "NOOP":
        return ["250 2.0.0 Ok"]
    if verb == "QUIT":
        return ["221 2.0.0 Bye", "close"]
    return ["502 5.5.2 Command not recognized"]


async def talk(profile: Profile, reader: StreamReader, writer: StreamWriter) -> None:
    if "script" in profile:
        return await run(profile["script"], reader, writer)
    await run([*profile.get("before", []), profile["banner"]], reader, writer)
    state = State()
    for _ in range(MAX_COMMANDS):
        raw = await reader.readline()
        if not raw:
            return None
        line = raw.decode("utf-8", "replace").strip()
        verb = line[:4].upper()
        await run(reply_for(profile, verb, line, state), reader, writer)
    return None


def handler(profile: Profile) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await asyncio.wait_for(talk(profile, reader, writer), MAX_LIFE)
        except (TimeoutError, Close, OSError, ValueError):
            pass
        finally:
            writer.close()

    return serve


def silent_port(address: str, keep: list[socket.socket]) -> None:
    """Listen with an accept queue of one and fill it: later SYNs are dropped."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, PORT))
    sock.listen(0)
    keep.append(sock)
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect((address, PORT))
        keep.append(filler)


def read_tables(paths: list[str]) -> dict[str, Profile]:
    table: dict[str, Profile] = {}
    for path in paths:
        table.update(json.loads(Path(path).read_text("utf-8")))
    return table


async def main(table: dict[str, Profile]) -> None:
    keep: list[socket.socket] = []
    servers = []
    for address, profile in table.items():
        if not address.startswith("127."):
            raise SystemExit(f"refusing a non-loopback address: {address}")
        if profile.get("backlog_full"):
            silent_port(address, keep)
        else:
            servers.append(
                await asyncio.start_server(
                    handler(profile), address, PORT, backlog=512, limit=1 << 16
                )
            )
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(read_tables(sys.argv[1:])))
