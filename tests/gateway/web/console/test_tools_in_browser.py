"""Try, Batches, Sandbox and API in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from adapters.registry import DIALECTS
from engine.model import Verdict
from gateway.app import open_services
from gateway.sandbox_app import open_sandbox
from tests.gateway.upstreams.conftest import Local
from tests.gateway.web.console.console_client import PASSWORD, WITH_PASSWORDS, console_settings
from tests.gateway.web.console.in_browser import SIZES, chromium, listening, look, window

pytestmark = [pytest.mark.anyio, pytest.mark.chromium]
KICKBOX = next(dialect for dialect in DIALECTS if dialect.name == "kickbox")


async def verify(url: str, email: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        reply = await client.get(
            "/kickbox/v2/verify", params={"email": email, "apikey": KICKBOX.sandbox_key}
        )
        assert reply.status_code == 200


async def test_the_sandboxs_pages_are_readable_at_every_size() -> None:
    async with open_sandbox("seed") as server, listening(server) as url, chromium() as browser:
        await verify(url, "<b>bold</b>@example.com")
        async with httpx.AsyncClient(base_url=url) as client:
            await client.post("/veriplex/v1/faults", json={"simulate": "429", "dialect": "reacher"})
            await client.post(
                "/emailable/v1/batch",
                json={"emails": "a@example.com", "url": "http://127.0.0.1:9/"},
                headers={"Authorization": f"Bearer {DIALECTS[0].sandbox_key}"},
            )
        pages = (
            "sandbox", "sandbox/requests/1", "sandbox/faults", "sandbox/webhooks",
            "sandbox/batches", "sandbox/clock", "api/kickbox", "api/veriplex/submit_batch",
        )  # fmt: skip
        for size in SIZES:
            async with window(browser, size, dark=size == "phone") as page:
                for path in pages[:2] if size == "wall" else pages:
                    await page.goto(f"{url}/console/{path}")
                    await look(page, f"{path.replace('/', '-')}-{size}")
                await page.goto(f"{url}/console/try")
                await page.get_by_role("button", name="accept-all").click()
                await expect(page.get_by_text("70 of 100")).to_be_visible()
                await look(page, f"try-{size}")


async def test_a_new_request_appears_by_itself() -> None:
    async with (
        open_sandbox("seed") as server,
        listening(server) as url,
        chromium() as browser,
        window(browser) as page,
    ):
        await page.goto(f"{url}/console/sandbox")
        await expect(page.get_by_text("No request has come yet")).to_be_visible()
        await verify(url, "ada@example.com")
        await expect(page.get_by_role("link", name="/v2/verify")).to_be_visible()
        await page.get_by_role("link", name="/v2/verify").click()
        await expect(page.get_by_label("Body of the reply")).to_contain_text('"success": true')


async def test_a_list_is_verified_with_and_without_scripts(tmp_path: Path) -> None:
    settings = console_settings(console=WITH_PASSWORDS)
    file = tmp_path / "list.csv"
    file.write_text("name,contact\nAnn,ada@example.com\nBen,bob@example.com\n", "utf-8")
    async with (
        open_services(settings, verifier=Local(Verdict.DELIVERABLE)) as services,
        listening(services) as url,
        chromium() as browser,
    ):
        account = await services.accounts.create_account("owner@example.com", credits=10)
        await services.accounts.create_key(account, "emailable")
        for scripts in (True, False):
            async with window(browser, scripts=scripts) as page:
                await page.goto(f"{url}/console/batches")
                await page.get_by_label("Password").fill(PASSWORD)
                await page.get_by_role("button", name="Log in").click()
                await page.get_by_role("link", name="Verify a list").click()
                await page.get_by_label("List").set_input_files(file)
                await page.get_by_role("button", name="Show the columns").click()
                await expect(page.get_by_role("radio", name="contact")).to_be_checked()
                if scripts:
                    await look(page, "batch-preview-laptop")
                await page.get_by_role("button", name="Verify 2 addresses").click()
                await expect(page).to_have_url(re.compile(r"/console/batches/\d+$"))
                if scripts:
                    # the progress is loaded again until the batch has ended
                    await expect(page.locator("#progress")).to_contain_text("completed")
                    await expect(page.get_by_role("link", name="Download CSV")).to_be_visible()
                await services.batch_services.drain()
                await page.reload()
                if scripts:
                    await look(page, "batch-laptop")
                    await page.goto(f"{url}/console/batches")
                    await look(page, "batches-laptop")
                else:
                    await expect(page.get_by_text("2 of 2 addresses")).to_be_visible()
                    await page.goto(f"{url}/console/try")
                    await page.get_by_label("Address").fill("ada@example.com")
                    await page.get_by_role("button", name="Verify").click()
                    await expect(page.get_by_text("From local")).to_be_visible()


async def test_an_open_page_outlives_a_restart_of_the_server() -> None:
    async with chromium() as browser, open_sandbox("seed") as first:
        async with listening(first) as url:
            context = await browser.new_context()
            context.set_default_timeout(10_000)
            page = await context.new_page()
            await page.goto(f"{url}/console/sandbox")
        await expect(page.get_by_role("alert")).to_be_visible(timeout=10_000)
        async with open_sandbox("seed") as second, listening(second, port=port_of(url)):
            await verify(url, "ada@example.com")
            await expect(page.get_by_role("link", name="/v2/verify")).to_be_visible()
            await expect(page.get_by_role("alert")).to_be_hidden()
            await page.get_by_role("button", name="Empty the log").click()
            await expect(page.get_by_text("another session")).to_be_visible()
        await context.close()


async def test_two_windows_show_what_one_of_them_changed() -> None:
    async with (
        open_sandbox("seed") as server,
        listening(server) as url,
        chromium() as browser,
        window(browser) as one,
        window(browser) as two,
    ):
        await verify(url, "ada@example.com")
        for page in (one, two):
            await page.goto(f"{url}/console/sandbox")
            await expect(page.get_by_role("link", name="/v2/verify")).to_be_visible()
        await one.get_by_role("button", name="Empty the log").click()
        await expect(one.get_by_text("The log is empty")).to_be_visible()
        await expect(two.get_by_text("No request has come yet")).to_be_visible()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])
