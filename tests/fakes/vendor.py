"""A vendor on loopback: speaks any of the dialects, and misbehaves by its mood.

It replies by the dialect's own writers, and so in the vendor's words. Its mood can be changed while
it runs; every request for a verification is counted.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import JobPage
from adapters.contract.operations import (
    UNLIMITED,
    AccountInfo,
    Acknowledge,
    ListJobs,
    ShowAccount,
    Verify,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest
from engine.address import syntax
from engine.model import Dns, Evidence, MxHost, Reason, Verdict, Verification
from engine.score import score

GOOD_KEY = "good-key"


class Mood(StrEnum):
    """How it behaves."""

    GOOD = "good"
    SLOW = "slow"  # answers after `slow_s`
    HANG = "hang"  # never answers
    RESET = "reset"  # closes the connection instead of a reply
    HALF = "half"  # closes the connection in the middle of the body
    GARBAGE = "garbage"  # 200 with a body of no dialect
    ERROR = "error"  # 500
    UNAVAILABLE = "unavailable"  # 503
    THROTTLED = "throttled"  # 429
    EMPTY = "empty"  # no credits
    PENDING = "pending"  # not ready, `pending` times; then good
    BANNED = "banned"  # our IP address is refused, with any key


_PROBLEMS = {
    Mood.ERROR: ProblemKind.INTERNAL,
    Mood.UNAVAILABLE: ProblemKind.UNAVAILABLE,
    Mood.THROTTLED: ProblemKind.TOO_FAST,
    Mood.EMPTY: ProblemKind.NO_CREDITS,
    Mood.BANNED: ProblemKind.CLIENT_BLOCKED,
}

Says = Callable[[str], tuple[Verdict, Reason]]


def deliverable(_: str) -> tuple[Verdict, Reason]:
    return Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL


EVIDENCE = Evidence(dns=Dns.MX, mx=(MxHost("mx.example.com", 10),))


@dataclass(eq=False)
class Vendor:
    """One vendor. Made by `vendor`."""

    dialect: Dialect
    mood: Mood = Mood.GOOD
    says: Says = deliverable
    keys: set[str] = field(default_factory=lambda: {GOOD_KEY})
    credits: int = 1000
    slow_s: float = 0.05
    retry_after_s: int | None = 1
    pending: int = 2
    evidence: Evidence = EVIDENCE
    """The evidence with its verdict."""
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """Verifications by key."""
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by each request for a verification."""
    seen: list[WireRequest] = field(default_factory=list)
    balances: int = 0
    _server: asyncio.Server | None = None
    _never: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        """The base URL for an upstream's settings."""
        return f"http://127.0.0.1:{self.port}{self.dialect.base_path}"

    @property
    def is_listening(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stop listening, and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.transport.abort()
        for task in tuple(self._serving):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader)
        reply = await self._reply(request)
        if reply is None:
            writer.transport.abort()
            return False
        data = _written(reply)
        if self.mood is Mood.HALF:
            writer.write(data[: len(data) - len(reply.body) // 2 - 1])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(data)
        await writer.drain()
        return True

    async def _reply(self, request: WireRequest) -> WireReply | None:
        endpoint = next(
            (
                e
                for e in self.dialect.endpoints
                if e.path == request.path and request.method in e.methods
            ),
            None,
        )
        if endpoint is None:
            return self.dialect.write_problem(request, Problem(ProblemKind.UNKNOWN_PATH), None)
        try:
            key = (
                self.dialect.credential_for(endpoint).read(request) if endpoint.needs_key else None
            )
            op = endpoint.read(request)
            if isinstance(op, Verify):
                self.asked[key or ""] += 1
                self.was_asked.set()
                self.seen.append(request)
                misbehaved = await self._misbehave()
                if misbehaved is not _GO_ON:
                    return misbehaved
            else:
                self.balances += 1
                if self.mood is Mood.BANNED:
                    raise Problem(_PROBLEMS[self.mood])
                if isinstance(op, Acknowledge):
                    return endpoint.write(op, None)  # type: ignore[return-value]
            if key not in self.keys:
                raise Problem(ProblemKind.BAD_CREDENTIAL)
            if isinstance(op, Verify):
                return endpoint.write(op, self._verification(op))  # type: ignore[return-value]
            account = AccountInfo("a@b.test", UNLIMITED, "2026-05", 0, self.credits)
            outcome = await op.run_by(_Account(account))
            return endpoint.write(op, outcome)  # type: ignore[return-value]
        except Problem as problem:
            return self.dialect.write_problem(request, problem, endpoint)

    async def _misbehave(self) -> WireReply | None:
        match self.mood:
            case Mood.SLOW:
                await asyncio.sleep(self.slow_s)
            case Mood.HANG:
                await self._never.wait()
            case Mood.RESET:
                return None
            case Mood.GARBAGE:
                return WireReply(200, b"<html>maintenance</html>", "text/html")
            case Mood.PENDING if self.pending > 0:
                self.pending -= 1
                raise Problem(ProblemKind.NOT_READY)
            case mood if mood in _PROBLEMS:
                after_s = self.retry_after_s if mood is not Mood.ERROR else None
                now = datetime.now(UTC).timestamp()
                raise Problem(
                    _PROBLEMS[mood],
                    retry_after_s=after_s,
                    limit=1,
                    used=1,
                    reset_at=None if after_s is None else int(now) + after_s,
                )
        return _GO_ON

    def _verification(self, op: Verify) -> Verification:
        verdict, reason = self.says(op.email)
        evidence = self.evidence
        if reason is Reason.CATCH_ALL:
            evidence = replace(evidence, catch_all=True)
        return Verification(
            address=syntax.parse_address(op.email),
            verdict=verdict,
            reason=reason,
            score=score(verdict, reason, evidence),
            evidence=evidence,
            checks=op.checks,
            verified_at=datetime.now(UTC),
        )


_GO_ON = WireReply(0)


@contextlib.asynccontextmanager
async def vendor(dialect: Dialect, **options: object) -> AsyncIterator[Vendor]:
    """A vendor that listens while inside."""
    made = Vendor(dialect, **options)  # type: ignore[arg-type]
    await made.start()
    try:
        yield made
    finally:
        await made.kill()


class _Account:
    """Runs the operations about an account that has no batches."""

    def __init__(self, account: AccountInfo) -> None:
        self._account = account

    async def show_account(self, _: ShowAccount) -> AccountInfo:
        return self._account

    def jobs(self, _: str) -> Self:
        return self

    async def list_page(self, _: ListJobs) -> JobPage:
        return JobPage((), 0)


async def _read(reader: asyncio.StreamReader) -> WireRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip().split("\r\n")
    method, target, _ = line.split(" ")
    headers = {}
    for text in lines:
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return WireRequest(method, parts.path, parts.query, headers, body)


def _written(reply: WireReply) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} Said",
        f"content-length: {len(reply.body)}",
        f"content-type: {reply.media_type}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body
