"""A test key's batch is found by every process, as it is by the one that it was submitted to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import func, select

from adapters.contract.dialect import Dialect
from adapters.contract.filters import AddressFilter, Filters, FilterTarget
from adapters.contract.jobs import BatchEntry, Job, JobState
from adapters.contract.operations import (
    AmendJob,
    CancelJob,
    DeleteJob,
    JobRunner,
    ListJobs,
    ReadRows,
    ShowJob,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from gateway.app import open_services
from gateway.sandbox.batch import rules_of
from gateway.sandbox.budget import SHARE
from gateway.sandbox.clock import AdjustableClock, Clocks
from gateway.sandbox.jobs import MAX_STORED_BYTES, SandboxJobs
from gateway.sandbox.key_jobs import jobs_of_key
from gateway.sandbox.samples import Samples
from gateway.sandbox.sql_batches import KEPT_S, SqlBatches
from gateway.settings.model import Settings
from gateway.store import Store, open_store
from gateway.store.tables import sandbox_batches
from gateway.tasks import TimeSlices
from gateway.web.dispatch import create_app
from tests import dialects
from tests.dialects import ALL, BY_NAME, WITH_BATCHES
from tests.fakes.clock import Clock
from tests.gateway.upstreams.conftest import Local

SCOPE = 7
VALIDTO = BY_NAME["validto"]
ROWS = [BatchEntry(f"ada{n}@example.org", (f"ada{n}@example.org", "é\x00")) for n in range(600)]
EACH_DIALECT = pytest.mark.parametrize(
    "dialect", [pytest.param(BY_NAME[name], id=name) for name in WITH_BATCHES]
)


@dataclass
class Processes:
    """Two processes with one database."""

    store: Store
    clock: Clock
    one: SandboxJobs
    other: SandboxJobs

    def runners(self, dialect: Dialect, filters: Filters | None = None) -> list[JobRunner]:
        chosen = filters or Filters()
        return [
            jobs_of_key(jobs, dialect, SCOPE, "", "http://veriplex.test", chosen)
            for jobs in (self.one, self.other)
        ]


@contextlib.asynccontextmanager
async def open_processes(url: str) -> AsyncIterator[Processes]:
    clock = Clock()
    async with open_store(url) as store:
        table = SqlBatches(store, BY_NAME.__getitem__, clock)
        one, other = (
            SandboxJobs(Samples("seed"), Clocks(AdjustableClock(clock)), TimeSlices(), table=table)
            for _ in range(2)
        )
        yield Processes(store, clock, one, other)


@pytest.fixture
async def both(database_url: str) -> AsyncIterator[Processes]:
    async with open_processes(database_url) as opened:
        yield opened


async def rows_at(runner: JobRunner, job: Job) -> list[object]:
    return [row async for row in (await runner.read_rows(ReadRows(job_id=job.id))).rows]


def shown(job: Job) -> tuple[object, ...]:
    return (job.id, job.state, job.counts, job.name, job.headers, job.options, job.token, job.total)


@EACH_DIALECT
async def test_the_other_process_shows_the_same(both: Processes, dialect: Dialect) -> None:
    filters = Filters([AddressFilter(False, FilterTarget.DOMAIN, "example.org")])
    one, other = both.runners(dialect, filters)
    op = SubmitJob(
        entries=ROWS, headers=("email", "h\x00"), name="a\x00b\ud800", options={"n": [1, None]}
    )
    made = await one.submit(op)
    seen = await other.show(ShowJob(job_id=made.id))
    assert shown(seen) == shown(made)
    assert await rows_at(other, seen) == await rows_at(one, made)
    assert [job.id for job in (await other.list_page(ListJobs())).jobs] == [made.id]
    assert [job.id for job in await other.show_many(ShowJobs(job_ids=(made.id,)))] == [made.id]
    stranger = jobs_of_key(both.other, dialect, SCOPE + 1, "", "")
    with pytest.raises(Problem) as refused:
        await stranger.show(ShowJob(job_id=made.id))
    assert refused.value.kind is ProblemKind.JOB_UNKNOWN
    assert (await stranger.list_page(ListJobs())).jobs == ()


@EACH_DIALECT
async def test_a_link_leads_to_the_batch_in_the_other_process(
    both: Processes, dialect: Dialect
) -> None:
    made = await both.runners(dialect)[0].submit(SubmitJob(entries=ROWS[:3]))
    rules = rules_of(dialect)
    token = made.id if rules.is_public else made.link_token or made.token
    found = await both.other._find_by_token(dialect, token)
    assert found is not None
    assert found.id == made.id


@EACH_DIALECT
async def test_what_one_process_changes_the_other_shows(both: Processes, dialect: Dialect) -> None:
    one, other = both.runners(dialect)
    made = await one.submit(SubmitJob(entries=ROWS[:10], start=False))
    assert (await other.show(ShowJob(job_id=made.id))).state is JobState.READY
    await other.amend(
        AmendJob(job_id=made.id, states=frozenset({JobState.READY}), options={"a": 1})
    )
    await one.start(StartJob(job_id=made.id, options={"b": 2}))
    seen = await other.show(ShowJob(job_id=made.id))
    assert (seen.state, seen.options) == (JobState.COMPLETED, {"a": 1, "b": 2})
    with pytest.raises(Problem) as refused:
        await other.start(StartJob(job_id=made.id))
    assert refused.value.kind is ProblemKind.JOB_STATE
    await other.delete(DeleteJob(job_id=made.id))
    with pytest.raises(Problem) as refused:
        await one.show(ShowJob(job_id=made.id))
    assert refused.value.kind is ProblemKind.JOB_UNKNOWN
    assert len(both.one) == len(both.other) == 0


async def test_of_two_starts_at_once_one_succeeds(both: Processes) -> None:
    runners = both.runners(VALIDTO)
    made = await runners[0].submit(SubmitJob(entries=ROWS[:3], start=False))
    starts = [runner.start(StartJob(job_id=made.id)) for runner in runners * 3]
    found = await asyncio.gather(*starts, return_exceptions=True)
    refused = [each for each in found if isinstance(each, Problem)]
    assert [each.kind for each in refused] == [ProblemKind.JOB_STATE] * 5


async def test_a_cancelled_batch_is_so_everywhere(both: Processes) -> None:
    one, other = both.runners(VALIDTO)
    op = SubmitJob(entries=[BatchEntry("ada+simulate-running@example.org"), *ROWS[:3]])
    made = await one.submit(op)
    assert made.state is JobState.RUNNING
    await other.cancel(CancelJob(job_id=made.id))
    assert (await one.show(ShowJob(job_id=made.id))).state is JobState.CANCELLED


async def test_all_processes_together_have_the_bytes_of_one(both: Processes) -> None:
    wide = [BatchEntry(f"b{n}@b.org", ("c" * int(SHARE * MAX_STORED_BYTES / 6),)) for n in range(5)]
    kept = jobs_of_key(both.one, VALIDTO, SCOPE + 1, "", "")
    small = await kept.submit(SubmitJob(entries=ROWS[:3]))
    made = [
        await runner.submit(SubmitJob(entries=wide))
        for _ in range(4)
        for runner in both.runners(VALIDTO)
    ]
    sizes = sandbox_batches.c.size
    assert (await both.store.fetch_all(select(func.sum(sizes))))[0][0] <= MAX_STORED_BYTES
    assert (await kept.show(ShowJob(job_id=small.id))).id == small.id
    with pytest.raises(Problem):
        await both.runners(VALIDTO)[1].show(ShowJob(job_id=made[0].id))
    assert max(both.one.size, both.other.size) <= MAX_STORED_BYTES


async def test_ids_are_not_used_again_and_old_batches_are_deleted(both: Processes) -> None:
    one, other = both.runners(VALIDTO)
    first = await one.submit(SubmitJob(entries=ROWS[:3]))
    await other.delete(DeleteJob(job_id=first.id))
    second = await other.submit(SubmitJob(entries=ROWS[:3]))
    assert second.id != first.id
    table = SqlBatches(both.store, BY_NAME.__getitem__, both.clock)
    both.clock.now += KEPT_S - 1
    await table.delete_old()
    assert (await one.list_page(ListJobs())).total == 1
    both.clock.now += 1
    await table.delete_old()
    assert (await one.list_page(ListJobs())).total == 0
    await both.one.clear(None)


@EACH_DIALECT
async def test_clients_of_two_servers_see_one_batch(database_url: str, dialect: Dialect) -> None:
    settings = Settings.model_validate({"storage": {"url": database_url}})
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            services = await stack.enter_async_context(
                open_services(
                    settings, verifier=Local(), dialects=ALL, is_alone=False, run_workers=False
                )
            )
            transport = httpx.ASGITransport(create_app(services))
            clients.append(
                await stack.enter_async_context(
                    httpx.AsyncClient(transport=transport, base_url="http://veriplex.test")
                )
            )
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, dialect.name, test=True)).key
        made = await dialects.submit(clients[0], dialect, key, ["a@example.com", "b@example.com"])
        job_id = dialects.job_id_in(dialect, made)
        view = dialects.FACTS[dialect.name].job_views[0]
        fields = {
            name: [int(job_id)] if value == "IDS" else value.replace("ID", job_id)
            for name, value in view.fields.items()
        }
        path = view.path.replace("ID", job_id)
        replies = [
            await dialects.call(client, dialect, view.method, path, fields, key=key)
            for client in clients
        ]
        assert [reply.status_code for reply in replies] == [200, 200]
        assert replies[0].content == replies[1].content
