"""The kinds of values that settings have, each with its check."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core.core_schema import ValidationInfo

from gateway.settings.proxies import proxy_url, socks_url


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret given by reference; printing it shows only the reference."""

    reference: str
    """`env:NAME` or `file:PATH`."""
    value: str = field(repr=False)
    """The secret; empty if the settings were loaded without secrets."""


def _parse_secret(reference: object, info: ValidationInfo) -> Secret:
    if isinstance(reference, Secret):
        return reference
    text = reference if isinstance(reference, str) else ""
    environ: Mapping[str, str] | None = (info.context or {}).get("environ")
    return Secret(text, resolve_reference(text, environ))


def resolve_reference(reference: str, environ: Mapping[str, str] | None) -> str:
    """The secret to which `env:NAME` or `file:PATH` leads; empty without an environment.

    Raises ValueError.
    """
    kind, _, name = reference.partition(":")
    if kind not in ("env", "file") or not name:
        # The value may be the secret itself, so it is not repeated here.
        raise ValueError("should be a reference, env:NAME or file:PATH, not the secret itself")
    if environ is None:
        return ""
    if kind == "file":
        return read_secret_file(name)
    value = environ.get(name, "")
    if not value:
        raise ValueError(f"environment variable {name} is not set")
    return value


def _parse_optional_secret(reference: object, info: ValidationInfo) -> Secret:
    return Secret("", "") if reference == "" else _parse_secret(reference, info)


def _as_list(given: object) -> list[object]:
    if isinstance(given, list | tuple):
        return list(given)
    return [] if given == "" else [given]


def _parse_secrets(given: object, info: ValidationInfo) -> tuple[Secret, ...]:
    return tuple(_parse_secret(each, info) for each in _as_list(given))


def _parse_public_keys(given: object, info: ValidationInfo) -> tuple[Secret, ...]:
    keys = tuple(
        Secret(each, each)
        if isinstance(each, str) and each and not each.startswith(("env:", "file:"))
        else _parse_secret(each, info)
        for each in _as_list(given)
    )
    for key in keys:
        # read by what checks signatures, which may not be installed; here typos are found
        bare = "".join(line for line in key.value.splitlines() if "-----" not in line)
        try:
            is_key = len(base64.b64decode("".join(bare.split()), validate=True)) >= MIN_DER_BYTES
        except ValueError:
            is_key = False
        if key.value and not is_key:
            raise ValueError("should be a public key in base64, or env:NAME or file:PATH of one")
    return keys


def _check_topic(value: str) -> str:
    if not re.fullmatch(
        r"arn:aws[a-z-]{0,20}:sns:[a-z0-9-]{1,40}:\d{12}:[A-Za-z0-9_-]{1,256}", value
    ):
        raise ValueError("should be a topic such as arn:aws:sns:us-east-1:123456789012:events")
    return value


def read_secret_file(path: str) -> str:
    """The content of a file, without surrounding whitespace. Raises ValueError if it is empty."""
    try:
        value = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"cannot read {path}: {os_error_reason(exc)}") from exc
    if not value:
        raise ValueError(f"{path} is empty")
    return value


MIN_DER_BYTES = 40
"""Of a public key in DER; the shortest that is in use, Ed25519, has 44."""
MIN_OWN_KEY_CHARACTERS = 8
MAX_OWN_KEY_CHARACTERS = 256


def key_fault(key: str) -> str:
    """Why a client's own key cannot be taken; empty if it can. Keys are hashed without a salt, so
    a short one could be guessed from its hash."""
    if not MIN_OWN_KEY_CHARACTERS <= len(key) <= MAX_OWN_KEY_CHARACTERS:
        between = f"{MIN_OWN_KEY_CHARACTERS} to {MAX_OWN_KEY_CHARACTERS}"
        return f"a key should have {between} characters"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "a key should be printable ASCII without spaces"
    return ""


def _check_http_url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if (
        not port_ok
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or any(c.isspace() for c in value)
    ):
        raise ValueError("should be a URL such as https://host:8025, without query")
    return value.rstrip("/")


def _check_public_url(value: str) -> str:
    if urlsplit(value).username is not None:
        raise ValueError("should have no name and no password, since replies and pages show it")
    return value


def _parse_proxy(value: object, info: ValidationInfo) -> object:
    """A proxy's URL, or a reference to a secret that is one."""
    if not isinstance(value, str) or not value:
        return value
    if value.startswith(("env:", "file:")):
        value = _parse_secret(value, info).value
    return proxy_url(value) if value else value


def _parse_socks_proxy(value: object, info: ValidationInfo) -> object:
    """A SOCKS5 proxy's URL, or a reference to a secret that is one.

    Without secrets a reference stays as it is, since none would be taken for no proxy.
    """
    if not isinstance(value, str) or not value:
        return value
    if value.startswith(("env:", "file:")):
        environ = (info.context or {}).get("probe_environ")
        if environ is None:
            return value
        value = resolve_reference(value, environ)
    return socks_url(value)


def _check_ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value)) if value else value
    except ValueError:
        raise ValueError("should be an IP address") from None


def _check_optional_helo(value: str) -> str:
    return _check_helo(value) if value else value


def _check_storage_url(value: str) -> str:
    if not re.fullmatch(r"sqlite:///.+|postgresql://.+", value):
        raise ValueError(
            "should be sqlite:///PATH, postgresql://USER@HOST/DATABASE, or sqlite:///:memory: to"
            " store nothing"
        )
    if "\0" in unquote(value):
        raise ValueError("should be the path of a file, which has no NUL in it")
    if re.match("postgresql://[^@/:]*:[^@/]*@", value):
        raise ValueError("should have no password; storage.password says where that is")
    return value


def _check_shared_url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        is_url = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, is_url = urlsplit(""), False
    if parts.password:
        raise ValueError("should have no password; shared.password says where that is")
    if (
        not is_url
        or parts.scheme not in SHARED_SCHEMES
        or not re.fullmatch(r"/?\d{0,5}", parts.path)
        or parts.query
        or parts.fragment
        or any(c.isspace() for c in value)
    ):
        raise ValueError("should be valkey://HOST:PORT, redis://HOST:PORT or rediss://HOST:PORT")
    return value


def _check_direct_url(value: str) -> str:
    if value and not value.startswith("postgresql://"):
        raise ValueError("should be postgresql://USER@HOST/DATABASE")
    return _check_storage_url(value) if value else value


def _check_dns_server(value: str) -> str:
    """`IP`, `IP:PORT` or `[IPv6]:PORT`, normalised to `IP:PORT` or `[IPv6]:PORT`."""
    match = re.fullmatch(
        r"\[(?P<v6>[^\]]+)\](?::(?P<p6>\d+))?|(?P<v4>[^:]+)(?::(?P<p4>\d+))?", value
    )
    host, port = value, 53
    if match:
        host = match["v6"] or match["v4"]
        port = int(match["p6"] or match["p4"] or 53)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError("should be IP:PORT, such as 127.0.0.53:53 or [::1]:53") from None
    if not 1 <= port <= 65535:
        raise ValueError("the port should be between 1 and 65535")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _check_helo(value: str) -> str:
    # RFC 5321 section 4.1.1.1: a domain or an address literal.
    if not re.fullmatch(r"[A-Za-z0-9.\-]{1,255}|\[[0-9A-Fa-f:.]+\]|\[IPv6:[0-9A-Fa-f:.]+\]", value):
        raise ValueError("should be a host name such as probe.example.com")
    return value


def _check_mail_from(value: str) -> str:
    if value and not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", value):
        raise ValueError("should be an address, or empty for the null sender <>")
    return value


def _check_host(value: str) -> str:
    if value == "*":
        return value
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        pass
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,253}", value):
        raise ValueError('should be a host name or an IP address, without a port, or "*"')
    return value.lower().removesuffix(".")


def _check_network(value: str) -> str:
    if value != "*":
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(
                'should be an IP address, a network such as 10.0.0.0/8, or "*"'
            ) from None
    return value


SHARED_SCHEMES = ("valkey", "valkeys", "redis", "rediss")
"""Of a Valkey or Redis server; the longer ones of each pair with TLS."""

HttpUrl = Annotated[str, AfterValidator(_check_http_url), Field(repr=False)]
PublicUrl = Annotated[HttpUrl, AfterValidator(_check_public_url)]
ProxyUrl = Annotated[str, BeforeValidator(_parse_proxy), Field(repr=False)]
SocksUrl = Annotated[str, BeforeValidator(_parse_socks_proxy), Field(repr=False)]
OptionalIp = Annotated[str, AfterValidator(_check_ip)]
"""Empty, or an IP address."""
Operator = Annotated[str, AfterValidator(str.lower), Field(min_length=1, max_length=255)]
"""A provider of mail hosts, or the registrable domain of the hosts."""
OptionalHeloName = Annotated[str, AfterValidator(_check_optional_helo)]
SecretRef = Annotated[Secret, BeforeValidator(_parse_secret)]
OptionalSecretRef = Annotated[
    Secret, BeforeValidator(_parse_optional_secret), Field(validate_default=True)
]
"""Empty, or a reference to a secret."""
SecretRefs = Annotated[
    tuple[Secret, ...], BeforeValidator(_parse_secrets), Field(validate_default=True)
]
"""One reference to a secret, or a list of them; empty is none."""
KeyRefs = Annotated[
    tuple[Secret, ...], BeforeValidator(_parse_public_keys), Field(validate_default=True)
]
"""Likewise, of keys that are no secrets and may stand there themselves."""
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Money = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""In one currency, which the operator chooses; exact to a millionth."""
TtlSeconds = Annotated[int, Field(ge=0, le=366 * 86_400)]
StorageUrl = Annotated[str, AfterValidator(_check_storage_url)]
SharedUrl = Annotated[str, AfterValidator(_check_shared_url)]
DirectUrl = Annotated[str, AfterValidator(_check_direct_url)]
DnsServerAddress = Annotated[str, AfterValidator(_check_dns_server)]
HeloName = Annotated[str, AfterValidator(_check_helo)]
SenderAddress = Annotated[str, AfterValidator(_check_mail_from)]
HostName = Annotated[str, AfterValidator(_check_host)]
TopicArn = Annotated[str, AfterValidator(_check_topic)]
Network = Annotated[str, AfterValidator(_check_network)]


def os_error_reason(exc: OSError | UnicodeDecodeError) -> str:
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else "not UTF-8 text"
