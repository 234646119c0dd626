"""The batches of all accounts, in either database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.contract.jobs import BatchEntry, JobState
from adapters.contract.operations import SubmitJob
from adapters.contract.problems import Problem
from adapters.registry import DIALECTS
from engine.model import Verdict
from gateway.app import open_services
from gateway.settings import Settings
from tests.gateway.upstreams.conftest import Local

pytestmark = pytest.mark.anyio
EMAILABLE = next(dialect for dialect in DIALECTS if dialect.name == "emailable")


async def test_batches_are_found_read_and_cancelled(database_url: str) -> None:
    settings = Settings.model_validate({"storage": {"url": database_url}})
    verifier = Local(Verdict.UNKNOWN)
    async with open_services(settings, verifier=verifier, run_workers=False) as services:
        oversight = services.batch_services.oversight
        for owner in ("ann@example.com", "ben_100%@example.com"):
            account = await services.accounts.create_account(owner, credits=10)
            key = (await services.accounts.create_key(account, "emailable", label="lists")).key
            caller = await services.accounts.authenticate("emailable", key)
            assert caller is not None
            assert await services.accounts.find_caller(caller.key_id) == caller
            entries = (BatchEntry("a@example.com"), BatchEntry("b@example.com"))
            op = SubmitJob(entries=entries, name=f"of {owner[:3]}")
            await services.service.run(EMAILABLE, caller, op)

        async def names(words: str, *states: JobState) -> list[str]:
            found, total = await oversight.find_page(words, states, offset=0, limit=10)
            assert total == len(found)
            return [batch.name for batch in found]

        assert await names("") == ["of ben", "of ann"]
        assert await names("OF ANN") == ["of ann"]
        assert await names("_100%") == ["of ben"]
        assert await names("%") == ["of ben"]
        assert await names("/") == []
        assert await names("lists", JobState.QUEUED) == ["of ben", "of ann"]
        assert await names("", JobState.COMPLETED) == []
        page, total = await oversight.find_page("", [], offset=1, limit=1)
        assert ([batch.name for batch in page], total) == (["of ann"], 2)

        (ben, ann), _ = await oversight.find_page("", [], offset=0, limit=2)
        assert await oversight.cancel(ben.id) == 2
        with pytest.raises(Problem):
            await oversight.cancel(ben.id)
        with pytest.raises(Problem):
            await oversight.cancel(10**6)
        await services.batch_services.drain()
        summary, _ = await oversight.find(ann.id)
        assert (summary.state, summary.done) == (JobState.COMPLETED, 2)
        assert await oversight.row_words(ann.id) == [("unknown", 2)]
        assert [await oversight.count_unknown(ann.id, limit) for limit in (1, 10)] == [1, 2]
        assert await oversight.unknown_entries(ann.id, 10) == list(entries)
        verifier.verdict = Verdict.DELIVERABLE
        await services.service.run(EMAILABLE, caller, replace(op, name="again", refresh=True))
        await services.batch_services.drain()
        (again,), _ = await oversight.find_page("again", [], offset=0, limit=1)
        assert await oversight.count_unknown(again.id, 10) == 0
        assert await oversight.unknown_entries(again.id, 10) == []
        summary, _ = await oversight.find(ben.id)
        assert (summary.state, summary.done, summary.charged) == (JobState.CANCELLED, 0, 0)
        await oversight.delete(ann.id)
        for batch_id in (ann.id, 10**6):
            with pytest.raises(Problem):
                await oversight.delete(batch_id)
        assert await names("") == ["again", "of ben"]
        await services.service.run(EMAILABLE, caller, replace(op, name="running"))
        (running,), _ = await oversight.find_page("running", [], offset=0, limit=1)
        with pytest.raises(Problem):
            await oversight.delete(running.id)
