"""An upstream repeats keys in its replies: they are shown nowhere."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from adapters.contract.dialect import Dialect
from gateway.settings import Settings
from tests.fakes.echo import echo
from tests.gateway.upstreams.conftest import BY_NAME, front

CURRENT, SPARE, OTHERS = "live_00112233445566778899", "live_aabbccddeeff00112233", "zz-9/8 7+6=5"
PASSWORD = "s3cret-word"
WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "quoted": lambda key: quote(key, safe=""),
    "percent": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "escaped": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
}


def settings_for(dialect: Dialect, port: int, *references: str, record_to: str = "") -> Settings:
    row = {
        "name": "v0",
        "dialect": dialect.name,
        "base_url": f"http://me:{PASSWORD}@127.0.0.1:{port}{dialect.base_path}",
        "api_key": references[0],
        "spare_api_keys": references[1:],
        "balance_every_s": 0,
        "timeout_s": 2.0,
        "record": bool(record_to),
        "record_to": record_to or "unused",
    }
    other = {**row, "name": "v1", "api_key": "env:OTHERS", "spare_api_keys": ()}
    return Settings.model_validate(
        {
            "storage": {"url": "sqlite:///:memory:"},
            "routing": {"order": ["v0"], "complete": "none"},
            "upstreams": [row, other],
        },
        context={"environ": {"CURRENT": CURRENT, "SPARE": SPARE, "OTHERS": OTHERS}},
    )


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("dialect", BY_NAME.values(), ids=list(BY_NAME))
async def test_no_key_is_in_the_details_of_an_attempt(dialect: Dialect, status: int) -> None:
    ways = list(WAYS.values())
    keys = [ways[(i + status) % 5](key) for i, key in enumerate((CURRENT, SPARE, OTHERS, PASSWORD))]
    said = " ".join(keys)
    body = f'{{"message": "{said}", "error": "{said}", "success": false}}'
    async with echo(status=status, body=body.encode()) as upstream:
        settings = settings_for(dialect, upstream.port, "env:CURRENT", "env:SPARE")
        async with front(settings) as server:
            reply = await server.ask("ada@example.com")
    assert reply.status_code == 503
    assert not [key for key in keys if key.lower() in reply.text.lower()]
    assert "… … … …" in json.dumps(reply.json()["attempts"], ensure_ascii=False)


async def test_a_key_that_is_cut_off_by_the_length_of_a_detail_is_not_shown(
    emailable: Dialect,
) -> None:
    said = "x" * 285 + CURRENT
    async with (
        echo(body=json.dumps({"message": said}).encode()) as upstream,
        front(settings_for(emailable, upstream.port, "env:CURRENT")) as server,
    ):
        reply = await server.ask("ada@example.com")
    assert reply.json()["attempts"][0]["detail"] == "x" * 285 + "…"


async def test_a_key_that_was_exchanged_in_its_file_is_cut_out_too(
    emailable: Dialect, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(CURRENT)
    new = "live_99999999990000000000"
    async with (
        echo(body=json.dumps({"message": f"{CURRENT} {new}"}).encode()) as upstream,
        front(settings_for(emailable, upstream.port, f"file:{path}")) as server,
    ):
        path.write_text(new)
        # refused, so that the file is read again and the new key is tried at once
        reply = await server.ask("ada@example.com")
    assert [new in head for head in upstream.heads] == [False, True]
    assert reply.json()["attempts"][0]["detail"] == "… …"


async def test_a_key_in_an_answer_is_not_in_the_verdict(emailable: Dialect) -> None:
    answer = {
        "state": f"deliverable {CURRENT}",
        "reason": CURRENT,
        "email": "ada@example.com",
        "did_you_mean": f"{CURRENT}@example.com",
        "mx_record": CURRENT,
        "smtp_provider": SPARE,
        "full_name": CURRENT,
        "score": 90,
    }
    async with echo(status=200, body=json.dumps(answer).encode()) as upstream:
        settings = settings_for(emailable, upstream.port, "env:CURRENT", "env:SPARE")
        async with front(settings) as server:
            reply = await server.ask("ada@example.com")
    assert reply.status_code == 200
    assert "…" in reply.text
    assert CURRENT not in reply.text
    assert SPARE not in reply.text


@pytest.mark.parametrize("dialect", BY_NAME.values(), ids=list(BY_NAME))
async def test_no_secret_is_in_a_recorded_fixture(dialect: Dialect, tmp_path: Path) -> None:
    pair = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    said = [way(key) for way in WAYS.values() for key in (CURRENT, SPARE, OTHERS, PASSWORD)]
    words = {f"part {n}": word for n, word in enumerate(said)} | dict.fromkeys(said, "")
    words["authorization"] = pair
    body = json.dumps(words).replace("\\\\", "\\").encode()
    async with echo(status=500, body=body, repeats_head=True) as upstream:
        settings = settings_for(
            dialect, upstream.port, "env:CURRENT", "env:SPARE", record_to=str(tmp_path / "kept")
        )
        async with front(settings) as server:
            await server.ask("ada@example.com")
            upstream.status, upstream.repeats_head = 501, False  # one that is JSON
            await server.ask("ada@example.com")
    folder = tmp_path / "kept" / dialect.name
    files = list(folder.iterdir())
    assert len(files) == 2
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in files:
        text = file.read_text()
        assert not [
            secret for secret in [*said, pair, "me:", "me@"] if secret.lower() in text.lower()
        ]
        assert "…" in text
        assert f"http://127.0.0.1:{upstream.port}" in json.loads(text)["source"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any("{key}" in file.read_text() for file in files)
