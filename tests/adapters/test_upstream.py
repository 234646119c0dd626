"""The URL of a request to an upstream."""

from collections.abc import Mapping

import pytest

from adapters.contract.upstream import UpstreamRequest, link_url, request_url

OTHER_HOSTS: Mapping[str, Mapping[str, str]] = {
    "api.vendor.example": {
        "/v2/sendfile": "bulk.vendor.example",
        "/v2/scoring/": "bulk.vendor.example",
        "/account/": "account.vendor.example",
    }
}

URLS: list[tuple[str, str, str, str]] = [
    # base URL, base path, the vendor's path, the URL
    ("https://api.vendor.example/v2", "/v2", "/v2/verify", "https://api.vendor.example/v2/verify"),
    # another host below the same base path
    (
        "https://api.vendor.example/v2",
        "/v2",
        "/v2/sendfile",
        "https://bulk.vendor.example/v2/sendfile",
    ),
    (
        "https://api.vendor.example/v2",
        "/v2",
        "/v2/scoring/sendfile",
        "https://bulk.vendor.example/v2/scoring/sendfile",
    ),
    # another host beside it
    (
        "https://api.vendor.example/v2",
        "/v2",
        "/account/balance",
        "https://account.vendor.example/account/balance",
    ),
    # a path beside the base path, on the same host
    ("https://api.vendor.example/v2", "/v2", "/v1/open", "https://api.vendor.example/v1/open"),
    ("https://api.vendor.example/v2", "/v2", "/v20/x", "https://api.vendor.example/v20/x"),
    # another server with the vendor's API serves all of its paths
    (
        "http://127.0.0.1:8025/vendor/v2",
        "/v2",
        "/v2/verify",
        "http://127.0.0.1:8025/vendor/v2/verify",
    ),
    (
        "http://127.0.0.1:8025/vendor/v2",
        "/v2",
        "/v2/sendfile",
        "http://127.0.0.1:8025/vendor/v2/sendfile",
    ),
    (
        "http://127.0.0.1:8025/vendor/v2",
        "/v2",
        "/account/balance",
        "http://127.0.0.1:8025/vendor/account/balance",
    ),
    # a vendor without a base path
    ("http://127.0.0.1:8080", "", "/v0/check_email", "http://127.0.0.1:8080/v0/check_email"),
]


@pytest.mark.parametrize(("base_url", "base_path", "path", "url"), URLS)
def test_a_request_goes_to_the_host_that_serves_its_path(
    base_url: str, base_path: str, path: str, url: str
) -> None:
    request = UpstreamRequest("GET", path)
    assert request_url(request, base_url, base_path, OTHER_HOSTS) == url


def test_a_query_is_encoded() -> None:
    request = UpstreamRequest("GET", "/v1/verify", query={"email": "a+b@example.com", "key": "k&k"})
    url = request_url(request, "https://api.vendor.example/v1", "/v1", {})
    assert url == "https://api.vendor.example/v1/verify?email=a%2Bb%40example.com&key=k%26k"


@pytest.mark.parametrize(
    ("link", "base_url"),
    [
        ("https://files.storage.example/l.csv?token=1", "https://api.vendor.example/v2"),
        ("http://127.0.0.1:8025/vendor/v2/download/1", "http://127.0.0.1:8025/vendor/v2"),
        ("https://api.vendor.example/v2/x", "https://api.vendor.example/v2"),
    ],
)
def test_a_link_of_a_reply_is_followed_as_it_is(link: str, base_url: str) -> None:
    request = UpstreamRequest("GET", "", link=link)
    assert request_url(request, base_url, "/v2", OTHER_HOSTS) == link


@pytest.mark.parametrize(
    "link",
    [
        "http://files.storage.example/l.csv",
        "https://127.0.0.1/latest",
        "https://[::1]/latest",
        "https://[fe80::1%25eth0]/latest",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0x7f.0.0.0x1/",
        "https://10.0.0.1./",
        "https://localhost/",
        "https://name:word@files.storage.example/",
        "http://127.0.0.1:8026/vendor/v2",
        "file:///etc/passwd",
        "//files.storage.example/",
        "https://[broken/",
        "l.csv",
        "",
    ],
)
def test_a_link_into_a_network_of_ours_is_not_followed(link: str) -> None:
    with pytest.raises(ValueError, match=r"link|IPv6|URL"):
        link_url(link, "http://127.0.0.1:8025/vendor/v2")
