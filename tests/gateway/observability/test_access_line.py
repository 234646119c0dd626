"""The access log's line for people, and what of a path stands in it."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re

import pytest

from gateway.observability.access_line import access_line, loggable_path
from gateway.observability.logs import set_up_logs
from gateway.observability.metrics import AccessLogEntry, Metrics
from gateway.settings.server import LogSettings

ENTRY = AccessLogEntry(
    request_id="5f1c",
    dialect="emailable",
    endpoint="verify",
    method="GET",
    status=200,
    source="local",
    seconds=0.09514,
    key="sign-up form",
    domain="example.com",
    problem="",
    at=1_790_000_000.289,
    path="/v1/verify",
    verdict="deliverable",
    cache="fwd=miss",
    client="192.0.2.7",
)
LINE = "15:40:30.289  GET /v1/verify  200  deliverable  local  95 ms  sign-up form  192.0.2.7"


def test_the_line_for_people() -> None:
    fields = ENTRY.to_fields()
    assert access_line("15:40:30.289", fields, width=None, colour=False) == LINE
    cached = access_line("15:40:30", {**fields, "cache": "hit"}, width=None, colour=False)
    assert "  deliverable  local, cached  95 ms" in cached
    failed = ENTRY._replace(verdict="", problem="bad_credential", status=403, key="").to_fields()
    assert "  403  bad credential  local" in access_line("", failed, width=None, colour=False)


@pytest.mark.parametrize("width", [200, 84, 80, 60, 42])
@pytest.mark.parametrize("colour", [False, True])
def test_it_fits_the_terminal(width: int, colour: bool) -> None:
    line = access_line("15:40:30.289", ENTRY.to_fields(), width=width, colour=colour)
    bare = re.sub(r"\x1b\[\d+m", "", line)
    assert len(bare) <= width
    assert (line == bare) is not colour
    assert "GET /v1/verify  200  deliverable" in bare
    assert ("192.0.2.7" in bare) is (width >= 80)


def test_a_hint_is_not_cut() -> None:
    fields = ENTRY._replace(hint="this is a key of generic").to_fields()
    assert access_line("", fields, width=42, colour=False).endswith("\n  this is a key of generic")
    assert access_line("", fields, width=None, colour=False).endswith("  this is a key of generic")


@pytest.mark.parametrize(
    ("path", "is_known", "shown"),
    [
        ("/v1/bulk/0123456789abcdef01234567", True, "/v1/bulk/0123456789abcdef01234567"),
        ("/v1/disposable/ada@example.com", True, "/v1/disposable/…@example.com"),
        ("/v1/disposable/ada%40example.com", True, "/v1/disposable/…@example.com"),
        ("/v1verify", False, "/v1verify"),
        ("/v1/verify/live_0123456789abcdef0123", False, "/v1/verify/…0123"),
        ("/v1/verify/" + "k" * 24, False, "/v1/verify/…kkkk"),
        ("/a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d", True, "/a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"),
        ("/v1/bulk/live_0123456789abcdef0123", True, "/v1/bulk/…0123"),
        ("/v1/bulk/0123456789abcdefghijklmnopqrstuv", True, "/v1/bulk/…stuv"),
        ("/v1/x/%6C%69%76%65%5F%30%31", False, "/v1/x/…"),
        ("/v1/x/%6C%69%76%65%5F%30%31", True, "/v1/x/…"),
        ("/v1/x/\\u006c\\u0069", False, "/v1/x/…"),
        ("/v1/x/&#108;&#105;", False, "/v1/x/…"),
        ("/v1/x/bGl2ZV8wMQ==", False, "/v1/x/…"),
        ("/v1/x/ada@live_0123456789abcdef0123", False, "/v1/x/…@…0123"),
        ("/" + "x/" * 300, False, "/" + "x/" * 99 + "…"),
    ],
)
def test_paths_without_keys_and_mailboxes(path: str, is_known: bool, shown: str) -> None:
    assert loggable_path(path, is_known=is_known) == shown


async def written(log: LogSettings, *entries: AccessLogEntry) -> str:
    out = io.StringIO()
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    set_up_logs(log, out)
    try:
        metrics = Metrics()
        async with metrics.writing_access_log():
            for entry in entries:
                metrics.record_request(entry)
    finally:
        root.level, root.handlers = before
    return out.getvalue()


async def test_the_time_is_that_of_the_request() -> None:
    entries = [ENTRY._replace(at=1_790_000_000 + n / 4) for n in range(3)]
    lines = (await written(LogSettings(), *entries)).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "2026-09-21 14:13:20.000",
        "2026-09-21 14:13:20.250",
        "2026-09-21 14:13:20.500",
    ]
    (line,) = (await written(LogSettings(format="json"), ENTRY)).splitlines()
    found = json.loads(line)
    assert found["time"] == "2026-09-21T14:13:20.289Z"
    wanted = {"path": "/v1/verify", "verdict": "deliverable", "cache": "fwd=miss"}
    assert wanted.items() <= found.items()
    assert (found["client"], found["key"], found["ms"]) == ("192.0.2.7", "sign-up form", 95.14)


async def test_health_checks_have_no_line_unless_they_fail() -> None:
    ready = ENTRY._replace(endpoint="ready", path="/readyz", verdict="")
    assert await written(LogSettings(), ready) == ""
    assert "/readyz  503" in await written(LogSettings(), ready._replace(status=503))
    assert "/readyz  200" in await written(LogSettings(level="debug"), ready)


async def test_a_terminal_gets_the_time_alone_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with os.fdopen(theirs, "w") as stream:
        set_up_logs(LogSettings(), stream)
        try:
            logging.getLogger("veriplex.request").info(
                "request", extra={"at": ENTRY.at, "fields": ENTRY.to_fields()}
            )
            stream.flush()
        finally:
            root.level, root.handlers = before
        shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert shown.startswith("\x1b[2m14:13:20.289\x1b[0m  GET /v1/verify")
