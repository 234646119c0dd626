"""Batches of test keys within their bounds: bytes, processor time, and turns between scopes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import ReadRows, ShowJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.registry import DIALECTS
from adapters.validto.bulk import MAX_LIST_ENTRIES
from engine.model import Checks, Verification
from gateway.errors import StorageUnavailable
from gateway.sandbox.budget import SHARE
from gateway.sandbox.clock import AdjustableClock, Clocks
from gateway.sandbox.jobs import (
    MAX_BATCH_BYTES,
    MAX_STORED_BYTES,
    SandboxJobs,
)
from gateway.sandbox.key_jobs import jobs_of_key
from gateway.sandbox.rows import RowKind, RowReader, StoredRows, Tally
from gateway.sandbox.samples import Samples
from gateway.sandbox_app import SandboxServer
from gateway.tasks import TimeSlices
from tests.gateway.sandbox.conftest import Time

VALIDTO = next(dialect for dialect in DIALECTS if dialect.name == "validto")
VALIDTO_KEY = "sandbox" + "0" * 25


class CountingSamples(Samples):
    """Counts the samples that are drawn."""

    drawn = 0

    def draw(self, dialect: str, text: str, checks: Checks, **options: Any) -> Verification:
        self.drawn += 1
        return super().draw(dialect, text, checks, **options)


@pytest.fixture
def samples() -> CountingSamples:
    return CountingSamples("veriplex")


@pytest.fixture
def clock(time: Time) -> AdjustableClock:
    clock = AdjustableClock(time)
    clock.change(frozen=True)
    return clock


@pytest.fixture
def jobs(samples: CountingSamples, clock: AdjustableClock) -> SandboxJobs:
    return SandboxJobs(samples, Clocks(clock), TimeSlices())


def entries(count: int, *, cell: str = "", mark: str = "") -> tuple[BatchEntry, ...]:
    emails = (f"ada{n}{mark}@example.org" for n in range(count))
    return tuple(BatchEntry(email, (email, cell) if cell else ()) for email in emails)


async def submit(jobs: SandboxJobs, rows: Any, scope: int = 0) -> str:
    op = SubmitJob(entries=rows, headers=("email", "cell"))
    return (await jobs_of_key(jobs, VALIDTO, scope, "", "").submit(op)).id


async def rows_of(jobs: SandboxJobs, job_id: str, scope: int = 0, **op: Any) -> AsyncIterator[Any]:
    found = await jobs_of_key(jobs, VALIDTO, scope, "", "").read_rows(ReadRows(job_id=job_id, **op))
    return found.rows


# -- bytes -------------------------------------------------------------------------------


async def test_wide_cells_count_and_the_oldest_batches_make_room(jobs: SandboxJobs) -> None:
    ids = [await submit(jobs, entries(11, cell="c" * 500_000)) for _ in range(30)]
    assert jobs.size <= MAX_STORED_BYTES
    assert len(jobs) == 4
    with pytest.raises(Problem) as refused:
        await rows_of(jobs, ids[0])
    assert refused.value.kind is ProblemKind.JOB_UNKNOWN
    assert len([row async for row in await rows_of(jobs, ids[-1])]) == 11


async def test_a_scope_that_floods_the_sandbox_loses_its_own_batches(jobs: SandboxJobs) -> None:
    kept = await submit(jobs, entries(100), scope=1)
    for _ in range(20):
        await submit(jobs, entries(11, cell="c" * int(SHARE * MAX_STORED_BYTES / 12)), scope=2)
    assert jobs.size <= MAX_STORED_BYTES
    assert len([row async for row in await rows_of(jobs, kept, scope=1)]) == 100


@pytest.mark.parametrize(
    "large",
    [
        {"entries": entries(3, cell="c" * (MAX_BATCH_BYTES // 3))},
        {"entries": tuple(BatchEntry("a@b.org", ("",) * 1_000) for _ in range(9_000))},
        {"entries": entries(1), "headers": ("h" * MAX_BATCH_BYTES,)},
        {"entries": entries(1), "options": {"name": "n" * MAX_BATCH_BYTES}},
    ],
    ids=["cells", "empty cells", "headers", "options"],
)
async def test_a_batch_that_is_too_large_is_refused_and_not_stored(
    jobs: SandboxJobs, large: dict[str, Any]
) -> None:
    kept = await submit(jobs, entries(5))
    with pytest.raises(Problem) as refused:
        await jobs_of_key(jobs, VALIDTO, 0, "", "").submit(SubmitJob(**large))
    assert refused.value.kind is ProblemKind.TOO_LARGE
    assert len(jobs) == 1
    assert len([row async for row in await rows_of(jobs, kept)]) == 5


async def test_the_vendor_refuses_what_is_too_large_in_its_own_words(
    client: httpx.AsyncClient,
) -> None:
    rows = "a@example.org" + "," * 900 + "\n"
    reply = await client.post(
        f"/validto/v1/bulk?apikey={VALIDTO_KEY}",
        files={"local_file": ("list.csv", ("email" + ",x" * 900 + "\n" + rows * 10_800).encode())},
    )
    assert reply.status_code == 400
    assert reply.json()["result"]


async def test_a_slow_reader_does_not_keep_a_removed_batch_in_memory(jobs: SandboxJobs) -> None:
    job_id = await submit(jobs, entries(1_000))
    rows = await rows_of(jobs, job_id)
    first = await anext(rows)
    assert first.email == "ada0@example.org"
    await jobs.clear(None)
    with pytest.raises(StorageUnavailable):
        async for _ in rows:
            pass
    assert jobs.size == 0


# -- processor time ----------------------------------------------------------------------


async def test_a_status_samples_no_row_again(
    jobs: SandboxJobs, samples: CountingSamples, clock: AdjustableClock
) -> None:
    count = 2_000
    job_id = await submit(jobs, entries(count, mark="+simulate-slow"))
    assert samples.drawn == count
    for _ in range(60):
        clock.change(advance_s=1)
        job = await jobs_of_key(jobs, VALIDTO, 0, "", "").show(ShowJob(job_id=job_id))
        assert sum(job.counts.get(word, 0) for word in RESULTS) == job.done_count
    assert job.done_count == count
    assert samples.drawn == count


RESULTS = ("deliverable", "undeliverable", "accept_all", "unknown")


@pytest.mark.parametrize(
    "op",
    [
        {"offset": 1_900, "limit": 50},
        {"offset": 1_900, "limit": 50, "reverse_order": True},
        {"row_words": frozenset({"unknown"}), "limit": 20},
        {"row_words": frozenset({"unknown", "accept_all"}), "offset": 30, "limit": 20},
    ],
)
async def test_a_page_samples_its_own_rows_alone(
    jobs: SandboxJobs, samples: CountingSamples, op: dict[str, Any]
) -> None:
    job_id = await submit(jobs, entries(2_000))
    everything = [row async for row in await rows_of(jobs, job_id)]
    samples.drawn = 0
    page = [row async for row in await rows_of(jobs, job_id, **op)]
    assert samples.drawn == len(page)
    expected = everything[::-1] if op.get("reverse_order") else everything
    words = op.get("row_words")
    expected = [row for row in expected if words is None or row.word in words]
    first = op.get("offset", 0)
    assert page == expected[first : first + op["limit"]]


async def test_large_files_are_read_one_at_a_time_and_small_ones_beside_them(
    client: httpx.AsyncClient, server: SandboxServer
) -> None:
    large = "".join(f"ada{n}@example.org\n" for n in range(20_000)).encode()
    answered: list[str] = []

    async def upload(name: str, file: bytes) -> None:
        reply = await client.post(
            f"/validto/v1/bulk?apikey={VALIDTO_KEY}", files={"local_file": ("list.csv", file)}
        )
        assert reply.status_code == 200
        answered.append(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(upload("large", large))
        async with asyncio.timeout(10):
            while not server.sandbox.large_bodies.is_full:  # noqa: ASYNC110  # no event says so
                await asyncio.sleep(0)
        group.create_task(upload("small", b"ada@example.org\n"))
    assert answered[0] == "small"
    assert answered.count("large") == 2


# -- rows and their counters -------------------------------------------------------------

cells = st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=4)


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), cells), max_size=700), st.data())
def test_rows_are_read_as_they_were_stored(
    rows: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    written = [BatchEntry(email, tuple(cells)) for email, cells in rows] * 3
    stored = StoredRows(written)
    assert len(stored) == len(written)
    reader = RowReader(stored)
    if written:
        for position in data.draw(st.lists(st.integers(0, len(written) - 1), max_size=50)):
            assert reader.entry(position) == written[position]
    stored.clear()
    for position in range(len(written)):
        with pytest.raises(IndexError):
            RowReader(stored).entry(position)


kinds = st.builds(
    RowKind,
    st.sampled_from(["good", "bad"]),
    st.lists(st.sampled_from(["good", "free", "role"]), max_size=2).map(tuple),
    st.lists(st.sampled_from(["analysed", "good"]), max_size=2).map(tuple),
)


@given(st.lists(kinds, max_size=60), st.lists(st.integers(0, 60), max_size=20))
def test_a_tally_is_what_counting_anew_would_give(rows: list[RowKind], looks: list[int]) -> None:
    tally = Tally()
    for kind in rows:
        tally.append(kind)
    for look in looks:
        done = min(look, len(rows))
        counted: Counter[str] = Counter()
        for kind in rows:
            counted.update(kind.counters_before_start)
        for kind in rows[:done]:
            counted.update((kind.word, *kind.counters))
        assert tally.counts(done) == counted
    good = tally.codes_of(frozenset({"good"}))
    assert [tally.code(i) in good for i in range(len(rows))] == [k.word == "good" for k in rows]


def test_the_vendors_longest_list_of_addresses_fits() -> None:
    stored = StoredRows(entries(MAX_LIST_ENTRIES // 10))
    assert 10 * (stored.size + len(stored)) < MAX_BATCH_BYTES
