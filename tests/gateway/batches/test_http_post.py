"""Webhooks as httpx sends them to public addresses, with a mocked network."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from importlib.metadata import version

import httpx
import pytest
import respx

from engine.dns.targets import is_global
from gateway.batches.http_post import HttpWebhookPost
from gateway.upstreams.transport.aiohttp_transport import HttpTransport
from tests.fakes.http_server import CERTIFICATE, OK, nothing, say, serving

PUBLIC, PUBLIC_V6 = "93.184.215.14", "2606:2800:21f:cb07::1"


@pytest.fixture
def net() -> respx.Router:
    """The network: an unexpected request fails the test."""
    return respx.Router(assert_all_called=False)


@pytest.fixture
async def post(net: respx.Router) -> AsyncIterator[HttpWebhookPost]:
    """That of a server which allows no private networks."""
    post = HttpWebhookPost(
        httpx.MockTransport(net.async_handler),
        may_dial=is_global,
        refusal="the receiver's address is private",
    )
    yield post
    await post.aclose()


class Endless(httpx.AsyncByteStream):
    """An endless body, which must not be read."""

    def __init__(self) -> None:
        self.read = self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.read = True
            yield b"x" * 65_536

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("url", "host", "sni"),
    [
        (f"http://{PUBLIC}/done?x=1", PUBLIC, PUBLIC),
        (f"https://{PUBLIC}/done?x=1", PUBLIC, PUBLIC),
        (f"https://{PUBLIC}:8443/done?x=1", f"{PUBLIC}:8443", PUBLIC),
        (f"https://[{PUBLIC_V6}]/done?x=1", f"[{PUBLIC_V6}]", PUBLIC_V6),
    ],
)
async def test_the_host_header_and_sni_are_those_of_the_url(
    post: HttpWebhookPost, net: respx.Router, url: str, host: str, sni: str
) -> None:
    route = net.post(url).respond(200)
    assert await post(url, b'{"id":1}') == ""
    request = route.calls.last.request
    assert request.content == b'{"id":1}'
    assert request.headers["host"] == host
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"veriplex/{version('veriplex')}"
    assert request.extensions["sni_hostname"] == sni


@pytest.mark.parametrize("status", [201, 204, 301, 307, 308, 400, 404, 429, 500, 503])
async def test_only_200_is_a_success_and_no_redirect_is_followed(
    post: HttpWebhookPost, net: respx.Router, status: int
) -> None:
    elsewhere = net.post("http://169.254.169.254/latest").respond(200)
    net.post(f"https://{PUBLIC}/done").respond(
        status, headers={"location": "http://169.254.169.254/latest"}
    )
    assert await post(f"https://{PUBLIC}/done", b"{}") == f"HTTP {status}"
    assert not elsewhere.called


@pytest.mark.parametrize("status", [200, 500])
async def test_the_body_of_the_reply_is_not_read(
    post: HttpWebhookPost, net: respx.Router, status: int
) -> None:
    body = Endless()
    net.post(f"https://{PUBLIC}/done").mock(
        return_value=httpx.Response(status, stream=body, headers={"content-length": "99999999999"})
    )
    await post(f"https://{PUBLIC}/done", b"{}")
    assert (body.read, body.closed) == (False, True)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
    ],
)
async def test_a_failure_is_returned_and_not_raised(
    post: HttpWebhookPost, net: respx.Router, failure: type[httpx.TransportError]
) -> None:
    net.post(f"https://{PUBLIC}/done").mock(side_effect=failure)
    assert (await post(f"https://{PUBLIC}/done", b"{}")).startswith(failure.__name__)


async def test_cookies_are_not_stored(post: HttpWebhookPost, net: respx.Router) -> None:
    """Receivers of different owners may share an address."""
    route = net.post(f"https://{PUBLIC}/done").respond(200, headers={"set-cookie": "a=b"})
    for _ in range(2):
        assert await post(f"https://{PUBLIC}/done", b"{}") == ""
    assert "cookie" not in route.calls.last.request.headers


@pytest.mark.parametrize(
    "url", [f"https://ann:secret@{PUBLIC}/done", f"https://ann:secret@{PUBLIC}:8443/done"]
)
async def test_credentials_in_the_url_go_into_the_authorization_header(
    post: HttpWebhookPost, net: respx.Router, url: str
) -> None:
    route = net.post(host=PUBLIC, path="/done").respond(200)
    assert await post(url, b"{}") == ""
    request = route.calls.last.request
    assert request.headers["authorization"] == "Basic YW5uOnNlY3JldA=="
    assert "ann" not in request.headers["host"]


@pytest.mark.parametrize(
    ("resolved", "dialled"),
    [
        (["10.0.0.1", PUBLIC], PUBLIC),
        ([PUBLIC_V6, "10.0.0.1"], f"[{PUBLIC_V6}]"),
        (["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1"], None),
    ],
)
async def test_the_address_that_was_checked_is_dialled(
    post: HttpWebhookPost,
    net: respx.Router,
    monkeypatch: pytest.MonkeyPatch,
    resolved: list[str],
    dialled: str | None,
) -> None:
    """The name is resolved once, since it may resolve differently the next time."""
    look_ups = []

    def look_up(host: str, *_: object, **__: object) -> list[object]:
        look_ups.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in resolved]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    route = net.post(f"http://{dialled}/done").respond(200) if dialled else None
    failure = await post("http://receiver.test/done", b"{}")
    assert look_ups == ["receiver.test"]
    if route is None:
        assert failure == "the receiver's address is private"
    else:
        assert failure == ""
        assert route.calls.last.request.headers["host"] == "receiver.test"


async def test_the_certificate_must_be_valid_for_the_receivers_name() -> None:
    """The address is dialled; SNI and verification use the name."""
    tls = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with serving(say(OK), CERTIFICATE) as server:
        post = HttpWebhookPost(
            HttpTransport(keep_alive_s=0, tls=lambda: tls),
            may_dial=lambda address: address == "127.0.0.1",
            refusal="refused",
        )
        assert await post(f"https://localhost:{server.port}/done", b"{}") == ""
        failure = await post(f"https://127.0.0.1:{server.port}/done", b"{}")
        await post.aclose()
    assert failure == "ConnectError: SSLCertVerificationError"
    assert f"host: localhost:{server.port}".encode() in server.requests[0]
    assert (len(server.requests), server.bodies) == (1, [b"{}"])


async def test_a_receiver_that_sends_headers_without_end_has_one_deadline() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    post = HttpWebhookPost(
        HttpTransport(keep_alive_s=0), may_dial=lambda _: True, refusal="", timeout_s=0.2
    )
    async with server, contextlib.aclosing(post):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with asyncio.timeout(5):
            assert await post(url, b"{}") == "timed out"
            await closed.wait()


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [("ann:secret@", "ann:secret"), ("ann:p%40ss%3A@", "ann:p@ss:"), ("ann@", "ann:"), ("", "")],
)
async def test_a_receiver_gets_the_credentials_of_its_url(userinfo: str, pair: str) -> None:
    async with serving(say(OK)) as server:
        post = HttpWebhookPost(
            HttpTransport(keep_alive_s=0), may_dial=lambda _: True, refusal="refused"
        )
        assert await post(f"http://{userinfo}localhost:{server.port}/done?x=1", b"{}") == ""
        await post.aclose()
    head = server.requests[0].decode().lower()
    assert head.startswith("post /done?x=1 http/1.1\r\n")
    assert f"host: localhost:{server.port}\r\n" in head
    sent = base64.b64encode(pair.encode()).decode().lower()
    assert (f"authorization: basic {sent}\r\n" in head) == bool(pair)


async def test_a_receiver_that_does_not_answer_times_out() -> None:
    async with serving(nothing) as server:
        post = HttpWebhookPost(
            HttpTransport(keep_alive_s=0), may_dial=lambda _: True, refusal="", timeout_s=0.05
        )
        assert await post(f"http://127.0.0.1:{server.port}/", b"{}") == "timed out"
        await server.gone.wait()
        await post.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "http://sekrit:sekrit@{host}/?sekrit=sekrit#sekrit",
        "http://sekrit:sekrit@{host}:0/sekrit?sekrit",
        "http://sekrit:sekrit",
        "http://sekrit:sekrit/",
        "http://sek rit:sekrit@{host}/?sekrit",
        "http://{host}:sekrit/?sekrit",
        "http://sekrit@{host}:99999/?sekrit",
        "http://sekrit:sekrit@[sekrit]/?sekrit",
        "http://sekrit:sekrit@[::1/?sekrit",
        "http://sekrit\x00:sekrit@{host}/\n?sekrit",
        "http://sekrit:sekrit@" + "a" * 64 + ".sekrit/?sekrit",
        "http://sekrit:sekrit@xn--sekrit-\u00ad.test/?sekrit",
        "http://sekrit:sekrit@..sekrit../?sekrit",
        "sekrit://sekrit:sekrit@{host}/?sekrit",
        "sekrit",
        "http://sekrit:sekrit@{host}/" + "sekrit" * 20_000,
    ],
)
async def test_what_is_said_of_a_failure_repeats_nothing_of_the_url(
    net: respx.Router, url: str
) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("ConnectionRefusedError")

    async with contextlib.aclosing(
        HttpWebhookPost(
            httpx.MockTransport(refuse), may_dial=lambda _: True, refusal="no", timeout_s=10
        )
    ) as post:
        reason = await post(url.format(host="127.0.0.1"), b"{}")
    assert reason
    assert "sekrit" not in reason


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "192.0.0.192",
        "168.63.129.16",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
    ],
)
async def test_a_receiver_that_may_serve_metadata_is_never_dialled(
    net: respx.Router, host: str
) -> None:
    async with contextlib.aclosing(
        HttpWebhookPost(
            httpx.MockTransport(net.async_handler), may_dial=lambda _: True, refusal="refused"
        )
    ) as post:
        assert await post(f"http://{host}/latest/meta-data", b"{}") == "refused"
    assert not net.calls
