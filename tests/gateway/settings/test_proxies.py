"""The proxies that the environment names for URLs."""

import pytest

from gateway.settings.proxies import ProxyVariableError, environment_proxies, proxy_url

P1, P2, P3 = "http://p.test:1", "http://p.test:2", "http://p.test:3"


@pytest.mark.parametrize(
    ("variables", "scheme", "host", "expected"),
    [
        ({}, "https", "a.test", ""),
        ({"HTTPS_PROXY": P1}, "https", "a.test", P1),
        ({"https_proxy": P1, "HTTPS_PROXY": P2}, "https", "a.test", P1),
        ({"HTTPS_PROXY": "p.test:1"}, "https", "a.test", P1),
        ({"HTTPS_PROXY": "socks5://u:p@p.test"}, "https", "a.test", "socks5://u:p@p.test"),
        ({"HTTPS_PROXY": P1}, "http", "a.test", ""),
        ({"HTTP_PROXY": P2}, "http", "a.test", P2),
        ({"HTTP_PROXY": P2}, "https", "a.test", ""),
        ({"ALL_PROXY": P3}, "http", "a.test", P3),
        ({"ALL_PROXY": P3, "HTTP_PROXY": P2}, "http", "a.test", P2),
        ({"ALL_PROXY": P3, "HTTP_PROXY": P2}, "https", "a.test", P3),
        ({"HTTPS_PROXY": P1, "NO_PROXY": "a.test"}, "https", "a.test", ""),
        ({"HTTPS_PROXY": P1, "NO_PROXY": "a.test"}, "https", "x.a.test", ""),
        ({"HTTPS_PROXY": P1, "NO_PROXY": ".a.test"}, "https", "x.a.test", ""),
        ({"HTTPS_PROXY": P1, "NO_PROXY": "a.test"}, "https", "ba.test", P1),
        ({"HTTPS_PROXY": P1, "no_proxy": "*"}, "https", "a.test", ""),
        ({"HTTP_PROXY": P1, "NO_PROXY": "b.test, 127.0.0.1"}, "http", "127.0.0.1", ""),
        ({"ALL_PROXY": P1, "NO_PROXY": "a.test"}, "http", "a.test", ""),
    ],
)
def test_proxies_of_the_environment(
    variables: dict[str, str], scheme: str, host: str, expected: str
) -> None:
    assert environment_proxies(variables).for_url(scheme, host) == expected


NO_PROXIES = [
    "ftp://p.test",
    "socks4://p.test",
    "http://",
    "http://p.test/path",
    "http://p.test:x",
    "http://p.test:0",
    "http://a b",
    "http://p.test?x",
]


@pytest.mark.parametrize("value", NO_PROXIES)
def test_invalid_proxies_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="should be a proxy's URL"):
        proxy_url(value)
    with pytest.raises(ProxyVariableError, match="HTTPS_PROXY: should be"):
        environment_proxies({"HTTPS_PROXY": value})


def test_a_password_is_not_shown() -> None:
    proxies = environment_proxies({"HTTPS_PROXY": "http://u:sekrit@p.test"})
    assert "sekrit" not in repr(proxies)
