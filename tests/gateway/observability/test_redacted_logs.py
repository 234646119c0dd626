"""A secret that is logged by mistake is cut out of the line."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from gateway.observability.logs import set_up_logs
from gateway.observability.redaction import SecretList
from gateway.settings import Settings, secrets_in
from gateway.settings.server import LogSettings

KEY, PASSWORD = "live_00112233445566778899", 'pa"ss\\wörd'


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_in_a_line(log_format: Literal["text", "json"]) -> None:
    out, secrets = io.StringIO(), SecretList([KEY, PASSWORD])
    set_up_logs(LogSettings(format=log_format), out, redact=secrets.redact)
    log = logging.getLogger("gateway.test")
    log.info(KEY, extra={"url": f"http://me:{PASSWORD}@host/?key={KEY}", "key": [KEY.upper()]})
    try:
        raise ValueError(f"no key {KEY} with {PASSWORD}")
    except ValueError:
        log.exception("it.failed", extra={"fields": {KEY: b"bytes " + KEY.encode()}})
    first, *rest = out.getvalue().splitlines()
    assert first.count("…") == 4
    assert "ValueError: no key … with …" in "\n".join(rest)
    assert KEY not in out.getvalue().lower()
    assert "rd" not in out.getvalue().replace("Error", "").replace("record", "")


def test_every_secret_of_the_settings_is_known() -> None:
    environ = {"A": "key-of-a", "B": "key-of-b", "P": "socks5://proxy-us3r:of%2Fproxy@host:1080"}
    row = {
        "dialect": "emailable",
        "base_url": "https://base-us3r:of-base@host/v1",
        "api_key": "env:A",
    }
    settings = Settings.model_validate(
        {
            "transport": {"proxy": "http://token-alone@proxy:3128"},
            "upstreams": [
                {"name": "a", **row, "spare_api_keys": ["env:B"]},
                {"name": "b", **row, "proxy": "env:P"},
            ],
        },
        context={"environ": environ},
    )
    assert {
        *("key-of-a", "key-of-b"),
        *("of-base", "base-us3r", "base-us3r:of-base"),
        *("of/proxy", "proxy-us3r", "proxy-us3r:of/proxy"),
        *("token-alone", "token-alone:"),
    } == {*secrets_in(settings)}
    shown = repr(settings)
    assert not [secret for secret in secrets_in(settings) if secret in shown]
