"""Which upstream is asked through which proxy, by the settings and by the environment."""

from typing import Any

import pytest

from tests.fakes.proxy import IN_URL, Proxy, http_proxy, socks_proxy
from tests.fakes.vendor import vendor
from tests.gateway.upstreams.conftest import BY_NAME, front, settings_for


async def asked_through(proxy: Proxy, **options: Any) -> bool:
    """Whether the vendor was asked through it; it has to be asked."""
    async with vendor(BY_NAME["emailable"]) as v0, front(settings_for([v0], **options)) as here:
        reply = await here.ask("ada@example.com")
        assert reply.json()["verdict"] == "deliverable"
        assert v0.asked.total() == 1
    return len(proxy.asked) == 1


async def test_none() -> None:
    assert not await asked_through(Proxy())


async def test_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://nowhere.invalid:1")
    monkeypatch.setenv("NO_PROXY", "*")
    async with http_proxy(Proxy(credentials=True)) as proxy:
        url = f"http://{IN_URL}127.0.0.1:{proxy.port}"
        assert await asked_through(proxy, transport={"proxy": url})


async def test_an_upstreams_own_wins() -> None:
    async with socks_proxy(Proxy(credentials=True)) as proxy:
        url = f"socks5://{IN_URL}127.0.0.1:{proxy.port}"
        settings = {"transport": {"proxy": "http://nowhere.invalid:1"}, "v0": {"proxy": url}}
        assert await asked_through(proxy, **settings)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    async with http_proxy(Proxy()) as proxy:
        monkeypatch.setenv(variable, f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "localhost,example.com")
        assert await asked_through(proxy)


async def test_a_host_that_the_environment_exempts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with http_proxy(Proxy()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        assert not await asked_through(proxy)


async def test_a_proxy_that_refuses_is_the_upstreams_fault_and_costs_nothing() -> None:
    async with vendor(BY_NAME["emailable"]) as v0, http_proxy(Proxy(credentials=True)) as proxy:
        options = {"proxy": f"http://127.0.0.1:{proxy.port}", "price": 1.0}
        settings = settings_for([v0], v0=options, routing={"deadline_s": 1.0})
        async with front(settings) as here:
            reply = await here.ask("ada@example.com")
        attempt = reply.json()["attempts"][0]
        assert (attempt["outcome"], attempt["cost"]) == ("unreachable", 0)
        assert attempt["detail"] == "the proxy answered 407"
        assert v0.asked.total() == 0
