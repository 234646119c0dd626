"""Login, Overview, Sources, Egress, Keys and accounts, and Settings in a real browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest
from playwright.async_api import Browser, Page, expect

from gateway.app import open_services
from tests.fakes.vendor import Mood
from tests.gateway.upstreams.conftest import Local
from tests.gateway.web.console.busy_server import SCRIPT, Busy, busy_server
from tests.gateway.web.console.console_client import (
    PASSWORD,
    VIEWER_PASSWORD,
    WITH_PASSWORDS,
    console_settings,
)
from tests.gateway.web.console.in_browser import chromium, listening, look, window

pytestmark = [pytest.mark.anyio, pytest.mark.chromium]

PAGES = (
    "", "/sources", "/egress", "/keys", "/keys/accounts/1", "/settings?only=given", "/batches",
    "/activity", "/settings",
)  # fmt: skip
LOOKS = [("phone", True, PAGES[:7]), ("laptop", False, PAGES), ("wall", True, PAGES[:2])]
"""The size, whether it is dark, and the pages: the longest at one size."""


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest.fixture
async def busy() -> AsyncIterator[Busy]:
    async with busy_server() as opened:
        yield opened


@pytest.fixture
async def url(busy: Busy) -> AsyncIterator[str]:
    async with listening(busy.services) as opened:
        yield f"{opened}/console"


async def log_in(page: Page, url: str, password: str = PASSWORD) -> None:
    """Open a page that needs a login, and log in."""
    await page.goto(url)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def pass_time(page: Page) -> None:
    """What the page does every few seconds, it does now."""
    await page.wait_for_load_state()  # of its scripts, which would begin to wait later
    await page.clock.fast_forward("00:15")


@pytest.mark.parametrize(("size", "dark", "pages"), LOOKS, ids=("phone", "laptop", "wall"))
async def test_the_pages_are_readable_and_run_no_script_of_strangers(
    browser: Browser, url: str, size: str, dark: bool, pages: tuple[str, ...]
) -> None:
    async with window(browser, size, dark=dark) as page:
        await page.goto(url)
        await look(page, f"login-{size}")
        await log_in(page, url)
        for path in pages:
            await page.goto(f"{url}{path}")
            name = re.sub(r"\W+", "-", path).strip("-") or "overview"
            await look(page, f"{name}-{size}")
            assert "Veriplex" in await page.title(), path


async def test_a_login_is_guarded_and_its_end_is_seen_in_every_window(
    browser: Browser, url: str
) -> None:
    async with window(browser) as page:
        page.on("console", lambda _: None)
        await log_in(page, f"{url}/sources")
        await expect(page).to_have_url(f"{url}/sources")
        await expect(page.get_by_role("heading", name="Sources")).to_be_visible()
        other = await page.context.new_page()
        await other.clock.install()
        await other.goto(url)
        await expect(other.get_by_text("Logged in as operator")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Password")).to_be_visible()
        await pass_time(other)
        await expect(other.get_by_label("Password")).to_be_visible()


async def test_wrong_passwords_are_refused_and_many_of_them_block(
    browser: Browser, url: str
) -> None:
    async with window(browser, refusals=True) as page:
        await log_in(page, url, "not the password")
        await expect(page.get_by_role("alert")).to_have_text("This password is wrong.")
        await look(page, "login-wrong-laptop")
        while not await page.get_by_text("Too many wrong passwords").is_visible():
            await log_in(page, url, "not the password")
            await expect(page.get_by_role("alert")).to_be_visible()
        await log_in(page, url)
        await expect(page.get_by_role("alert")).to_contain_text("Try again in")
        await look(page, "login-blocked-laptop")


async def test_viewers_find_no_button_and_a_form_of_another_session_does_nothing(
    browser: Browser, busy: Busy, url: str
) -> None:
    async with window(browser, refusals=True) as viewer, window(browser, refusals=True) as page:
        await log_in(viewer, f"{url}/sources", VIEWER_PASSWORD)
        await expect(viewer.get_by_text("Logged in as viewer")).to_be_visible()
        for path in PAGES:
            await viewer.goto(f"{url}{path}")
            buttons = viewer.locator("main button:not([data-copy])")
            assert set(await buttons.all_inner_texts()) <= {"Search", "Show"}, path
        theirs = await viewer.locator("[name=csrf]").first.input_value()
        await log_in(page, f"{url}/sources")
        field = page.locator("form[action='/console/sources/emailable/pause'] [name=csrf]")
        await field.evaluate("(field, token) => { field.value = token }", theirs)
        page.on("dialog", lambda dialog: dialog.accept())
        await page.locator("form[action='/console/sources/emailable/pause'] button").click()
        await expect(page.get_by_text("This form is of another session")).to_be_visible()
        await look(page, "refused-laptop")
        assert await states(busy) == {"emailable": "in use", "kickbox-eu": "resting"}


async def test_a_source_is_paused_resumed_and_tried(browser: Browser, busy: Busy, url: str) -> None:
    async with window(browser) as page:
        answers = iter((False, True))
        page.on("dialog", lambda dialog: dialog.accept() if next(answers) else dialog.dismiss())
        await page.clock.install()
        await log_in(page, f"{url}/sources")
        card = page.get_by_role("region", name=re.compile("^emailable"))
        await card.get_by_role("button", name="Pause").click()
        assert (await states(busy))["emailable"] == "in use"
        await card.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("status")).to_contain_text("emailable is paused")
        await look(page, "sources-paused-laptop")
        await page.get_by_role("link", name="Overview").click()
        await page.locator("#more-notices > summary").click()
        notice = page.get_by_text("The source emailable is paused")
        await expect(notice).to_be_visible()
        await page.get_by_role("heading", name="Overview").click()
        async with page.expect_response(lambda reply: "period=hour" in reply.url):
            await pass_time(page)
        await expect(notice).to_be_visible()
        await page.goto(f"{url}/sources")
        await card.get_by_role("button", name="Resume").click()
        await expect(page.get_by_role("status")).to_contain_text("emailable is in use again")

        kickbox = page.get_by_role("region", name=re.compile("^kickbox-eu"))
        await expect(kickbox).to_contain_text("HTTP 500")
        busy.vendors["kickbox-eu"].mood = Mood.GOOD
        await kickbox.get_by_role("button", name="Try now").click()
        await expect(page.get_by_role("status")).to_contain_text("1,000 credits left")
        await busy.verify("first-again@example.com")
        await pass_time(page)
        await expect(kickbox).to_contain_text("It answers again")


async def states(busy: Busy) -> dict[str, str]:
    assert busy.services.console is not None
    assert busy.services.console.overview is not None
    found = await busy.services.console.overview.sources.list()
    return {each.name: each.state for each in found if each.name in ("emailable", "kickbox-eu")}


async def test_an_account_gets_a_key_that_is_shown_once_and_revoked(
    browser: Browser, busy: Busy, url: str
) -> None:
    accounts = busy.services.accounts
    async with window(browser, "phone", refusals=True) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        await log_in(page, f"{url}/keys")
        await page.get_by_label("Owner").fill(SCRIPT)
        await page.get_by_label("Credits").fill("1,000")
        await page.get_by_role("button", name="Create the account").click()
        await page.get_by_label("Vendor's API").select_option("kickbox")
        await page.get_by_label("Label", exact=True).fill(SCRIPT)
        await page.get_by_role("button", name="Create the key").click()
        shown = page.locator(".secret code")
        key = await shown.inner_text()
        await look(page, "new-key-phone")
        caller = await accounts.authenticate("kickbox", key)
        assert caller is not None
        await page.reload()
        await expect(shown).to_be_hidden()
        assert key not in await page.content()
        assert len(await accounts.list_keys()) == 4
        await page.goto(f"{page.url}/keys")
        await expect(page.get_by_role("button", name="Revoke")).to_be_visible()

        await page.get_by_label("Credits left").fill("many")
        await page.get_by_role("button", name="Save").last.click()
        await expect(page.get_by_role("heading", name="Bad Request")).to_be_visible()
        await page.go_back()
        await page.get_by_label("Credits left").fill("2000")
        await page.get_by_role("button", name="Save").last.click()
        await expect(page.get_by_text("2,000")).to_be_visible()

        await page.get_by_role("button", name="Suspend").click()
        await expect(page.get_by_text("suspended", exact=True)).to_be_visible()
        await look(page, "suspended-phone")
        await page.get_by_role("button", name="Make it active again").click()
        await page.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_text("revoked", exact=True)).to_be_visible()
        assert await accounts.authenticate("kickbox", key) is None
        assert "Veriplex" in await page.title()


async def test_nothing_that_strangers_send_runs(
    browser: Browser, busy: Busy, url: str, tmp_path: Path
) -> None:
    hostile = f'"{SCRIPT}"@example.com'
    file = tmp_path / f"{SCRIPT.replace('/', '')}.csv"
    file.write_text(
        f"{_cell(SCRIPT)},mail\n{_cell(SCRIPT)},{_cell(hostile)}\n=1+1,a@b.test\n", "utf-8"
    )
    test_key = await busy.services.accounts.create_key(1, "emailable", test=True, label=SCRIPT)
    await busy.verify(hostile)
    await busy.verify(hostile, key=test_key.key)
    await busy.verify("a@b.test", key=SCRIPT)
    async with window(browser) as page:

        async def check() -> None:
            assert "script" in await page.locator("main").inner_text()
            assert await page.title() != "ran"
            assert not await page.locator("main img").count()

        await log_in(page, f"{url}/batches/new")
        await page.get_by_label("List").set_input_files(file)
        await page.get_by_role("button", name="Show the columns").click()
        await page.get_by_role("radio", name="mail").check()
        await check()
        await page.get_by_role("button", name="Verify 2 addresses").click()
        await expect(page).to_have_url(re.compile(r"/batches/\d+$"))
        await busy.services.batch_services.drain()
        await page.reload()
        await look(page, "batch-hostile-laptop")
        await check()
        async with page.expect_download() as started:
            await page.get_by_role("link", name="Download CSV").click()
        saved = anyio.Path(await (await started.value).path())
        assert "'=1+1,a@b.test" in await saved.read_text("utf-8")
        for path in ("/batches", "/sandbox", "/sandbox/requests/1", "/egress", "/keys/accounts/1"):
            await page.goto(f"{url}{path}")
            await check()
        await page.goto(f"{url}/try")
        await page.get_by_label("Address").fill(hostile)
        await page.get_by_role("button", name="Verify").click()
        await expect(page.get_by_role("heading", name="ZeroBounce")).to_be_visible()
        await check()
        await page.goto(f"{url}/keys?q={quote(SCRIPT)}")
        await check()


def _cell(text: str) -> str:
    """Of a CSV file."""
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("path", ["", "/sources"])
async def test_an_open_page_says_that_the_server_is_away_and_goes_on_when_it_is_back(
    browser: Browser, tmp_path: Path, path: str
) -> None:
    settings = console_settings(
        console=WITH_PASSWORDS, storage={"url": f"sqlite:///{tmp_path / 'v.db'}"}
    )
    async with window(browser, refusals=True) as page:
        await page.clock.install()
        lost = page.get_by_text("The server does not answer")
        async with open_services(settings, verifier=Local()) as services:
            async with listening(services) as base:
                await log_in(page, f"{base}/console{path}")
                await expect(page.locator("#live")).to_be_visible()
                await page.wait_for_load_state()
            await pass_time(page)
            await expect(lost).to_be_visible()
        await look(page, f"away{path.replace('/', '-')}-laptop")
        async with open_services(settings, verifier=Local()) as services:
            account = await services.accounts.create_account()
            key = await services.accounts.create_key(account, "emailable")
            async with listening(services, port=int(base.rpartition(":")[2])):
                await Busy(services, {}, key.key).verify("ada@example.com")
                assert services.console is not None
                assert services.console.overview is not None
                await services.console.overview.log.write()
                await pass_time(page)
                await expect(lost).to_be_hidden()
                await expect(page.locator(".stat").first).to_contain_text("1")
                await page.goto(f"{base}/console{path}")
                await expect(page.locator("#live")).to_be_visible()
