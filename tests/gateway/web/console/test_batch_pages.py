"""The batches of all accounts, and a list that is uploaded: nothing is spent unseen."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import delete

from engine.model import Verdict
from gateway.app import Services, open_services
from gateway.store.tables import batch_results
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local
from tests.gateway.web.console.console_client import (
    BASE,
    VIEWER_PASSWORD,
    WITH_PASSWORDS,
    Browser,
    browser,
    console_settings,
)

pytestmark = pytest.mark.anyio
LIST = b"name,contact,other\nAnn,ada@example.com,x@example.org\nBen,bob@example.com,y@example.org\n"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    settings = console_settings(console=WITH_PASSWORDS)
    verifier = Local(Verdict.UNKNOWN)
    async with open_services(settings, verifier=verifier, run_workers=False) as services:
        yield services


@pytest.fixture
async def key(services: Services) -> int:
    """Of an account with ten credits."""
    account = await services.accounts.create_account("owner@example.com", credits=10)
    await services.accounts.create_key(account, "emailable", label="list key")
    return (await services.accounts.list_keys())[-1].id


@pytest.fixture
async def visitor(services: Services) -> Browser:
    visitor = browser(services)
    await visitor.log_in()
    return visitor


async def credits_left(services: Services) -> int | None:
    return (await services.accounts.list_keys())[-1].credits


async def upload(
    visitor: Browser, key: int, content: bytes, name: str = "list.csv"
) -> httpx.Response:
    """The page that follows the upload."""
    reply = await visitor.client.post(
        "/console/batches/new",
        data={"csrf": await visitor.csrf(), "key": str(key)},
        files={"file": (name, content)},
        headers={"origin": BASE},
    )
    return await visitor.get(reply.headers["location"]) if reply.is_redirect else reply


async def submit(services: Services, visitor: Browser, key: int, content: bytes = LIST) -> str:
    """The page of a batch that was submitted as it was shown."""
    page = await upload(visitor, key, content)
    form = re.search(r'action="(/console/batches/new/[0-9a-f]{32})" class="above', page.text)
    column = re.search(r'type="hidden" name="column" value="(\d*)"', page.text)
    assert form
    assert column
    reply = await visitor.post(
        form[1],
        {
            "csrf": await visitor.csrf(),
            "key": str(key),
            "column": column[1],
            "name": "May & June",
            "retry": "1",
        },
    )
    assert reply.status_code == 303, reply.text
    return str(reply.headers["location"])


async def test_a_list_is_submitted_after_its_column_and_price_were_shown(
    services: Services, visitor: Browser, key: int
) -> None:
    page = await upload(visitor, key, LIST)
    text = html.unescape(page.text)
    assert "2 credits" in text
    assert re.search(r'value="2" checked> contact', text)
    assert "ada@example.com" in text
    assert await credits_left(services) == 10
    other = await visitor.get(f"{page.request.url.path}?key={key}&name=a&column=3")
    assert re.search(r'value="3" checked> other', html.unescape(other.text))
    assert await credits_left(services) == 10
    path = await submit(services, visitor, key)
    assert await credits_left(services) == 8
    batch = html.unescape((await visitor.get(path)).text)
    assert "May & June" in batch
    assert "0 of 2 addresses" in re.sub(r"<[^>]+>", "", batch)


async def test_results_are_shown_filtered_and_downloaded(
    services: Services, visitor: Browser, key: int
) -> None:
    path = await submit(services, visitor, key)
    await services.batch_services.drain()
    page = (await visitor.get(path)).text
    assert page.count('class="badge verdict unknown"') == 2
    filtered = (await visitor.get(f"{path}?word=unknown")).text
    assert filtered.count('class="badge verdict unknown"') == 2
    rows = list(csv.DictReader(io.StringIO((await visitor.get(f"{path}/results.csv")).text)))
    assert [row["contact"] for row in rows] == ["ada@example.com", "bob@example.com"]
    assert {row["verdict"] for row in rows} == {"unknown"}
    lines = (await visitor.get(f"{path}/results.jsonl")).text.splitlines()
    assert [orjson.loads(line)["email"] for line in lines] == ["ada@example.com", "bob@example.com"]
    assert (await visitor.get(f"{path}/results.exe")).status_code == 404


async def test_the_unknown_ones_are_verified_again_for_their_price(
    services: Services, visitor: Browser, key: int
) -> None:
    path = await submit(services, visitor, key)
    await services.batch_services.drain()
    page = await visitor.get(f"{path}/again")
    assert "2 credits" in page.text
    assert await credits_left(services) == 8
    reply = await visitor.post(f"{path}/again", {"csrf": await visitor.csrf()})
    assert reply.headers["location"] != path
    assert await credits_left(services) == 6
    assert "unknown ones again" in (await visitor.get(reply.headers["location"])).text


async def test_a_batch_is_cancelled_once(services: Services, visitor: Browser, key: int) -> None:
    path = await submit(services, visitor, key)
    await visitor.post(f"{path}/cancel", {"csrf": await visitor.csrf()})
    assert "2 credits are given back" in (await visitor.get(path)).text
    assert await credits_left(services) == 10
    await visitor.post(f"{path}/cancel", {"csrf": await visitor.csrf()})
    assert "had ended already" in (await visitor.get(path)).text
    assert await credits_left(services) == 10


async def test_batches_are_listed_and_found(services: Services, visitor: Browser, key: int) -> None:
    path = await submit(services, visitor, key)
    for query in ("", "?words=june", "?words=OWNER@", "?words=list%20key", "?state=queued"):
        assert path in (await visitor.get(f"/console/batches{query}")).text, query
    for query in ("?words=100%25", "?words=_", "?state=completed", "?page=2"):
        assert f'"{path}"' not in (await visitor.get(f"/console/batches{query}")).text, query
    for query in ("?page=x", "?page=-1", "?state=odd"):
        assert (await visitor.get(f"/console/batches{query}")).status_code == 200


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("no.csv", b"a,b\n1,2\n"),
        ("page.html", b"<!doctype html><p>"),
        ("zeros.csv", b"\0\0\0\0"),
        ("quote.csv", b'email\n"ada@example.com\n' * 3),
    ],
)
async def test_a_file_that_is_no_list_is_explained(
    visitor: Browser, key: int, services: Services, name: str, content: bytes
) -> None:
    page = await upload(visitor, key, content, name)
    assert page.status_code in (200, 400)
    assert 'role="alert"' in page.text or "has no address" in page.text
    assert await credits_left(services) == 10


async def test_too_few_credits_are_seen_before_and_refused(
    services: Services, visitor: Browser, key: int
) -> None:
    content = b"".join(b"a%d@example.com\n" % number for number in range(11))
    page = await upload(visitor, key, content)
    assert "too few" in page.text
    form = re.search(r'action="(/console/batches/new/[0-9a-f]{32})" class="above', page.text)
    assert form
    reply = await visitor.post(form[1], {"csrf": await visitor.csrf(), "key": str(key)})
    assert reply.status_code == 400
    assert "Nothing was charged" in reply.text
    assert await credits_left(services) == 10


async def test_what_is_in_a_list_is_text(services: Services, visitor: Browser, key: int) -> None:
    content = f"email,{SCRIPT}\nada@example.com,{SCRIPT}\n".encode()
    page = await upload(visitor, key, content, f"{SCRIPT}.csv")
    assert "<script>alert" not in page.text
    assert "alert(1)" in page.text
    path = await submit(services, visitor, key, content)
    await services.batch_services.drain()
    assert "<script>alert" not in (await visitor.get(path)).text


@pytest.mark.parametrize("token", ["0" * 32, "..%2f..%2fetc%2fpasswd", "x"])
async def test_other_tokens_lead_to_no_file(visitor: Browser, key: int, token: str) -> None:
    reply = await visitor.get(f"/console/batches/new/{token}?key={key}")
    assert reply.status_code in (400, 404)


async def test_viewers_see_and_change_nothing(
    services: Services, visitor: Browser, key: int
) -> None:
    path = await submit(services, visitor, key)
    viewer = browser(services)
    await viewer.log_in(VIEWER_PASSWORD)
    page = (await viewer.get(path)).text
    assert "May &amp; June" in page
    assert "Cancel</button>" not in page
    csrf = await viewer.csrf()
    for target in (f"{path}/again", "/console/batches/new", f"/console/batches/new/{'0' * 32}"):
        assert (await viewer.get(target)).status_code == 403
    for target in (f"{path}/cancel", f"{path}/delete", f"{path}/again", "/console/batches/new"):
        assert (await viewer.post(target, {"csrf": csrf})).status_code == 403


async def test_a_part_that_is_loaded_again_reads_no_rows(
    services: Services, visitor: Browser, key: int
) -> None:
    path = await submit(services, visitor, key)
    part = await visitor.get(path, **{"hx-request": "true"})
    assert "0 of 2" in re.sub(r"<[^>]+>", "", part.text)
    assert "hx-refresh" not in part.headers
    await services.batch_services.drain()
    part = await visitor.get(path, **{"hx-request": "true"})
    assert part.headers["hx-refresh"] == "true"
    assert "ada@example.com" not in part.text
    assert "hx-refresh" not in (await visitor.get(path)).headers


async def test_a_revoked_key_and_an_unknown_batch_are_nothing(
    services: Services, visitor: Browser, key: int
) -> None:
    await services.accounts.revoke_key(str(key))
    page = await upload(visitor, key, LIST)
    assert "Choose a key" in page.text
    assert (await visitor.get("/console/batches/99")).status_code == 404
    assert (await visitor.get(f"/console/batches/{10**30}")).status_code == 404


async def test_a_batch_is_deleted_once_it_has_ended(
    services: Services, visitor: Browser, key: int
) -> None:
    path = await submit(services, visitor, key)
    assert "Delete</button>" not in (await visitor.get(path)).text
    refused = await visitor.send(f"{path}/delete")
    assert "Cancel the batch first" in refused.text
    await services.batch_services.drain()
    assert "Delete</button>" in (await visitor.get(path)).text
    deleted = await visitor.send(f"{path}/delete")
    assert "May &amp; June is deleted" in deleted.text
    assert (await visitor.get(path)).status_code == 404
    assert (await visitor.send(f"{path}/delete")).status_code == 404


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_a_download_from_a_database_that_fails_does_not_begin(
    services: Services, visitor: Browser, key: int, form: str
) -> None:
    path = await submit(services, visitor, key)
    await services.batch_services.drain()
    async with services.store.write() as connection:
        await connection.exec_driver_sql("DROP TABLE batch_results")
    reply = await visitor.get(f"{path}/results.{form}")
    assert reply.status_code == 503
    assert "content-disposition" not in reply.headers


async def test_a_download_is_cut_off_without_a_traceback(
    services: Services, visitor: Browser, key: int, caplog: pytest.LogCaptureFixture
) -> None:
    await services.accounts.set_credits(1, None)
    rows = 6_000
    emails = "".join(f"user{number}@example.com\n" for number in range(rows))
    path = await submit(services, visitor, key, f"contact\n{emails}".encode())
    await services.batch_services.drain()
    cookie = f"veriplex_console={visitor.client.cookies['veriplex_console']}"
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 3:
            async with services.store.write() as connection:
                await connection.execute(delete(batch_results))

    async def receive() -> Any:
        return await asyncio.Future()

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"{path}/results.csv",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8025"), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 1),
    }
    await create_app(services)(scope, receive, send)
    assert sent[0]["status"] == 200
    assert sent[-1]["more_body"]
    assert len(sent) < rows
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warnings == ["reply.cut_off"]
