"""The pytest plugin: `veriplex_sandbox`, an off-line sandbox with fresh keys for every test.

The server runs in a process of its own, once a session (and so once a worker of pytest-xdist).
Nothing heavy is imported here, since pytest loads this file in every run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlencode

import pytest

START = "from gateway.cli import main; main()"
LISTENING = re.compile(r"listening on (http://\S+)")
STOP_TIMEOUT_S = 10


class ControlError(Exception):
    """The sandbox refused what was asked of it."""


class Sandbox:
    """A running sandbox, seen with keys of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.base_urls: dict[str, str] = self._call("GET", "sandbox")["base_urls"]
        """By dialect, as each vendor's documentation ends it."""
        self.keys: dict[str, str] = self._call("POST", "keys")["keys"]
        """By dialect; nobody else has them."""

    @property
    def _key(self) -> str:
        return next(iter(self.keys.values()))

    def key(self, dialect: str, simulate: str = "") -> str:
        """The dialect's key; with a word, the one that gets this outcome every time."""
        return f"{self.keys[dialect]}-simulate-{simulate}" if simulate else self.keys[dialect]

    def requests(self, **filters: object) -> list[dict[str, Any]]:
        """What came with these keys, oldest first; docs/sandbox.md names the filters."""
        found = self._call("GET", "requests", key=self._key, **{"limit": 1000, **filters})
        return cast("list[dict[str, Any]]", found["requests"])

    def last(self, **filters: object) -> dict[str, Any]:
        """The latest that fits. Raises ControlError if none does."""
        return self._call("GET", "requests/last", key=self._key, **filters)

    def count(self, **filters: object) -> int:
        return int(self._call("GET", "requests/count", key=self._key, **filters)["count"])

    def wait_for(
        self, count: int = 1, *, timeout_s: float = 5.0, **filters: object
    ) -> list[dict[str, Any]]:
        """The requests that fit, once there are so many. Raises ControlError after the time."""
        asked = {"key": self._key, "count": count, "timeout_s": timeout_s, **filters}
        found = self._call("GET", "requests/wait", **asked)
        return cast("list[dict[str, Any]]", found["requests"])

    def fault(self, **fault: object) -> int:
        """Set a fault for these keys, until the test is over; its id."""
        return int(self._call("POST", "faults", fault, key=self._key)["id"])

    def clear_faults(self) -> None:
        self._call("DELETE", "faults", key=self._key)

    def clock(self, **change: object) -> str:
        """Set these keys' clock (`at`, `advance_s`, `frozen`), until the test is over; what it
        shows."""
        return str(self._call("POST", "clock", change, key=self._key)["now"])

    def reset(self) -> None:
        """Forget what belongs to these keys; their clock shows the right time again."""
        self._call("POST", "reset", key=self._key)

    def _call(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        url = f"{self.url}/veriplex/v1/{path}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request) as reply:  # noqa: S310
                return cast("dict[str, Any]", json.load(reply))
        except urllib.error.HTTPError as exc:
            with exc:
                raise ControlError(exc.read().decode("utf-8", "replace")) from exc


@pytest.fixture(scope="session")
def veriplex_sandbox_url() -> Iterator[str]:
    """The URL of a sandbox that runs as long as the session."""
    command = [sys.executable, "-c", START, "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield _url(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def veriplex_sandbox(veriplex_sandbox_url: str) -> Iterator[Sandbox]:
    """A sandbox with keys, a log, faults and a clock of this test's own."""
    sandbox = Sandbox(veriplex_sandbox_url)
    yield sandbox
    sandbox.reset()


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := LISTENING.match(line):
            return found[1]
    raise RuntimeError(f"veriplex sandbox ended with {process.wait()}")
