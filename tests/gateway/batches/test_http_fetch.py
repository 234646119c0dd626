"""Lists at URLs as httpx fetches them, with a mocked network."""

from __future__ import annotations

import contextlib
import gzip
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import respx

from engine.dns.targets import is_global
from gateway.batches.http_fetch import MAX_REDIRECTS, MEMORY_BYTES, HttpFetch
from gateway.upstreams.transport.aiohttp_transport import HttpTransport
from tests.fakes.http_server import nothing, say, serving
from tests.gateway.batches.test_http_post import Endless

PUBLIC, OTHER = "93.184.215.14", "93.184.215.15"
REFUSED = "The list's server has a private address."
LIST = f"https://{PUBLIC}/l.csv"


@pytest.fixture
def net() -> respx.Router:
    """The network: an unexpected request fails the test."""
    return respx.Router(assert_all_called=False)


@pytest.fixture
async def fetch(net: respx.Router) -> AsyncIterator[HttpFetch]:
    """That of a server which allows no private networks."""
    fetch = HttpFetch(httpx.MockTransport(net.async_handler), may_dial=is_global, refusal=REFUSED)
    yield fetch
    await fetch.aclose()


async def get(fetch: HttpFetch, url: str, max_bytes: int = 10 * MEMORY_BYTES) -> bytes | str:
    """The list, read twice as some are, or why there is none."""
    async with fetch(url, max_bytes) as found:
        if isinstance(found, str):
            return found
        once, again = b"".join(found()), b"".join(found())
        assert once == again
        return once


@pytest.mark.parametrize("size", [0, 1, MEMORY_BYTES - 1, MEMORY_BYTES, 3 * MEMORY_BYTES + 7])
async def test_a_list_is_fetched_whole(fetch: HttpFetch, net: respx.Router, size: int) -> None:
    body = bytes(n % 251 for n in range(1_000)) * (size // 1_000 + 1)
    net.get(LIST).respond(200, content=body[:size])
    assert await get(fetch, LIST) == body[:size]


async def test_the_host_and_the_credentials_are_those_of_the_url(
    fetch: HttpFetch, net: respx.Router
) -> None:
    route = net.get(host=PUBLIC, path="/l.csv").respond(200, content=b"a@b.test")
    assert await get(fetch, f"https://ann:secret@{PUBLIC}:8443/l.csv?x=1") == b"a@b.test"
    request = route.calls.last.request
    assert request.headers["host"] == f"{PUBLIC}:8443"
    assert request.headers["authorization"] == "Basic YW5uOnNlY3JldA=="
    assert request.extensions["sni_hostname"] == PUBLIC
    assert request.headers["accept-encoding"] == "identity"


async def test_a_list_that_is_too_long_is_not_read_to_its_end(
    fetch: HttpFetch, net: respx.Router
) -> None:
    body = Endless()
    net.get(LIST).mock(return_value=httpx.Response(200, stream=body))
    assert await get(fetch, LIST, 100_000) == "The list is longer than 100,000 bytes."
    assert body.closed


async def test_a_compressed_list_is_refused(fetch: HttpFetch, net: respx.Router) -> None:
    """It might be a thousand times as long as what is counted."""
    headers = {"content-encoding": "gzip"}
    net.get(LIST).respond(200, content=gzip.compress(b"a@b.test"), headers=headers)
    assert await get(fetch, LIST) == "The list came compressed, which was not asked for."


@pytest.mark.parametrize("status", [204, 206, 400, 401, 404, 429, 500, 503])
async def test_only_200_has_a_list(fetch: HttpFetch, net: respx.Router, status: int) -> None:
    net.get(LIST).respond(status, content=b"a@b.test")
    assert await get(fetch, LIST) == f"The list could not be fetched: HTTP {status}."


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(fetch: HttpFetch, net: respx.Router, status: int) -> None:
    net.get(LIST).respond(status, headers={"location": f"http://{OTHER}/a"})
    net.get(f"http://{OTHER}/a").respond(status, headers={"location": "/b?x=1"})
    net.get(f"http://{OTHER}/b?x=1").respond(200, content=b"a@b.test")
    assert await get(fetch, LIST) == b"a@b.test"


async def test_credentials_do_not_follow_to_another_host(
    fetch: HttpFetch, net: respx.Router
) -> None:
    net.get(host=PUBLIC).respond(302, headers={"location": f"https://{OTHER}/a"})
    route = net.get(f"https://{OTHER}/a").respond(200, content=b"a@b.test")
    assert await get(fetch, f"https://ann:secret@{PUBLIC}/l.csv") == b"a@b.test"
    assert "authorization" not in route.calls.last.request.headers


async def test_redirects_have_an_end(fetch: HttpFetch, net: respx.Router) -> None:
    route = net.get(LIST).respond(302, headers={"location": LIST})
    wanted = f"The list's URL was redirected more than {MAX_REDIRECTS} times."
    assert await get(fetch, LIST) == wanted
    assert route.call_count == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1/l.csv", REFUSED),
        ("http://169.254.169.254/latest", REFUSED),
        ("http://[::1]/l.csv", REFUSED),
        ("http://2130706433/l.csv", REFUSED),
        ("ftp://93.184.215.14/l.csv", "The list's URL is not one of http or https."),
        ("file:///etc/passwd", "The list's URL is not one of http or https."),
    ],
)
async def test_a_redirect_leads_nowhere_that_the_url_may_not(
    fetch: HttpFetch, net: respx.Router, location: str, reason: str
) -> None:
    net.get(LIST).respond(302, headers={"location": location})
    assert await get(fetch, LIST) == reason
    assert await get(fetch, location) == reason


async def test_the_address_that_was_checked_is_dialled(
    fetch: HttpFetch, net: respx.Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once, since it may resolve differently the next time."""
    resolved = iter([["10.0.0.1", PUBLIC], ["10.0.0.1"]])

    def look_up(host: str, *_: object, **__: object) -> list[object]:
        addresses = next(resolved)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    route = net.get(LIST).respond(200, content=b"a@b.test")
    assert await get(fetch, "https://lists.test/l.csv") == b"a@b.test"
    assert route.calls.last.request.headers["host"] == "lists.test"
    assert await get(fetch, "https://lists.test/l.csv") == REFUSED


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.RemoteProtocolError],
)
async def test_a_failure_is_said_and_not_raised(
    fetch: HttpFetch, net: respx.Router, failure: type[httpx.TransportError]
) -> None:
    net.get(LIST).mock(side_effect=failure)
    reason = await get(fetch, LIST)
    assert isinstance(reason, str)
    assert reason.startswith(f"The list could not be fetched: {failure.__name__}")


@pytest.mark.parametrize(
    "url",
    [
        "http://sekrit:sekrit@{host}/?sekrit=sekrit#sekrit",
        "http://sekrit:sekrit/",
        "http://sek rit:sekrit@{host}/?sekrit",
        "http://{host}:sekrit/?sekrit",
        "http://sekrit@{host}:99999/?sekrit",
        "http://sekrit:sekrit@[sekrit]/?sekrit",
        "http://sekrit\x00:sekrit@{host}/\n?sekrit",
        "http://sekrit:sekrit@..sekrit../?sekrit",
        "http:///sekrit",
        "http://sekrit:sekrit@{host}/" + "sekrit" * 20_000,
    ],
)
async def test_what_is_said_of_a_failure_repeats_nothing_of_the_url(url: str) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("ConnectionRefusedError")

    async with contextlib.aclosing(
        HttpFetch(httpx.MockTransport(refuse), may_dial=lambda _: True, refusal="no")
    ) as fetch:
        reason = await get(fetch, url.format(host="127.0.0.1"))
    assert isinstance(reason, str)
    assert "sekrit" not in reason


async def test_a_list_is_fetched_from_a_server() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na@b.test\n"
    async with (
        serving(say(reply)) as server,
        contextlib.aclosing(
            HttpFetch(HttpTransport(keep_alive_s=0), may_dial=lambda _: True, refusal="no")
        ) as fetch,
    ):
        assert await get(fetch, f"http://localhost:{server.port}/l.csv") == b"a@b.test\n"
    assert f"host: localhost:{server.port}\r\n" in server.requests[0].decode().lower()


async def test_a_server_that_does_not_answer_times_out() -> None:
    async with (
        serving(nothing) as server,
        contextlib.aclosing(
            HttpFetch(
                HttpTransport(keep_alive_s=0), may_dial=lambda _: True, refusal="", timeout_s=0.05
            )
        ) as fetch,
    ):
        reason = await get(fetch, f"http://127.0.0.1:{server.port}/")
        assert reason == "The list could not be fetched: timed out."
        await server.gone.wait()
