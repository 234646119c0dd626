"""The connection to the shared server, which may be slow, away or empty at any moment.

A call never takes longer than the time limit of the settings. After several failures the server is
not asked any more until a trial in the background succeeds, so that at most the first few calls of
an outage are slow. A caller that gets `SharedStoreAway` does without: it uses its own memory.

Calls are bounded by the time-outs of their sockets. A task that is cancelled in the middle of a
call closes its connection, so that no other call gets its reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import valkey.asyncio as valkey
from valkey.exceptions import NoScriptError, ValkeyError

from engine.turns import FairSlots
from gateway.cluster.shared.keys import SharedStoreAway
from gateway.cluster.shared.scripts import Script
from gateway.tasks import GroupedCalls, in_background

log = logging.getLogger(__name__)

FAILURES_UNTIL_DOWN = 5
"""Consecutive ones."""
FIRST_PAUSE_S = 1.0
"""Until the first trial; it doubles with each that fails."""
MAX_PAUSE_S = 10.0
LOOK_EVERY_S = 5.0
"""Whether the server is there is found out even if there is nothing to ask it."""
CONNECT_TIMEOUT_S = 0.25
MAX_CONNECTIONS = 50
"""Of one process. Further calls wait for one, by turns of the parties, which is no failure of the
server."""
MAX_POSTED = 10_000
"""Commands that wait to be sent; further ones are dropped."""
POSTED_TOGETHER = 500
READ_TOGETHER = 100
TRIAL_VALUE_S = 10

SERVER_ERRORS = (ValkeyError, OSError)
"""What calls raise if the server is away, slow, full, or refuses us."""

Command = Sequence[Any]
"""The name of a command, and its arguments."""


class SharedStore:
    """One Valkey or Redis server. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        client: valkey.Valkey,
        where: str,
        *,
        prefix: str = "veriplex",
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """`where` is its host and port, for messages; `prefix` begins the names of all keys."""
        self.where = where
        self.prefix = prefix
        self.is_up = True
        """Whether calls are made. It is taken to be there until it fails."""
        self.calls = 0
        self.failures = 0
        self.changes = 0
        """How often it went down or came back."""
        self._client: Any = client
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._first_pause_s = first_pause_s
        self._consecutive_failures = 0
        self._down_s = 0.0
        self._down_since: float | None = None
        self._went_down = asyncio.Event()
        self._slots = FairSlots(MAX_CONNECTIONS, is_strict=True)
        self._reads: GroupedCalls[str, bytes | None]
        self._reads = GroupedCalls(self._read_many, max_group=READ_TOGETHER)
        self._posted: deque[Command] = deque(maxlen=MAX_POSTED)
        self._has_posted = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def down_s(self) -> float:
        """Seconds in which it was not used, since the start."""
        since = self._down_since
        return self._down_s + (self._clock() - since if since is not None else 0.0)

    async def run(self, script: Script, keys: Sequence[str], *args: Any) -> Any:
        """Run a script; the server is sent its text only if it does not have it.

        Raises SharedStoreAway.
        """
        return await self._bounded(lambda: self._evaluate(script, keys, args))

    async def call(self, *command: Any) -> Any:
        """Run one command. Raises SharedStoreAway."""
        return await self._bounded(lambda: self._client.execute_command(*command))

    async def read(self, key: str) -> bytes | None:
        """The value of a key, together with what others read now. Raises SharedStoreAway."""
        if not self.is_up:
            raise SharedStoreAway
        return await self._reads.submit(key)

    def post(self, *command: Any) -> None:
        """Have a command run soon, without waiting for it; it is dropped while the server is
        away."""
        if self.is_up:
            self._posted.append(command)
            self._has_posted.set()

    def post_script(self, script: Script, keys: Sequence[str], *args: Any) -> None:
        """As `post`. A text that the server has already costs little for a rare script."""
        self.post("EVAL", script.text, len(keys), *keys, *args)

    async def settle(self) -> None:
        """Wait until what was posted has been sent, or dropped."""
        with contextlib.suppress(SharedStoreAway):
            await self._send_some()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look after the server while inside, and send at the end what is still posted."""
        async with in_background(self._try_again()), in_background(self._send_posted()):
            yield
        await self.settle()
        await self._reads.aclose()
        with contextlib.suppress(*SERVER_ERRORS):
            await self._client.aclose()

    async def _evaluate(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        rest = (len(keys), *keys, *args)
        try:
            return await self._client.execute_command("EVALSHA", script.digest, *rest)
        except NoScriptError:  # it is new there, or was restarted
            return await self._client.execute_command("EVAL", script.text, *rest)

    async def _read_many(self, keys: list[str]) -> Sequence[bytes | None]:
        found: list[bytes | None] = await self.call("MGET", *keys)
        return found

    async def _bounded(self, call: Callable[[], Any]) -> Any:
        if not self.is_up:
            raise SharedStoreAway
        async with self._slots.slot():
            if not self.is_up:  # it went down while this call waited
                raise SharedStoreAway
            self.calls += 1
            try:
                result = await call()
            except SERVER_ERRORS as exc:
                self._record_failure(exc)
                raise SharedStoreAway from exc
        self._consecutive_failures = 0
        return result

    def _record_failure(self, exc: Exception) -> None:
        self.failures += 1
        self._consecutive_failures += 1
        if self._consecutive_failures >= FAILURES_UNTIL_DOWN:
            self._go_down(exc)

    def _go_down(self, exc: Exception) -> None:
        if not self.is_up:
            return
        self.is_up = False
        self.changes += 1
        self._down_since = self._clock()
        self._posted.clear()
        self._went_down.set()
        log.warning("shared.down", extra={"server": self.where, "error": reason(exc)})

    def _come_back(self) -> None:
        self.is_up = True
        self.changes += 1
        down_s = self._clock() - (self._down_since or self._clock())
        self._down_s += down_s
        self._down_since = None
        self._consecutive_failures = 0
        log.info("shared.up", extra={"server": self.where, "down_s": round(down_s, 1)})

    async def _try_again(self) -> None:
        """See at the start whether the server is there, and later try it while it is down."""
        if (exc := await self._trial()) is not None:
            self._go_down(exc)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._went_down.wait()
            while self.is_up and (exc := await self._trial()) is not None:
                self._record_failure(exc)
            self._went_down.clear()
            pause_s = self._first_pause_s
            while not self.is_up:
                # spread, so that many processes do not try at the same moment
                await asyncio.sleep(pause_s * self._rng.uniform(0.8, 1.2))
                if await self._trial() is None:
                    self._come_back()
                pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _trial(self) -> Exception | None:
        """Write something: a server that is full, or a replica, answers but is of no use."""
        try:
            await self._client.execute_command(
                "SET", f"{self.prefix}:trial", "1", "EX", TRIAL_VALUE_S
            )
        except SERVER_ERRORS as exc:
            return exc
        return None

    async def _send_posted(self) -> None:
        while True:
            await self._has_posted.wait()
            self._has_posted.clear()
            await self.settle()

    async def _send_some(self) -> None:
        """Send what is posted, in its order. Raises SharedStoreAway."""
        async with self._sending:
            while self._posted:
                pipeline = self._client.pipeline(transaction=False)
                for _ in range(min(POSTED_TOGETHER, len(self._posted))):
                    pipeline.execute_command(*self._posted.popleft())
                await self._bounded(pipeline.execute)


def reason(exc: Exception) -> str:
    """Without what the server was sent; its reply to a wrong password has none."""
    return f"{type(exc).__name__}: {exc}"[:200]


def open_client(url: str, password: str, *, timeout_s: float) -> valkey.Valkey:
    """A client that does not repeat calls: its caller knows better what to do instead.

    `url` is checked (`gateway.settings`).
    """
    options: dict[str, Any] = {"password": password} if password else {}
    client: valkey.Valkey = valkey.Valkey.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=max(timeout_s, CONNECT_TIMEOUT_S),
        socket_keepalive=True,
        lib_name=None,
        lib_version=None,
        **options,
    )
    return client
