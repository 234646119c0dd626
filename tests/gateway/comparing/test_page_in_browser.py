"""The report as a page, in a real browser at three sizes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.model import Address
from gateway.comparing.page import report_page
from gateway.comparing.report import make_report
from gateway.comparing.rows import differing_addresses
from tests.gateway.comparing.test_known_rates import simulate
from tests.gateway.web.console.in_browser import chromium, look, window

pytestmark = [pytest.mark.anyio, pytest.mark.chromium]
SCRIPT = "<script>document.title='ran'</script>"


def show(_: Address) -> str:
    return SCRIPT


async def test_the_page_is_readable_and_asks_nothing_of_any_server(tmp_path: Path) -> None:
    questions, sources = simulate(random.Random(3), 300)
    report = make_report(
        questions, sources, spent_micros=10, wished_bounce_rate=0.2, remarks=[SCRIPT]
    )
    file = tmp_path / "report.html"
    file.write_bytes(report_page(report, differing_addresses(questions, sources, show)))
    requests: list[str] = []
    async with chromium() as browser:
        for size, dark in (("phone", True), ("laptop", False), ("wall", True)):
            async with window(browser, size, dark=dark) as page:
                page.on("request", lambda request: requests.append(request.url))
                await page.goto(file.as_uri())
                await page.get_by_text("The addresses (").click()
                await look(page, f"comparison-{size}")
                assert await page.title() == "Comparison of good, poor"
    assert requests == [file.as_uri()] * 3
