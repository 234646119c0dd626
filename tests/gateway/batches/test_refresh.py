"""A batch whose client does not want stored results."""

from __future__ import annotations

import pytest

from adapters.contract.jobs import BatchEntry
from adapters.contract.operations import SubmitJob
from tests.gateway.batches.conftest import open_bench


@pytest.mark.parametrize("refresh", [False, True])
async def test_a_refresh_looks_into_no_cache(url: str, refresh: bool) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce")
        for _ in range(2):
            entries = [BatchEntry("a@x.test")]
            await bench.jobs(caller).submit(SubmitJob(entries=entries, refresh=refresh))
            await bench.wait(0)
        assert len(bench.verifier.asked) == (2 if refresh else 1)
