"""Submitting batches over HTTP: large, broken and unstorable bodies."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import httpx
import pytest
from sqlalchemy import func, select

from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import ListJobs, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest
from gateway.app import Services, open_services
from gateway.batches.model import InternalState
from gateway.settings import Settings
from gateway.store.tables import batches
from gateway.web.bodies import MAX_BYTES_IN_MEMORY, Spool
from gateway.web.dispatch import create_app
from tests.dialects import ALL, BY_NAME, WITH_BATCHES, submit
from tests.gateway.batches.conftest import Bench, Scripted

FEW = ["ada@example.com", "grace@example.com"]
MANY = [f"somebody.with.a.long.name.{number}@example.com" for number in range(8_000)]
LARGE_CSV = "Name,Email\n" + "".join(f"Ada,{email}\n" for email in MANY)


@dataclass
class Server:
    """The application over a database in a file, without workers."""

    client: httpx.AsyncClient
    services: Services
    keys: dict[str, str]
    path: Path

    async def submit(self, dialect: str, emails: list[str]) -> httpx.Response:
        return await submit(self.client, BY_NAME[dialect], self.keys[dialect], emails)

    async def upload(self, file: bytes, **fields: str) -> httpx.Response:
        return await self.client.post(
            f"/validto/v1/bulk?apikey={self.keys['validto']}",
            files={"local_file": ("list.csv", file, "text/csv")},
            data=fields,
        )

    async def stored(self) -> int:
        async with self.services.store.read() as connection:
            query = select(func.count()).where(batches.c.state.not_in(tuple(InternalState)))
            return int(await connection.scalar(query) or 0)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    path = tmp_path / "v.db"
    settings = Settings.model_validate({"storage": {"url": f"sqlite:///{path}"}})
    async with contextlib.AsyncExitStack() as stack:
        services = await stack.enter_async_context(
            open_services(
                settings, verifier=Scripted(), run_workers=False, busy_timeout_s=0.05, dialects=ALL
            )
        )
        made = await services.accounts.bootstrap()
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(services)), base_url="http://veriplex.test"
            )
        )
        yield Server(client, services, {k.dialect: k.key for k in made if not k.test}, path)


def unavailable(sent: httpx.Request, name: str) -> tuple[int, Any]:
    """The vendor's answer when it is down."""
    problem = Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
    path = sent.url.path.removeprefix(f"/{name}")
    reply: WireReply = BY_NAME[name].write_problem(WireRequest("POST", path), problem, None)
    return reply.status, reply.body


@pytest.fixture
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def no_spool_folder(spool_folder: Path) -> None:
    """No temporary file can be created."""
    spool_folder.rmdir()


def open_files(folder: Path) -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in found if name.startswith(f"{folder}/")]


@pytest.mark.parametrize("dialect", WITH_BATCHES)
async def test_a_locked_database_is_an_error_before_the_acknowledgement(
    server: Server, dialect: str
) -> None:
    assert (await server.submit(dialect, FEW)).is_success
    with contextlib.closing(sqlite3.connect(server.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await server.submit(dialect, FEW)
        assert (refused.status_code, refused.content) == unavailable(refused.request, dialect)
        other.execute("ROLLBACK")
    assert await server.stored() == 1
    assert (await server.submit(dialect, FEW)).is_success
    assert await server.stored() == 2


@pytest.mark.parametrize("dialect", WITH_BATCHES)
async def test_a_large_list_is_read_from_a_temporary_file(
    server: Server, dialect: str, spool_folder: Path
) -> None:
    reply = await server.submit(dialect, MANY)
    assert reply.is_success
    async with server.services.store.read() as connection:
        assert await connection.scalar(select(batches.c.rows)) == len(MANY)
    assert open_files(spool_folder) == []


async def test_a_large_file_is_read_like_a_small_one(server: Server, spool_folder: Path) -> None:
    assert len(LARGE_CSV) > MAX_BYTES_IN_MEMORY
    for text in (LARGE_CSV, LARGE_CSV[:1000].rpartition("\n")[0]):
        reply = await server.upload(text.encode("utf-8-sig"), auto_verify="true")
        assert reply.is_success
        async with server.services.store.read() as connection:
            newest = select(batches).order_by(batches.c.id.desc()).limit(1)
            batch = (await connection.execute(newest)).one()
        assert (batch.rows, batch.headers) == (text.strip().count("\n"), '["Name","Email"]')
        assert (batch.start, batch.options) == (True, '{"email_at":1}')
    assert open_files(spool_folder) == []


@pytest.mark.parametrize(
    "file",
    [LARGE_CSV.encode("utf-16"), LARGE_CSV.encode() + b'"' + b"ada\n" * 100_000],
    ids=["utf-16", "unclosed quote"],
)
async def test_a_large_file_of_another_kind_is_read_as_well(server: Server, file: bytes) -> None:
    assert (await server.upload(file)).is_success
    async with server.services.store.read() as connection:
        assert await connection.scalar(select(batches.c.rows)) == LARGE_CSV.count("\n") - 1


@pytest.mark.parametrize(
    "file",
    [
        LARGE_CSV.encode() + b"Ada,\x81@example.com\n",
        LARGE_CSV.encode() + b"Ada,a\0da@example.com\n",
        b"PK\x03\x04\x14\0\0\0\x08\0" + os.urandom(300_000),
        LARGE_CSV.encode() + b"x" * 2_000_000,
        b"x" * 9_000_000,
        b"email" + b"," * 1_000_000,
        b"\n" * 400_000,
    ],
    ids=["latin", "nul", "zip", "line", "one line", "commas", "blank"],
)
async def test_nothing_is_stored_of_a_broken_large_file(
    server: Server, file: bytes, spool_folder: Path
) -> None:
    reply = await server.upload(file)
    assert (reply.status_code, reply.json()["success"]) == (400, False)
    assert await server.stored() == 0
    assert open_files(spool_folder) == []


@pytest.mark.parametrize("dialect", WITH_BATCHES)
async def test_a_body_that_cannot_be_spooled_is_the_dialects_error(
    server: Server, dialect: str, no_spool_folder: None
) -> None:
    refused = await server.submit(dialect, MANY)
    assert (refused.status_code, refused.content) == unavailable(refused.request, dialect)
    assert await server.stored() == 0


def full() -> BinaryIO:
    return cast(BinaryIO, io.FileIO("/dev/full", "r+"))


async def test_a_full_disk_is_noticed_while_the_body_is_received() -> None:
    spool = Spool(spill_to_file=True, open_file=full)
    await spool.write(b"x" * MAX_BYTES_IN_MEMORY)
    with pytest.raises(OSError, match="No space left"):
        await spool.write(b"x")
    spool.close()


@pytest.mark.parametrize(
    "size", [0, 1, MAX_BYTES_IN_MEMORY, MAX_BYTES_IN_MEMORY + 1, 3 * MAX_BYTES_IN_MEMORY + 7]
)
async def test_a_spooled_body_is_unchanged(size: int, spool_folder: Path) -> None:
    data = os.urandom(size)
    spool = Spool(spill_to_file=True)
    for start in range(0, size, 10_000):
        await spool.write(data[start : start + 10_000])
    body, file = await spool.finish()
    assert (file is not None) is (size > MAX_BYTES_IN_MEMORY)
    request = WireRequest("POST", "/", body=body, body_file=file)
    assert b"".join(request.chunks()) == request.whole_body == data
    assert bool(open_files(spool_folder)) is (size > MAX_BYTES_IN_MEMORY)
    spool.close()
    assert open_files(spool_folder) == []


@pytest.mark.parametrize(
    ("op", "detail"),
    [
        ({"webhook_url": "https://x.example/" + "a" * 2_000}, "The URL is longer than 2,000"),
        ({"headers": ("email", "a" * 1_001)}, "The name of a column is longer than 1,000"),
    ],
)
async def test_texts_that_are_too_long_are_refused(
    bench: Bench, op: dict[str, Any], detail: str
) -> None:
    caller = await bench.caller()
    with pytest.raises(Problem) as refused:
        await bench.jobs(caller).submit(SubmitJob(entries=[BatchEntry("a@x.example")], **op))
    assert refused.value.kind is ProblemKind.INVALID
    assert refused.value.detail.startswith(detail)
    page = await bench.jobs(caller).list_page(ListJobs())
    assert page.total == 0
