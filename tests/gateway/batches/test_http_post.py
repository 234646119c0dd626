"""The webhook as httpx sends it to public addresses, which no receiver on loopback can be."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import respx

from gateway.batches.http_post import HttpWebhookPost

PUBLIC, PUBLIC_V6 = "93.184.215.14", "2606:2800:21f:cb07::1"


@pytest.fixture
async def post() -> AsyncIterator[HttpWebhookPost]:
    """As a server posts that allows no private networks."""
    post = HttpWebhookPost(allow_private_networks=False, user_agent="veriplex/test")
    yield post
    await post.aclose()


@pytest.fixture
def net() -> Iterator[respx.MockRouter]:
    """The network: what is not expected fails the test."""
    with respx.mock(assert_all_called=False) as net:
        yield net


class Endless(httpx.AsyncByteStream):
    """A body that nobody should read."""

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
async def test_the_receiver_is_named_as_it_was_given(
    post: HttpWebhookPost, net: respx.MockRouter, url: str, host: str, sni: str
) -> None:
    taken = net.post(url).respond(200)
    assert await post(url, b'{"id":1}') == ""
    request = taken.calls.last.request
    assert request.content == b'{"id":1}'
    assert request.headers["host"] == host
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "veriplex/test"
    assert request.extensions["sni_hostname"] == sni


@pytest.mark.parametrize("status", [201, 204, 301, 307, 308, 400, 404, 429, 500, 503])
async def test_nothing_but_200_counts_and_no_redirect_is_followed(
    post: HttpWebhookPost, net: respx.MockRouter, status: int
) -> None:
    elsewhere = net.post("http://169.254.169.254/latest").respond(200)
    net.post(f"https://{PUBLIC}/done").respond(
        status, headers={"location": "http://169.254.169.254/latest"}
    )
    assert await post(f"https://{PUBLIC}/done", b"{}") == f"HTTP {status}"
    assert not elsewhere.called


@pytest.mark.parametrize("status", [200, 500])
async def test_what_the_receiver_says_is_not_read(
    post: HttpWebhookPost, net: respx.MockRouter, status: int
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
async def test_a_failure_is_a_word_and_no_exception(
    post: HttpWebhookPost, net: respx.MockRouter, failure: type[httpx.TransportError]
) -> None:
    net.post(f"https://{PUBLIC}/done").mock(side_effect=failure)
    assert (await post(f"https://{PUBLIC}/done", b"{}")).startswith(failure.__name__)


async def test_cookies_are_not_kept(post: HttpWebhookPost, net: respx.MockRouter) -> None:
    """Receivers of different owners may share an address."""
    taken = net.post(f"https://{PUBLIC}/done").respond(200, headers={"set-cookie": "a=b"})
    for _ in range(2):
        assert await post(f"https://{PUBLIC}/done", b"{}") == ""
    assert "cookie" not in taken.calls.last.request.headers


@pytest.mark.parametrize(
    "url", [f"https://ann:secret@{PUBLIC}/done", f"https://ann:secret@{PUBLIC}:8443/done"]
)
async def test_a_name_and_a_password_in_the_url_go_into_their_header(
    post: HttpWebhookPost, net: respx.MockRouter, url: str
) -> None:
    taken = net.post(host=PUBLIC, path="/done").respond(200)
    assert await post(url, b"{}") == ""
    request = taken.calls.last.request
    assert request.headers["authorization"] == "Basic YW5uOnNlY3JldA=="
    assert "ann" not in request.headers["host"]
