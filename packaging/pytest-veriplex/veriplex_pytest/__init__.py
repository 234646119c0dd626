"""The pytest plugin: `veriplex_sandbox`, an offline sandbox with fresh keys for every test.

The server runs in a process of its own, once a session (and so once a worker of pytest-xdist).
Nothing heavy is imported here, since pytest loads this file in every run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

__all__ = ["ControlError", "Sandbox", "ServerNotFound", "ServerNotStarted"]

COMMAND_VARIABLE = "VERIPLEX_COMMAND"
NOT_FOUND = f"""\
pytest-veriplex found no Veriplex server. Any of these provides one:
  - `pip install veriplex` into the Python that runs pytest: {sys.executable}
  - `pipx install veriplex`, or any other way to have the command on PATH; where uv is on PATH,
    `uvx veriplex` is used and nothing has to be installed
  - {COMMAND_VARIABLE}="/path/to/veriplex" in the environment: the command that runs it"""

LISTENING = re.compile(r"listening on (http://\S+)")
START_TIMEOUT_S = 120
"""uvx may have to download the server first; an installed one starts within a second."""
STOP_TIMEOUT_S = 10
CALL_TIMEOUT_S = 30
LOG_TAIL = 2_000
"""Characters of the server's log that an error shows."""

# The server is on this machine, so HTTP_PROXY does not apply.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ControlError(Exception):
    """The sandbox refused what was asked of it."""


class ServerNotFound(Exception):
    """There is no server to start."""


class ServerNotStarted(Exception):
    """The server ended, or said nothing, before it listened."""


class Sandbox:
    """A running sandbox, seen with keys of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.base_urls: dict[str, str] = self._call("GET", "sandbox")["base_urls"]
        """By dialect, as each vendor's documentation ends it."""
        self.keys: dict[str, str] = self._call("POST", "keys")["keys"]
        """By dialect; no other Sandbox has them."""

    @property
    def _key(self) -> str:
        return next(iter(self.keys.values()))

    def key(self, dialect: str, simulate: str = "") -> str:
        """The dialect's key; with a word, the one that gets this outcome every time."""
        return f"{self.keys[dialect]}-simulate-{simulate}" if simulate else self.keys[dialect]

    def requests(self, **filters: object) -> list[dict[str, Any]]:
        """The requests with these keys, oldest first; docs/sandbox.md names the filters."""
        found = self._call("GET", "requests", key=self._key, **{"limit": 1000, **filters})
        return cast("list[dict[str, Any]]", found["requests"])

    def last(self, **filters: object) -> dict[str, Any]:
        """The latest request that fits. Raises ControlError if none does."""
        return self._call("GET", "requests/last", key=self._key, **filters)

    def count(self, **filters: object) -> int:
        """How many requests fit."""
        return int(self._call("GET", "requests/count", key=self._key, **filters)["count"])

    def wait_for(
        self, count: int = 1, *, timeout_s: float = 5.0, **filters: object
    ) -> list[dict[str, Any]]:
        """The requests that fit, once there are so many. Raises ControlError after the time."""
        asked = {"key": self._key, "count": count, "timeout_s": timeout_s, **filters}
        found = self._call("GET", "requests/wait", **asked)
        return cast("list[dict[str, Any]]", found["requests"])

    def webhooks(self, **filters: object) -> list[dict[str, Any]]:
        """What became of the webhooks of these keys' batches, oldest first."""
        found = self._call("GET", "webhooks", key=self._key, **{"limit": 1000, **filters})
        return cast("list[dict[str, Any]]", found["webhooks"])

    def wait_for_webhooks(
        self, count: int = 1, *, timeout_s: float = 5.0, **filters: object
    ) -> list[dict[str, Any]]:
        """The webhooks that fit, once there are so many. Raises ControlError after the time."""
        asked = {"key": self._key, "count": count, "timeout_s": timeout_s, **filters}
        found = self._call("GET", "webhooks/wait", **asked)
        return cast("list[dict[str, Any]]", found["webhooks"])

    def fault(self, **fault: object) -> int:
        """Set a fault for these keys, until the test is over; its id."""
        return int(self._call("POST", "faults", fault, key=self._key)["id"])

    def clear_faults(self) -> None:
        """Remove the faults of these keys."""
        self._call("DELETE", "faults", key=self._key)

    def clock(self, **change: object) -> str:
        """Set these keys' clock (`at`, `advance_s`, `frozen`), until the test is over; the time
        that it shows then."""
        return str(self._call("POST", "clock", change, key=self._key)["now"])

    def reset(self) -> None:
        """Forget what belongs to these keys; their clock shows the right time again."""
        self._call("POST", "reset", key=self._key)

    def _call(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        url = f"{self.url}/veriplex/v1/{path}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # it is http://
        waits_s = query.get("timeout_s")
        timeout_s = CALL_TIMEOUT_S + (waits_s if isinstance(waits_s, (int, float)) else 0)
        try:
            with _opener.open(request, timeout=timeout_s) as reply:
                return cast("dict[str, Any]", json.load(reply))
        except urllib.error.HTTPError as exc:
            with exc:
                raise ControlError(exc.read().decode("utf-8", "replace")) from exc


@pytest.fixture(scope="session")
def veriplex_sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Veriplex sandbox that runs as long as the session."""
    folder = tmp_path_factory.mktemp("veriplex-sandbox")
    problem = ""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(_running(server_command(), folder))
        except (ServerNotFound, ServerNotStarted) as exc:
            problem = str(exc)
        if problem:
            pytest.fail(problem, pytrace=False)  # a user has no use for a traceback of this file
        yield url


@pytest.fixture
def veriplex_sandbox(veriplex_sandbox_url: str) -> Iterator[Sandbox]:
    """A Veriplex sandbox with keys, a request log, faults and a clock of this test's own."""
    sandbox = Sandbox(veriplex_sandbox_url)
    yield sandbox
    sandbox.reset()


def server_command() -> list[str]:
    """The command of the server, as README.md says where it is looked for.

    Raises ServerNotFound.
    """
    if given := shlex.split(os.environ.get(COMMAND_VARIABLE, "")):
        return given
    if _is_installed():
        return [sys.executable, "-P", "-m", "veriplex"]
    if found := shutil.which("veriplex"):
        return [found]
    if found := shutil.which("uvx"):
        return [found, "veriplex"]
    raise ServerNotFound(NOT_FOUND)


def _is_installed() -> bool:
    try:
        metadata.distribution("veriplex")
    except metadata.PackageNotFoundError:
        return False
    return True


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[str]:
    """Run a sandbox, in a process that cannot see the project that is tested; its URL."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (COMMAND_VARIABLE, "PYTHONPATH")
    }
    environment["PYTHONSAFEPATH"] = "1"  # not even the folder that it runs in
    log = folder / "server.log"
    try:
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603  # it is the user's own command
                [*command, "sandbox", "--host", "127.0.0.1", "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=environment,
                text=True,
            )
    except OSError as exc:
        raise ServerNotStarted(f"cannot run `{shlex.join(command)}`: {exc}") from exc
    with process:
        try:
            yield _url(process, command, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _url(process: subprocess.Popen[str], command: list[str], log: Path) -> str:
    """What the server says that it listens on. Raises ServerNotStarted."""
    assert process.stdout is not None
    deadline = threading.Timer(START_TIMEOUT_S, process.kill)
    deadline.start()
    try:
        for line in process.stdout:
            if found := LISTENING.match(line):
                return found[1]
        ended = f"`{shlex.join(command)} sandbox` ended with {process.wait()}"
    finally:
        deadline.cancel()
    said = log.read_text("utf-8", "replace").strip()[-LOG_TAIL:]
    raise ServerNotStarted(f"{ended} before it listened; its log:\n{said or '(empty)'}")
