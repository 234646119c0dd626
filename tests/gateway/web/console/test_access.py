"""Who gets into the console, and what a page of another site can do with it."""

from __future__ import annotations

import logging

import pytest

from gateway.accounts.console_access import (
    FAILED_LOGIN_S,
    MAX_FAILED_LOGINS,
    MAX_TOKENS,
    SESSION_S,
    ConsoleAccess,
    Role,
    StoredToken,
    TokenKind,
    TokensInMemory,
    TokenStore,
    TooManyAttempts,
)
from gateway.accounts.console_tokens import ConsoleTokens
from gateway.sandbox_app import open_sandbox
from gateway.store import open_store
from tests.gateway.web.console.console_client import (
    BASE,
    VIEWER_PASSWORD,
    browser,
    running,
)

pytestmark = pytest.mark.anyio


async def test_without_a_login_every_page_leads_to_it() -> None:
    async with running() as services:
        reply = await browser(services).get("/console")
        assert reply.status_code == 303
        assert reply.headers["location"] == "/console/login?next=/console"


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites() -> None:
    async with running() as services:
        reply = await browser(services).log_in()
        cookie = reply.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie  # this server speaks plain HTTP


async def test_over_tls_the_cookie_is_secure_and_of_this_host_alone() -> None:
    url = "https://verify.example.com"
    async with running(server={"public_url": url}) as services:
        visitor = browser(services, base=url)
        reply = await visitor.post(
            "/console/login", {"password": "correct horse battery"}, origin=url
        )
        cookie = reply.headers["set-cookie"]
        assert cookie.startswith("__Host-veriplex_console=")
        assert "; Secure" in cookie
        assert "Path=/;" in cookie
        assert (await visitor.get("/console")).status_code == 200


@pytest.mark.parametrize("password", ["", "wrong", "correct horse batter", "CORRECT HORSE BATTERY"])
async def test_a_wrong_password_gets_nothing(password: str) -> None:
    async with running() as services:
        visitor = browser(services)
        reply = await visitor.log_in(password)
        assert reply.status_code == 403
        assert "set-cookie" not in reply.headers
        assert (await visitor.get("/console")).status_code == 303


async def test_many_wrong_passwords_of_a_client_are_refused_and_the_right_one_with_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as services:
        visitor = browser(services, client="192.0.2.1")
        for _ in range(MAX_FAILED_LOGINS):
            assert (await visitor.log_in("wrong")).status_code == 403
        reply = await visitor.log_in()
        assert reply.status_code == 429
        assert 0 < int(reply.headers["retry-after"]) <= FAILED_LOGIN_S
        assert (await browser(services, client="192.0.2.2").log_in()).status_code == 303
        assert "console.login_blocked" in [record.message for record in caplog.records]


async def test_one_ipv6_network_is_one_client() -> None:
    access = ConsoleAccess(TokensInMemory(lambda: 0.0), password="x" * 8, clock=lambda: 0.0)
    for number in range(MAX_FAILED_LOGINS):
        assert await access.log_in("wrong", f"2001:db8::{number:x}") is None
    with pytest.raises(TooManyAttempts):
        await access.log_in("x" * 8, "2001:db8::ffff")
    assert await access.log_in("x" * 8, "2001:db8:1::1") is not None


async def test_a_login_makes_a_new_session_and_ends_the_one_before() -> None:
    async with running() as services:
        visitor = browser(services)
        visitor.client.cookies.set("veriplex_console", "chosen", domain="127.0.0.1", path="/")
        await visitor.log_in()
        first = visitor.client.cookies["veriplex_console"]
        assert first != "chosen"
        await visitor.log_in()
        assert visitor.client.cookies["veriplex_console"] != first
        old = browser(services)
        old.client.cookies.set("veriplex_console", first)
        assert (await old.get("/console")).status_code == 303


async def test_a_logout_ends_the_session_in_every_window() -> None:
    async with running() as services:
        one, two = browser(services), browser(services)
        await one.log_in()
        two.client.cookies.update(one.client.cookies)
        assert (await two.get("/console")).status_code == 200
        assert (await one.post("/console/logout", {"csrf": await one.csrf()})).status_code == 303
        assert (await two.get("/console")).status_code == 303


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
async def test_a_change_without_its_token_is_refused(csrf: str | None) -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        reply = await visitor.post("/console/logout", {} if csrf is None else {"csrf": csrf})
        assert reply.status_code == 403
        assert (await visitor.get("/console")).status_code == 200


async def test_the_token_of_another_session_is_refused() -> None:
    async with running() as services:
        one, two = browser(services), browser(services)
        await one.log_in()
        await two.log_in()
        reply = await one.post("/console/logout", {"csrf": await two.csrf()})
        assert reply.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        csrf = await visitor.csrf()
        assert (await visitor.post("/console/logout", {"csrf": csrf}, **headers)).status_code == 403
        reply = await visitor.post("/console/login", {"password": "x"}, **headers)
        assert reply.status_code == 403
        assert "wrong" not in reply.text
        assert (await visitor.get("/console")).status_code == 200


async def test_a_name_that_leads_here_shows_nothing() -> None:
    """As after DNS rebinding."""
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in()
        reply = await visitor.get("/console", host="evil.example:8025")
        assert reply.status_code == 403
        assert "server.allowed_hosts" in reply.text


async def test_a_link_of_another_site_leads_to_the_page_by_way_of_ours() -> None:
    async with running() as services:
        navigation = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        visitor = browser(services)  # its Strict cookie is kept back
        reply = await visitor.get("/console?a=1", **navigation)
        assert reply.status_code == 200
        assert 'content="0;url=/console?a=1"' in reply.text
        script = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
        assert (await visitor.get("/console", **script)).status_code == 403


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/console/../evil",
        "/console/..//evil.example",
        "/console//evil.example",
        "/\\evil",
        "/consolevil",
        "",
    ],
)
async def test_a_login_leads_to_no_other_site(target: str) -> None:
    async with running() as services:
        visitor = browser(services)
        data = {"password": "correct horse battery", "next": target}
        reply = await visitor.post("/console/login", data)
        assert reply.headers["location"] == "/console"


async def test_viewers_see_and_change_nothing() -> None:
    async with running() as services:
        visitor = browser(services)
        await visitor.log_in(VIEWER_PASSWORD)
        page = await visitor.get("/console")
        assert "Logged in as viewer" in page.text
        assert (await visitor.post("/console/logout", {"csrf": await visitor.csrf()})).is_redirect


async def test_pages_run_no_script_of_their_own_and_load_nothing_from_elsewhere() -> None:
    async with running() as services:
        visitor = browser(services)
        for page in (await visitor.get("/console/login"), await visitor.get("/console/nothing")):
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert page.headers["x-frame-options"] == "DENY"
            assert page.headers["cache-control"] == "no-store"


async def test_files_are_cached_for_ever_under_the_name_of_their_content() -> None:
    async with running() as services:
        visitor = browser(services)
        page = (await visitor.get("/console/login")).text
        url = next(part for part in page.split('"') if part.endswith("/console.css"))
        reply = await visitor.get(url)
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        other = await visitor.get("/console/static/000000000000/console.css")
        assert other.headers["cache-control"] == "no-store"
        for name in ("..%2fvisit.py", "visit.py", "console.css%00"):
            assert (await visitor.get(f"/console/static/000000000000/{name}")).status_code == 404


async def test_a_link_logs_in_once() -> None:
    async with running(console={}) as services:
        assert services.console is not None
        token = await services.console.access.create_link_token()
        link = f"/console/login?token={token}"
        first, second = browser(services), browser(services)
        assert (await first.get(link)).headers["location"] == "/console"
        assert (await first.get("/console")).status_code == 200
        assert (await first.get(link)).headers["location"] == "/console"  # opened twice
        assert (await second.get(link)).status_code == 403
        assert (await second.get("/console")).status_code == 303


async def test_a_link_is_not_used_up_by_a_page_of_another_site() -> None:
    async with running(console={}) as services:
        assert services.console is not None
        token = await services.console.access.create_link_token()
        visitor = browser(services)
        preview = await visitor.get(
            f"/console/login?token={token}",
            **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        )
        assert preview.status_code == 200
        assert "set-cookie" not in preview.headers
        reply = await visitor.post("/console/login", {"token": token})
        assert reply.headers["location"] == "/console"


async def test_the_log_says_who_logged_in_and_holds_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with running() as services:
        visitor = browser(services, client="192.0.2.7")
        await visitor.log_in("wrong password 1")
        await visitor.log_in()
        token = visitor.client.cookies["veriplex_console"]
        events = {record.message: vars(record) for record in caplog.records}
        assert events["console.login"]["role"] == "operator"
        assert events["console.login"]["client"] == "192.0.2.7"
        assert events["console.login_failed"]["client"] == "192.0.2.7"
        whole = str([vars(record) for record in caplog.records])
        assert token not in whole
        assert "wrong password" not in whole
        assert "correct horse" not in whole


async def test_a_console_that_is_off_has_no_path() -> None:
    async with running(console={"enabled": False}) as services:
        for path in ("/console", "/console/login", "/console/static/0/console.css"):
            assert (await browser(services).get(path)).status_code == 404


async def test_a_sandbox_is_open_on_this_machine_alone() -> None:
    async with open_sandbox("seed", url=BASE) as server:
        assert (await browser(server).get("/console")).status_code == 200
        assert (await browser(server, client="192.0.2.1").get("/console")).status_code == 303
        evil = await browser(server).get("/console", host="evil.example")
        assert evil.status_code == 403


async def test_a_changed_password_ends_its_sessions() -> None:
    tokens = TokensInMemory(lambda: 0.0)
    before = ConsoleAccess(tokens, password="old password", clock=lambda: 0.0)
    session = await before.log_in("old password", "")
    assert session is not None
    assert await before.find_session(session.token) == session
    after = ConsoleAccess(tokens, password="new password", clock=lambda: 0.0)
    assert await after.find_session(session.token) is None


async def test_tokens_are_shared_bounded_and_end(database_url: str) -> None:
    now = 1_000_000.0
    async with open_store(database_url) as store, open_store(database_url) as other:

        def access(tokens: TokenStore) -> ConsoleAccess:
            return ConsoleAccess(tokens, password="the password", clock=lambda: now)

        first = access(ConsoleTokens(store, lambda: now))
        second = access(ConsoleTokens(other, lambda: now))
        session = await first.log_in("the password", "")
        assert session is not None
        found = await second.find_session(session.token)
        assert found == session
        link = await first.create_link_token()
        assert await second.find_session(link) is None  # a link is no session
        assert await second.log_in_by_link(session.token) is None
        assert await first.find_session(session.token) == session
        assert await second.log_in_by_link(link) is not None
        assert await first.log_in_by_link(link) is None
        now += SESSION_S
        assert await first.find_session(session.token) is None


@pytest.mark.parametrize("in_memory", [True, False])
async def test_the_tokens_that_end_first_make_room(in_memory: bool) -> None:
    async with open_store("sqlite:///:memory:") as store:
        tokens: TokenStore = (
            TokensInMemory(lambda: 0.0) if in_memory else ConsoleTokens(store, lambda: 0.0)
        )

        def token(number: int) -> StoredToken:
            digest = number.to_bytes(32, "big")
            return StoredToken(digest, TokenKind.SESSION, Role.VIEWER, digest, 10 + number)

        for number in range(MAX_TOKENS + 2):
            await tokens.put(token(number))
        assert await tokens.find(token(1).digest) is None
        assert await tokens.find(token(2).digest) is not None
        assert await tokens.find(token(MAX_TOKENS + 1).digest) is not None
