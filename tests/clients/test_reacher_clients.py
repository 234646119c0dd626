"""Reacher's published client, @reacherhq/api 0.3.2 from npm: its URL has the whole path."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Served, serving_host_names

pytestmark = [pytest.mark.testbed, pytest.mark.node]

HERE = Path(__file__).parent / "node"
ADDRESS = "127.0.0.97"
SUITES_SYNTAX = (
    '"syntax":{"address":null,"domain":"","is_valid_syntax":false,"username":"",'
    '"normalized_email":null,"suggestion":null}'
)
"""As the server's own tests have it for `foo@bar`."""


def ask(served: Served, *url: str, **environment: str) -> dict[str, Any]:
    """The answers that the client got."""
    done = subprocess.run(
        ["node", "--require", "./hosts.js", "ask_reacher.js", served.keys["reacher"], *url],
        cwd=HERE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def check(answers: dict[str, Any]) -> None:
    words = {name: found["is_reachable"] for name, found in answers.items() if "mx" in found}
    assert words == {
        "known": "safe",
        "unknown": "invalid",
        "catchAll": "risky",
        "dead": "invalid",
        "malformed": "invalid",
    }
    assert answers["known"]["mx"]["records"] == ["mx1.postfix.test."]
    assert answers["catchAll"]["smtp"]["is_catch_all"] is True
    assert answers["dead"]["mx"] == {"accepts_mail": False, "records": []}
    assert json.dumps({"syntax": answers["malformed"]["syntax"]}, separators=(",", ":")) == (
        "{" + SUITES_SYNTAX + "}"
    )
    assert answers["empty"] == {"status": 400, "data": {"error": "to_email field is required."}}
    assert answers["wrong"] == {"status": 401, "data": {"error": "Invalid API token."}}


@pytest.mark.parametrize("path", ["/v0/check_email", "/reacher/v0/check_email", "/v1/check_email"])
def test_by_url(served: Served, path: str) -> None:
    check(ask(served, served.url + path))


def test_by_host_name(tmp_path: Path) -> None:
    with serving_host_names(tmp_path, ADDRESS) as (served, environment):
        check(ask(served, **environment))
