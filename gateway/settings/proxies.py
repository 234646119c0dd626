"""Proxies for outgoing HTTP: which URLs they may have, and those that the environment names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # no stub

SCHEMES = ("http", "https", "socks5", "socks5h")
"""`socks5` and `socks5h` are the same here: the proxy resolves names."""


class ProxyVariableError(ValueError):
    """A variable of the environment does not name a proxy."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}")
        self.variable = variable
        self.reason = reason


def proxy_url(value: str) -> str:
    """A proxy's URL, perhaps with a name and a password. Raises ValueError."""
    try:
        parts = urlsplit(value)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if (
        not port_ok
        or parts.scheme not in SCHEMES
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or any(c.isspace() for c in value)
    ):
        raise ValueError("should be a proxy's URL, such as http://host:3128 or socks5://host:1080")
    return value.rstrip("/")


MAX_SOCKS_CREDENTIAL = 255
"""Characters of a user name or password (RFC 1929 section 2)."""


def socks_url(value: str) -> str:
    """The URL of a SOCKS5 proxy for mail hosts. Raises ValueError, without the value."""
    value = proxy_url(value)
    if value.startswith("socks5h:"):
        raise ValueError("should be socks5://: names are resolved here, never by the proxy")
    parts = urlsplit(value)
    if parts.scheme != "socks5":
        raise ValueError("should be a SOCKS5 proxy, socks5://host:1080")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("should have both a user name and a password, or neither")
    for text in (user, password):
        if not text.isascii() or len(text) > MAX_SOCKS_CREDENTIAL:
            raise ValueError(
                f"user name and password should be ASCII, of at most {MAX_SOCKS_CREDENTIAL}"
                " characters"
            )
    return value


@dataclass(frozen=True, slots=True)
class EnvironmentProxies:
    """`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`."""

    by_scheme: Mapping[str, str] = field(repr=False)
    """For `https`, `http` and, where there is none of these, `all`."""
    excluded: str
    """Hosts without a proxy, with commas between; each with all below it. `*` is every host."""

    def for_url(self, scheme: str, host: str) -> str:
        """The URL of the proxy for a request; empty if it has none."""
        proxy = self.by_scheme.get(scheme) or self.by_scheme.get("all", "")
        if proxy and proxy_bypass_environment(host, {"no": self.excluded}):
            return ""
        return proxy


def environment_proxies(environ: Mapping[str, str]) -> EnvironmentProxies:
    """What curl and others read, too; a name in lower case wins. Raises ProxyVariableError."""
    by_scheme = {}
    for scheme in ("https", "http", "all"):
        for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            if value := environ.get(variable, "").strip():
                try:
                    by_scheme[scheme] = proxy_url(value if "://" in value else f"http://{value}")
                except ValueError as exc:
                    raise ProxyVariableError(variable, str(exc)) from exc
                break
    return EnvironmentProxies(by_scheme, environ.get("no_proxy") or environ.get("NO_PROXY", ""))
