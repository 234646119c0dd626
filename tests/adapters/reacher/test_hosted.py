"""What the vendor's hosted service has and a server of one's own has not."""

from datetime import UTC, datetime

import httpx

from adapters.contract.operations import UNLIMITED, AccountInfo
from adapters.reacher import DIALECT, account_headers
from adapters.reacher.problems import HOSTED
from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.gateway.web.test_bad_input import Answers

AT = datetime(2026, 12, 30, 23, 30, tzinfo=UTC)
LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")


async def ask(host: str, credits: int | None, text: str = "a@x.test") -> httpx.Response:
    settings = Settings.model_validate({"storage": {"url": "sqlite:///:memory:"}})
    async with open_services(
        settings, verifier=Answers(), clock=AT.timestamp, run_workers=False
    ) as services:
        account = await services.accounts.create_account("a@x.test", credits=credits)
        key = (await services.accounts.create_key(account, DIALECT.name)).key
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url=f"http://{host}"
        ) as client:
            headers = {"Authorization": key}
            return await client.post("/v0/check_email", json={"to_email": text}, headers=headers)


async def test_the_hosted_service_shows_the_limit_of_the_month() -> None:
    reply = await ask(f"{HOSTED}:443", 7)
    assert reply.status_code == 200
    wanted = ("7", "6", "2027-01-01T00:00:00.000Z", "88200.000")
    assert tuple(reply.headers[name] for name in LIMITS) == wanted
    refused = await ask(HOSTED, 0)
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers.get_list("retry-after") == ["88200.000"]


async def test_a_server_of_ones_own_shows_none() -> None:
    reply = await ask("veriplex.test", 7)
    assert reply.status_code == 200
    assert not set(LIMITS) & set(reply.headers)


def test_a_month_ends_at_its_end() -> None:
    for day, end in ((datetime(2028, 2, 29, tzinfo=UTC), "2028-03-01"), (AT, "2027-01-01")):
        info = AccountInfo("a@x.test", UNLIMITED, "", 0, None, at=day)
        assert dict(account_headers(info))["X-RateLimit-Reset"].startswith(end)
