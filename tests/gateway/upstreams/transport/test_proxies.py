"""Requests through proxies on loopback."""

import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx
import pytest

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply, UpstreamRequest
from adapters.registry import DIALECTS
from gateway.upstreams.transport.aiohttp_transport import HttpTransport
from gateway.upstreams.transport.client import UpstreamClient, UpstreamLocation
from tests.fakes.http_server import CERTIFICATE, OK, drop, say, serving
from tests.fakes.proxy import IN_URL, Proxy, http_proxy, socks_proxy

EMAILABLE = next(dialect for dialect in DIALECTS if dialect.name == "emailable")


@contextlib.asynccontextmanager
async def proxying(scheme: str, proxy: Proxy) -> AsyncIterator[str]:
    """The URL of a proxy of that kind, without credentials."""
    if scheme == "socks5":
        async with socks_proxy(proxy):
            yield f"socks5://127.0.0.1:{proxy.port}"
    else:
        async with http_proxy(proxy, CERTIFICATE if scheme == "https" else None):
            yield f"{scheme}://localhost:{proxy.port}"


async def get(
    proxy: str,
    port: int,
    *,
    host: str = "http://vendor.test",
    timeout_s: float = 5.0,
    times: int = 1,
) -> UpstreamReply | Fault:
    """The last of the replies to some requests."""
    tls = ssl.create_default_context(cafile=str(CERTIFICATE))
    transport = HttpTransport(proxy_for=lambda _: proxy, tls=lambda: tls)
    client = UpstreamClient(transport, clock=lambda: 0.0)
    try:
        for _ in range(times):
            reply = await client.send(
                UpstreamLocation(EMAILABLE, f"{host}:{port}/v1"),
                UpstreamRequest("POST", "/v1/verify", {"k": "secret"}, body=b"abc"),
                connect_timeout_s=5.0,
                timeout_s=timeout_s,
            )
        return reply
    finally:
        await client.aclose()


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_request_goes_through(scheme: str, secure: bool, credentials: bool) -> None:
    proxy = Proxy(credentials=credentials)
    tls = CERTIFICATE if secure else None
    host = "https://localhost" if secure else "http://vendor.test"
    async with serving(say(OK), tls) as server, proxying(scheme, proxy) as url:
        if credentials:
            url = url.replace("://", f"://{IN_URL}")
        reply = await get(url, server.port, host=host)
        assert isinstance(reply, UpstreamReply), reply
        assert (reply.status, reply.body) == (200, b"hi")
        name = f"{httpx.URL(host).host}:{server.port}"
        expected = {
            (False, False): f"POST http://{name}/v1/verify?k=secret",
            (False, True): f"CONNECT {name}",
        }
        assert proxy.asked == [expected.get((scheme == "socks5", secure), f"SOCKS {name}")]
        assert server.bodies == [b"abc"]
        assert f"host: {name}".encode() in server.requests[0]
        assert b"proxy-authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_connection_through_a_proxy_is_kept(scheme: str) -> None:
    proxy = Proxy()
    async with serving(say(OK), CERTIFICATE) as server, proxying(scheme, proxy) as url:
        assert isinstance(
            await get(url, server.port, host="https://localhost", times=3), UpstreamReply
        )
        assert [len(server.requests), len(server.writers), len(proxy.asked)] == [3, 1, 1]


@pytest.mark.parametrize(
    ("scheme", "secure", "detail"),
    [
        ("http", False, "the proxy answered 407"),
        ("http", True, "the proxy answered 407"),
        ("socks5", True, "ProxyError"),
    ],
)
async def test_a_proxy_that_wants_credentials(scheme: str, secure: bool, detail: str) -> None:
    """Nothing reached the vendor, so that it may be asked again."""
    proxy = Proxy(credentials=True)
    host = "https://localhost" if secure else "http://vendor.test"
    async with serving(say(OK), CERTIFICATE if secure else None) as server:
        async with proxying(scheme, proxy) as url:
            fault = await get(url, server.port, host=host)
        assert isinstance(fault, Fault)
        assert (fault.kind, fault.detail) == (FaultKind.UNREACHABLE, detail)
        assert (proxy.turned_away, server.requests) == (1, [])


@pytest.mark.parametrize(
    ("scheme", "refuses", "detail"),
    [("http", 502, "the proxy answered 502"), ("socks5", 5, "the proxy answered 5")],
)
async def test_a_proxy_that_does_not_get_through(scheme: str, refuses: int, detail: str) -> None:
    async with serving(say(OK), CERTIFICATE) as server:
        async with proxying(scheme, Proxy(refuses=refuses)) as url:
            fault = await get(url, server.port, host="https://localhost")
        assert fault == Fault(FaultKind.UNREACHABLE, detail)
        assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_proxy_that_says_nothing(scheme: str) -> None:
    async with proxying(scheme, Proxy(silent=True)) as url:
        fault = await get(url, 1, host="https://localhost", timeout_s=0.1)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNREACHABLE


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_no_proxy_there(scheme: str) -> None:
    async with proxying(scheme, Proxy()) as url:
        pass
    fault = await get(url, 1)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNREACHABLE


async def test_a_proxy_whose_certificate_is_not_trusted() -> None:
    async with serving(say(OK)) as server, http_proxy(Proxy(), CERTIFICATE) as proxy:
        fault = await get(f"https://127.0.0.1:{proxy.port}", server.port)
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.UNREACHABLE
        assert proxy.asked == []


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_request_is_sent_once_through_a_proxy(scheme: str) -> None:
    async with serving(drop, CERTIFICATE) as server, proxying(scheme, Proxy()) as url:
        fault = await get(url, server.port, host="https://localhost")
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.BROKEN
        assert len(server.requests) == 1
