"""Every case of `compat_fixtures` against the whole app, compared byte for byte.

A case has the verifier's results, the requests and the replies that must follow.
`compat_fixtures/README.md` describes the format.
"""

import asyncio
import base64
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import TypeAdapter

from adapters.contract.dialect import Dialect
from adapters.registry import DIALECTS
from engine.address import syntax
from engine.model import Address, Checks, Dns, Evidence, Reason, Verdict, Verification
from gateway.accounts.accounts import AccountStatus
from gateway.app import Services, open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app

FIXTURES = Path(__file__).parent.parent / "compat_fixtures"
CASES = {f"{path.parent.name}/{path.stem}": path for path in sorted(FIXTURES.glob("*/[!_]*.json"))}
NOW = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
EVIDENCE = TypeAdapter(Evidence)


def test_every_dialect_has_fixtures() -> None:
    assert {case.split("/")[0] for case in CASES} == {dialect.name for dialect in DIALECTS}


@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
def test_a_dialects_docstring_names_its_fixtures(dialect: str) -> None:
    doc = " ".join((import_module(f"adapters.{dialect}").__doc__ or "").split())
    assert f"`compat_fixtures/{dialect}`" in doc
    for listed in re.findall(r"fixtures? ((?:`\w+`(?:, )?)+)", doc):
        for name in re.findall(r"`(\w+)`", listed):
            assert f"{dialect}/{name}" in CASES


@pytest.fixture
def spec(case: str) -> dict[str, Any]:
    case_spec: dict[str, Any] = orjson.loads(CASES[case].read_bytes())
    assert case_spec["about"]
    assert case_spec["source"]
    return case_spec


@pytest.mark.parametrize("case", CASES)
async def test_case(case: str, spec: dict[str, Any]) -> None:
    reply, wanted = await play(case, spec)
    compare(reply, wanted)


async def play(
    case: str, spec: dict[str, Any], **request: Any
) -> tuple[httpx.Response, dict[str, Any]]:
    """The reply to a case's request, changed by `request`, and the reply that the case wants."""
    dialect = next(d for d in DIALECTS if d.name == case.split("/")[0])
    async with server(dialect, spec.get("given", {})) as (client, known, worker):
        for earlier in spec.get("before", []):
            if "wait_s" in earlier:
                await worker.wait(earlier["wait_s"])
                continue
            earlier_reply = await send(client, known, earlier)
            learn(earlier_reply, known)
            known |= named_values(earlier_reply, earlier.get("names", {}))
            await worker.work()
        reply = await send(client, known, {**spec["request"], **request})
        learn(reply, known)
    return reply, fill(spec["reply"], known)


def compare(reply: httpx.Response, wanted: dict[str, Any]) -> None:
    """Status, headers and the body to the byte."""
    content = reply.content
    if "zip_entry" in wanted:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.namelist() == [wanted["zip_entry"]]
            content = archive.read(wanted["zip_entry"])
    if "json" in wanted:
        assert content.decode() == orjson.dumps(wanted["json"]).decode()
    else:
        assert content.decode() == wanted["text"]
    assert reply.status_code == wanted["status"]
    for name, value in wanted.get("headers", {}).items():
        assert reply.headers.get(name) == value, name
    for name in wanted.get("no_headers", []):
        assert name not in reply.headers
    for name in ("x-request-id", "x-veriplex-source", "x-veriplex-attempts", "cache-status"):
        assert name in reply.headers


def fill(spec: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    """A request or a reply with its `{key}`, `{job_id}` … filled in."""
    text = json.dumps(spec)
    for name, value in known.items():
        text = text.replace(f'"{{{name}:integer}}"', value).replace("{" + name + "}", value)
    filled: dict[str, Any] = json.loads(text)
    return filled


def learn(reply: httpx.Response, known: dict[str, str]) -> None:
    """The id of a batch in a reply, and the token of its file."""
    try:
        shown = reply.json()
    except ValueError:
        return
    if not isinstance(shown, dict):
        return
    inner = shown.get("response")
    named = {**shown, **(inner if isinstance(inner, dict) else {})}
    for name in ("job_id", "jobId", "id", "file_id"):
        if name in named:
            known["job_id"] = str(named[name])
    for name in ("download_file", "download_url"):
        if name in shown:
            known["token"] = shown[name].rpartition("/")[2].partition(".")[0]


def named_values(reply: httpx.Response, names: dict[str, str]) -> dict[str, str]:
    """Members of a JSON reply, such as `{"link": "file.url"}`, by the names that the case uses."""
    values = {}
    for name, path in names.items():
        value = reply.json()
        for member in path.split("."):
            value = value[int(member) if isinstance(value, list) else member]
        values[name] = str(value)
    return values


async def send(
    client: httpx.AsyncClient, known: dict[str, str], spec: dict[str, Any]
) -> httpx.Response:
    """One request of a case."""
    spec = fill(spec, known)
    body: dict[str, Any] = {}
    headers = dict(spec.get("headers", {}))
    if "json" in spec:
        body["content"] = spec.get("mark", "").encode() + orjson.dumps(multiplied(spec["json"]))
        headers.setdefault("Content-Type", "application/json")
    elif "form" in spec:
        body["data"] = spec["form"]
    elif "multipart" in spec:
        body["files"] = {name: part(value) for name, value in spec["multipart"].items()}
    elif "body_base64" in spec:
        body["content"] = base64.b64decode(spec["body_base64"])
    elif "body" in spec:
        body["content"] = spec["body"].encode() * spec.get("body_times", 1)
    return await client.request(spec["method"], spec["url"], headers=headers, **body)


def part(value: Any) -> tuple[str | None, bytes]:
    """A field, or a file as an object: `filename`, and `text` or `base64`."""
    if isinstance(value, str):
        return None, value.encode()
    if "base64" in value:
        return value["filename"], base64.b64decode(value["base64"])
    return value["filename"], value["text"].encode() * value.get("times", 1)


def multiplied(value: Any) -> Any:
    """JSON with each `{"times": n, "of": "a{i}@example.com"}` written out."""
    if isinstance(value, dict) and value.keys() == {"times", "of"}:
        return [
            json.loads(json.dumps(value["of"]).replace("{i}", str(i)))
            for i in range(value["times"])
        ]
    if isinstance(value, dict):
        return {name: multiplied(inner) for name, inner in value.items()}
    return value


class TestWorker:
    """Works on batches on command, and lets time pass."""

    __test__ = False

    def __init__(self, now: datetime, idle: bool) -> None:
        self.at = now.timestamp()
        self._idle = idle
        self.services: Services | None = None

    def clock(self) -> float:
        return self.at

    async def work(self) -> None:
        assert self.services is not None
        if not self._idle:
            await self.services.batch_services.drain()

    async def wait(self, seconds: float) -> None:
        assert self.services is not None
        self.at += seconds
        await self.work()
        await self.services.batch_services.sweeper.sweep()


@asynccontextmanager
async def server(
    dialect: Dialect, given: dict[str, Any]
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str], TestWorker]]:
    """The app on an empty in-memory store, with one account as the case describes it."""
    defaults = {"storage": {"url": "sqlite:///:memory:"}, "sandbox": {"published": True}}
    settings = Settings.model_validate_json(orjson.dumps({**defaults, **given.get("settings", {})}))
    now = datetime.fromisoformat(given["now"]) if "now" in given else NOW
    worker = TestWorker(now, given.get("idle", False))
    async with open_services(
        settings,
        verifier=Scripted(given),
        clock=worker.clock,
        wait=give_up if given.get("slow") else wait_until_done,
        run_workers=False,
    ) as services:
        worker.services = services
        keys = {
            "key": await live_key(services, dialect, given),
            "test_key": dialect.sandbox_key,
            "base_url": f"{services.sandbox.url}/{dialect.name}",
        }
        transport = httpx.ASGITransport(create_app(services))
        base_url = f"http://veriplex.test/{dialect.name}"
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            yield client, keys, worker


async def give_up(task: asyncio.Task[Any], wait_s: float) -> bool:
    """As after the time of a client that waits for a verifier that does not answer."""
    await asyncio.sleep(0)
    return task.done()


async def wait_until_done(task: asyncio.Task[Any], wait_s: float) -> bool:
    """Without a time limit, so that a busy machine changes no reply."""
    await asyncio.wait({task})
    return True


class Scripted:
    """A verifier with the results of the case."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        if self._given.get("slow"):
            await asyncio.Event().wait()
        if self._given.get("fails"):
            raise RuntimeError("a bug, on purpose")
        answer = self._given.get("verifications", {}).get(
            address.raw, self._given.get("verification", {})
        )
        verdict = Verdict(answer.get("verdict", "deliverable"))
        return Verification(
            address=syntax.parse_address(answer.get("address", address.raw)),
            verdict=verdict,
            reason=Reason(answer.get("reason", "accepted_email")),
            score=answer.get("score", 100 if verdict is Verdict.DELIVERABLE else 0),
            evidence=EVIDENCE.validate_python({"dns": Dns.MX, **answer.get("evidence", {})}),
            checks=checks,
            verified_at=datetime.fromisoformat(answer.get("verified_at", NOW.isoformat())),
            duration_s=answer.get("duration_s", 0.5),
        )


async def live_key(services: Services, dialect: Dialect, given: dict[str, Any]) -> str:
    """A live key of an account as the case describes it."""
    account = given.get("account", {})
    accounts = services.accounts
    account_id = await accounts.create_account(
        account.get("owner_email", "john@smith.com"), plan=account.get("plan"), credits=None
    )
    key = (await accounts.create_key(account_id, dialect.name)).key
    if account.get("used"):
        caller = await accounts.authenticate(dialect.name, key)
        assert caller is not None
        await accounts.charge(caller, account["used"])
    await accounts.set_credits(account_id, account.get("credits"))
    await accounts.set_status(account_id, AccountStatus(account.get("status", "active")))
    return key
