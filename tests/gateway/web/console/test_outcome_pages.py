"""Outcomes: what the page shows, to whom, and what it cuts out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from engine.address.syntax import parse_address
from engine.model import Checks, Evidence, Meaning, Reason, Smtp, Stage, Verdict, Verification
from gateway.app import Services
from gateway.outcomes.terms import MailOutcome, Outcome
from tests.gateway.web.console.console_client import VIEWER_PASSWORD, browser, running
from tests.gateway.web.console.in_browser import chromium, listening, look, window

pytestmark = pytest.mark.anyio

SCRIPT = "<script>document.title='ran'</script>"
SOURCES = ("local", "kickbox-eu")
COUNT = 60


def verification(number: int, source: str, at: float) -> Verification:
    """Every fifth address is called undeliverable, by a reply that names it."""
    name = f"reader{number:03}"
    is_refused = number % 5 == 0
    text = f"5.1.1 {name}: {SCRIPT} rejected in session {number}a7b8c9d"
    smtp = Smtp(Meaning.MAILBOX_NOT_FOUND, Stage.RCPT, code=550, enhanced="5.1.1", text=text)
    return Verification(
        address=parse_address(f"{name}@example.com"),
        verdict=Verdict.UNDELIVERABLE if is_refused else Verdict.DELIVERABLE,
        reason=Reason.REJECTED_EMAIL if is_refused else Reason.ACCEPTED_EMAIL,
        score=0 if is_refused else 95,
        evidence=Evidence(
            provider=("google", "microsoft", "other")[number % 3],
            smtp=smtp if is_refused and source == "local" else None,
        ),
        checks=Checks(),
        verified_at=datetime.fromtimestamp(at, UTC),
        source=source,
    )


@contextlib.asynccontextmanager
async def with_outcomes() -> AsyncIterator[Services]:
    """A server that knows what became of mail to 60 addresses."""
    async with running() as services:
        outcomes = services.outcomes
        assert outcomes is not None
        now = datetime.now(UTC).timestamp()
        for source in SOURCES:
            for number in range(COUNT):
                outcomes.record_answer(verification(number, source, now))
        given = [
            MailOutcome(
                parse_address(f"reader{number:03}@example.com"),
                Outcome.HARD_BOUNCE if number % 7 == 0 else Outcome.DELIVERED,
                now + 5,
                code="550" if number % 7 == 0 else "",
                text=f"no such user reader{number:03} {SCRIPT}" if number % 7 == 0 else "",
            )
            for number in range(COUNT)
        ]
        await outcomes.add(given, "api")
        for number in range(COUNT):
            shadow = verification(number + (number % 10 == 1) * 4, "zerobounce", now)
            outcomes.record_shadow(verification(number, "local", now), shadow)
        await outcomes.write()
        await outcomes.figures.refresh()
        yield services


async def test_a_viewer_sees_shares_with_their_counts_and_intervals() -> None:
    async with with_outcomes() as services:
        viewer = browser(services)
        await viewer.log_in(VIEWER_PASSWORD)
        page = (await viewer.get("/console/outcomes")).text
        assert "14.6 % of 48 (7.2 to 27.2)" in page, "bounced of those called deliverable"
        assert "2 of 12, too few" in page, "bounced of those called undeliverable"
        assert "kickbox-eu" in page
        assert "550 5.1.1 : &lt;script&gt;" in page
        assert "reader0" not in page
        assert "<script>document" not in page
        reply = await viewer.get("/console/outcomes/candidates.json")
        assert "attachment" in reply.headers["content-disposition"]
        (first,) = reply.json()["replies"]
        assert first["wrong"]["hits"] == 10
        assert first["rule"]
        assert "reader" not in reply.text


async def test_the_sources_page_and_the_metrics_have_the_figures() -> None:
    async with with_outcomes() as services:
        viewer = browser(services)
        await viewer.log_in(VIEWER_PASSWORD)
        page = (await viewer.get("/console/sources")).text
        assert "called deliverable bounced 14.6 % of 48 (7.2 to 27.2)" in page
        assert "Agrees with zerobounce, a shadow source: 90.0 % of 60 (79.9 to 95.3)" in page
        page = (await viewer.get("/console/outcomes")).text
        assert "Agreement of shadow sources" in page
        assert "90.0 % of 60 (79.9 to 95.3)" in page
        text = (await viewer.get("/metrics")).text
        sample = 'veriplex_judged_addresses{outcome="bounced",source="local",verdict="deliverable"}'
        assert f"{sample} 7.0" in text
        sample = 'veriplex_shadow_agreement{same="no",shadow="zerobounce",source="local"}'
        assert f"{sample} 6.0" in text


async def test_without_outcomes_the_page_says_how_they_come() -> None:
    async with running() as services, running(outcomes={"keep_days": 0}) as other:
        for server, words in ((services, "POST /veriplex/v1/outcomes"), (other, "keep_days is 0")):
            viewer = browser(server)
            await viewer.log_in(VIEWER_PASSWORD)
            assert words in (await viewer.get("/console/outcomes")).text
        stranger = browser(services)
        assert (await stranger.get("/console/outcomes")).status_code in (303, 401)


@pytest.mark.chromium
async def test_the_page_is_readable_at_every_size() -> None:
    async with with_outcomes() as services, listening(services) as url, chromium() as opened:
        for size, dark in (("phone", True), ("laptop", False), ("wall", True)):
            async with window(opened, size, dark=dark) as page:
                await page.goto(f"{url}/console/outcomes")
                await page.get_by_label("Password").fill(VIEWER_PASSWORD)
                await page.get_by_role("button", name="Log in").click()
                await page.get_by_role("heading", name="kickbox-eu").wait_for()
                assert await page.title() == "Outcomes · Veriplex"
                await look(page, f"outcomes-{size}")
