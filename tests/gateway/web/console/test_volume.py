"""Pages stay quick with the use of months in the database; `tests/benchmarks` has more of it."""

from __future__ import annotations

import pytest

from tests.gateway.web.console.console_client import browser, running
from tests.gateway.web.console.month_of_use import Volume, fill, time_pages

pytestmark = pytest.mark.anyio

MAX_MS = 300


async def test_each_page_takes_less_than_300_ms(database_url: str) -> None:
    async with running(storage={"url": database_url}) as services:
        await fill(services, Volume(batches=1_000, rows=20_000, activity_share=0.1))
        visitor = browser(services)
        await visitor.log_in()
        took = await time_pages(visitor)
    assert not {path: round(ms) for path, ms in took.items() if ms > MAX_MS}
