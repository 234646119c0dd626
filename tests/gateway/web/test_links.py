"""With which URL the links in replies begin."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.registry import DIALECTS
from gateway.web.routing import VendorPath
from gateway.web.vendors import url_by_proxy

EMAILABLE = VendorPath(next(d for d in DIALECTS if d.name == "emailable"), "/v1/batch")


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("verify.example.com", 0, "https://verify.example.com"),
        ("verify.example.com:8443", 0, "https://verify.example.com:8443"),
        ("[2001:db8::1]:8443", 0, "https://[2001:db8::1]:8443"),
        ("verify.example.com", 51234, ""),  # not from a trusted proxy
        ("api.emailable.com", 0, ""),  # has no path /emailable
        ("API.emailable.com:443", 0, ""),
        ("evil.example/path?", 0, ""),
        ('x"><b>', 0, ""),
        ("", 0, ""),
    ],
)
def test_the_url_by_which_a_proxy_was_called(host: str, port: int, url: str) -> None:
    headers = [(b"accept", b"*/*"), (b"host", host.encode())]
    scope: dict[str, Any] = {
        "scheme": "https",
        "headers": headers,
        "client": ("192.0.2.7", port),
    }
    assert url_by_proxy(scope, EMAILABLE) == url
    assert url_by_proxy({**scope, "client": None}, EMAILABLE) == ""
