"""The pages of the operator: what they show, what they change, and that nothing in them runs."""

from __future__ import annotations

import logging
import re

import pytest

from gateway.observability.activity_log import WRITE_EVERY_S
from gateway.settings import Settings
from gateway.settings.effective import setting_tables
from tests.gateway.web.console.console_client import VIEWER_PASSWORD, browser, running

pytestmark = pytest.mark.anyio

SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
UPSTREAM = {
    "name": "acme",
    "dialect": "emailable",
    "base_url": "http://user:s3cret-word@127.0.0.1:9/v1",
    "api_key": "env:PASSWORD",
    "daily_budget": 10,
}
PAGES = ("", "/sources", "/egress", "/keys", "/keys/accounts/1", "/settings", "/activity")


async def test_every_page_is_there_for_viewers_who_get_no_form_to_change_anything() -> None:
    async with running(upstreams=[UPSTREAM]) as services:
        await services.accounts.bootstrap()
        viewer = browser(services)
        await viewer.log_in(VIEWER_PASSWORD)
        for path in PAGES:
            page = await viewer.get(f"/console{path}")
            assert page.status_code == 200, path
            actions = set(re.findall(r'method="post" action="([^"]+)"', page.text))
            assert actions == {"/console/logout"}, path


@pytest.mark.parametrize(
    "path",
    ["/sources/acme/pause", "/sources/acme/resume", "/sources/acme/try", "/keys/accounts",
     "/keys/accounts/1", "/keys/accounts/1/status", "/keys/accounts/1/keys",
     "/keys/accounts/1/keys/1/label", "/keys/accounts/1/keys/1/revoke", "/settings/doctor"],
)  # fmt: skip
async def test_viewers_and_forms_without_a_token_change_nothing(path: str) -> None:
    async with running(upstreams=[UPSTREAM]) as services:
        await services.accounts.bootstrap()
        viewer, operator = browser(services), browser(services)
        await viewer.log_in(VIEWER_PASSWORD)
        await operator.log_in()
        before = await services.accounts.list_keys()
        assert (await viewer.send(f"/console{path}", status="suspended")).status_code == 403
        data = {"status": "suspended"}
        assert (await operator.post(f"/console{path}", data)).status_code == 403
        assert await services.accounts.list_keys() == before


async def test_a_key_is_shown_once_and_the_log_says_who_made_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with running() as services:
        visitor = browser(services, client="192.0.2.5")
        await visitor.log_in()
        made = await visitor.send("/console/keys/accounts", owner="a@b.test", credits="1,000")
        assert "Account 1 is there" in made.text
        page = await visitor.send(
            "/console/keys/accounts/1/keys", dialect="emailable", kind="live", label=SCRIPT
        )
        key = re.search(r"<code>(live_[0-9a-f]{20})</code>", page.text)
        assert key
        assert await services.accounts.authenticate("emailable", key[1]) is not None
        again = await visitor.get("/console/keys/accounts/1")
        assert key[1] not in again.text
        assert "<script>alert" not in page.text + again.text
        assert "&lt;script&gt;alert(1)" in again.text
        (change,) = [
            vars(record)
            for record in caplog.records
            if record.message == "console.changed" and vars(record)["action"] == "key.create"
        ]
        assert change["by"] == "operator"
        assert change["client"] == "192.0.2.5"
        assert key[1] not in str(change)


async def test_an_account_is_changed_suspended_and_its_key_revoked() -> None:
    async with running() as services:
        await services.accounts.bootstrap()
        visitor = browser(services)
        await visitor.log_in()
        await visitor.send(
            "/console/keys/accounts/1", owner=SCRIPT, plan="unlimited", credits="500"
        )
        await visitor.send("/console/keys/accounts/1/status", status="suspended")
        page = await visitor.send("/console/keys/accounts/1/keys/1/revoke")
        assert "<script>alert" not in page.text
        key = (await services.accounts.list_keys())[0]
        assert (key.credits, key.status, key.owner_email) == (500, "suspended", SCRIPT)
        assert key.revoked_at is not None
        refused = await visitor.send("/console/keys/accounts/1", plan="none", credits="-1")
        assert refused.status_code == 400
        assert (await visitor.send("/console/keys/accounts/1/keys/99/revoke")).status_code == 404
        assert (await visitor.get("/console/keys/accounts/2")).status_code == 404
        assert "No account has this" in (await visitor.get("/console/keys?q=nobody")).text
        assert "Account 1<" in (await visitor.get("/console/keys?q=emailable&page=0")).text


async def test_a_paused_source_is_not_asked_until_it_is_resumed() -> None:
    async with running(storage={"url": "sqlite:///:memory:"}) as services:
        (key, *_) = await services.accounts.bootstrap()
        visitor = browser(services)
        await visitor.log_in()
        call = f"/v1/verify?email=a@b.test&api_key={key.key}"
        assert (await visitor.get(call)).status_code == 200
        page = await visitor.send("/console/sources/local/pause")
        assert "local is paused" in page.text
        assert "Every source is paused" in (await visitor.get("/console")).text
        other = f"/v1/verify?email=c@b.test&api_key={key.key}"
        assert (await visitor.get(other)).status_code >= 500
        await visitor.send("/console/sources/local/resume")
        assert (await visitor.get(other)).status_code == 200
        assert (await visitor.send("/console/sources/nobody/pause")).status_code == 404


async def test_the_overview_shows_what_was_asked() -> None:
    async with running() as services:
        (key, *_) = await services.accounts.bootstrap()
        visitor = browser(services)
        await visitor.log_in()
        await visitor.get(f"/v1/verify?email=a@b.test&api_key={key.key}")
        assert services.console is not None
        assert services.console.overview is not None
        await services.console.overview.log.write()
        page = (await visitor.get("/console?period=day")).text
        assert "emailable" in page
        assert "By verdict" in page
        assert (await visitor.get("/console?period=year")).status_code == 404
    assert WRITE_EVERY_S < 5


async def test_the_settings_hide_secrets_and_say_what_is_the_default() -> None:
    async with running(upstreams=[UPSTREAM]) as services:
        visitor = browser(services)
        await visitor.log_in()
        page = (await visitor.get("/console/settings")).text
        assert "env:PASSWORD" in page
        assert "correct horse" not in page
        assert "s3cret-word" not in page
        assert "[[upstreams]] acme" in page
        assert "s3cret-word" not in (await visitor.get("/console/sources")).text


async def test_the_verdicts_of_batches_are_counted() -> None:
    async with running() as services:
        (key, *_) = await services.accounts.bootstrap()
        visitor = browser(services)
        await visitor.log_in()
        emails = ",".join(f"{name}@b.test" for name in ("ann", "ben", "cy"))
        sent = await visitor.client.post(
            "/emailable/v1/batch", params={"api_key": key.key}, data={"emails": emails}
        )
        assert sent.status_code == 200
        await services.batch_services.drain()
        assert services.console is not None
        assert services.console.overview is not None
        await services.console.overview.log.write()
        page = (await visitor.get("/console")).text
        assert re.search(r"Verifications</dt><dd>3 <small>3 in batches", page)
        row = re.search(r"unknown</span></th>(.*?)</tr>", page, re.DOTALL)
        assert row
        assert re.findall(r">([\d%. ]+)</td>", row[1]) == ["0", "3", "100 %"]


async def test_the_settings_name_what_the_command_line_gave_and_can_be_those_given_alone() -> None:
    untouched = setting_tables(Settings(), {})
    assert {row.origin for table in untouched for row in table.rows} == {"default"}
    async with running(server={"port": 9000}) as services:
        visitor = browser(services)
        await visitor.log_in()
        page = (await visitor.get("/console/settings?only=given")).text
        assert "option of the command" in page
        assert "<code>9000</code>" in page
        assert "drain_s" not in page
        assert "drain_s" in (await visitor.get("/console/settings")).text


async def test_the_page_of_a_new_key_leads_to_its_account() -> None:
    async with running() as services:
        await services.accounts.bootstrap()
        visitor = browser(services)
        await visitor.log_in()
        reply = await visitor.get("/console/keys/accounts/1/keys")
        assert reply.headers["location"] == "/console/keys/accounts/1"
