"""Counts what one verification costs in hops: `python tools/count_hops.py [-v]`.

A whole server in memory, with a stub in place of the probe engine, answers requests of the
Emailable dialect. For each request it prints how many Python calls of ours are made (a coroutine
that goes on counts as a call, as does a comprehension), in how many files, and how often the next
call is in another file than the last; with `-v` the calls, for an address that is new to a server
that knows the key.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.model import Address, Checks, Dns, Evidence, Reason, Verdict, Verification  # noqa: E402
from gateway.app import open_services  # noqa: E402
from gateway.settings import Settings  # noqa: E402
from gateway.web.dispatch import Application, create_app  # noqa: E402

OURS = tuple(f"{ROOT}/{package}/" for package in ("engine", "adapters", "gateway"))
SETTINGS = {"storage": {"url": "sqlite:///:memory:"}}

Call = tuple[str, str]
"""A file and a function."""


class Stub:
    """Answers at once."""

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        return Verification(
            address=address,
            verdict=Verdict.DELIVERABLE,
            reason=Reason.ACCEPTED_EMAIL,
            score=100,
            evidence=Evidence(dns=Dns.MX),
            checks=checks,
            verified_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


@contextmanager
def recorded() -> Iterator[list[Call]]:
    """The calls of ours while inside."""
    calls: list[Call] = []

    def record(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS):
            calls.append((code.co_filename[len(f"{ROOT}/") :], code.co_qualname))

    sys.setprofile(record)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def get(app: Application, email: str, key: str) -> None:
    """One request, without a client or a server of HTTP around it."""
    replies: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        replies.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/verify",
        "raw_path": b"/v1/verify",
        "query_string": b"email=" + email.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer " + key.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    if replies[0]["status"] != 200:
        raise SystemExit(f"{email}: {replies}")


async def main(*, verbose: bool) -> None:
    async with open_services(Settings.model_validate(SETTINGS), verifier=Stub()) as services:
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "emailable")).key
        app = create_app(services)
        for name, email in (
            ("first request", "ada@firm.example"),
            ("new address", "grace@firm.example"),
            ("same address again", "grace@firm.example"),
        ):
            with recorded() as calls:
                await get(app, email, key)
            files = {file for file, _ in calls}
            moves = sum(one != other for (one, _), (other, _) in pairwise(calls))
            print(f"{name}: {len(calls)} calls, {len(files)} files, {moves} moves")  # noqa: T201
            if verbose and name == "new address":
                for file, function in calls:
                    print(f"    {file} {function}")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(verbose="-v" in sys.argv))
