"""The settings of the server: where it listens, who may use it, what it tells."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from gateway.settings.section import Section, setting
from gateway.settings.values import HostName, Network, OptionalSecretRef, PublicUrl, SecretRef


class ServerSettings(Section):
    """The address that the server listens on."""

    host: str = setting("127.0.0.1", "Address or host name to listen on.", min_length=1)
    port: int = setting(8025, "Port to listen on; 0 picks a free one.", ge=0, le=65535)
    public_url: PublicUrl = setting(
        "",
        "URL by which clients reach the server, for links in replies; empty takes what a proxy in"
        " `forwarded_allow_ips` says, else host and port.",
    )
    ssl_certfile: str = setting(
        "", "PEM file with the TLS certificate chain; empty serves plain HTTP."
    )
    ssl_keyfile: str = setting("", "PEM file with the key of that certificate.")
    neutralise_formulas: bool = setting(
        False,
        "Whether cells of the vendors' CSV files that a spreadsheet would run as a formula get an"
        " apostrophe before them; without it the files are as the vendors write them.",
    )
    forwarded_allow_ips: tuple[Network, ...] = setting(
        (), "Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; `*` is any."
    )
    drain_s: float = setting(
        0.0,
        "Time after SIGTERM in which `/readyz` answers 503 and everything else is still answered,"
        " so that load balancers stop sending requests before the server stops.",
        "s",
        ge=0,
        le=3600,
    )
    allowed_hosts: tuple[HostName, ...] = setting(
        (),
        "Hosts by which clients may call the sandbox's control API, such as a container's name,"
        " beside the loopback ones and that of `public_url`; `*` is any.",
    )

    @property
    def links_by_proxy(self) -> bool:
        """Whether links in replies begin as the trusted proxy says that it was called."""
        return bool(self.forwarded_allow_ips) and not self.public_url

    def url(self, port: int | None = None) -> str:
        """The base URL for clients. `port` is the bound port, if `self.port` is 0."""
        if self.public_url:
            return self.public_url
        scheme = "https" if self.ssl_certfile else "http"
        # A wildcard is an address to listen on, not one to connect to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        bracketed = f"[{host}]" if ":" in host else host
        return f"{scheme}://{bracketed}:{self.port if port is None else port}"


class KeySettings(Section):
    """A key of your own, such as the vendor's key that a client has already."""

    dialect: str = setting(..., "Dialect of the key.", min_length=1)
    key: SecretRef = setting(
        ...,
        "Reference to the key, `env:NAME` or `file:PATH`; never the key itself. Only its hash is"
        " stored.",
    )
    label: str = setting("", "What it is for; shown in lists and logs.", max_length=200)
    test: bool = setting(False, "Whether it is a test key: never charged, answered by the sandbox.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """`emailable=env:NAME` in `VERIPLEX_KEYS` is short for a dialect and its key."""
        if not isinstance(value, str):
            return value
        dialect, _, key = value.partition("=")
        return {"dialect": dialect.strip(), "key": key.strip()}


class LimitsSettings(Section):
    """The limits of accounts."""

    plan: str = setting(
        "unlimited",
        "Plan of new accounts, the first one included: `unlimited`, or a plan of a dialect, such as"
        " `emailable` or `free`.",
        min_length=1,
    )


class SandboxSettings(Section):
    """The answers to test keys."""

    seed: str = setting(
        "veriplex",
        "Samples are a function of the seed, the dialect and the address; `random` draws new ones"
        " for each request.",
        min_length=1,
    )
    published: bool = setting(
        False,
        "Whether `veriplex serve` accepts the published test keys, which anybody may use; `veriplex"
        " sandbox` always does.",
    )
    live_control: bool = setting(
        False,
        "Whether live keys, too, may use the sandbox's control API: faults and a clock for their"
        " own requests, forwarded ones included.",
    )


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Lowest level that is written."
    )
    format: Literal["text", "json"] = setting("text", "Lines for people or JSON for programs.")


class MetricsSettings(Section):
    """Who may read `/metrics`."""

    enabled: bool = setting(True, "Whether the server has `/metrics` at all.")
    token: OptionalSecretRef = setting(
        "",
        "`env:NAME` or `file:PATH` of a token: `/metrics` then wants `Authorization: Bearer TOKEN`."
        " Empty lets everybody read it who can reach the server.",
    )


class ConsoleSettings(Section):
    """The console, `/console`: pages of the server for people."""

    enabled: bool = setting(True, "Whether the server has `/console` at all.")
    password: OptionalSecretRef = setting(
        "",
        "`env:NAME` or `file:PATH` of the password of operators, who see and change everything."
        " Empty prints a link at start, with which one browser can log in once;"
        " `veriplex console` prints another.",
    )
    viewer_password: OptionalSecretRef = setting(
        "",
        "`env:NAME` or `file:PATH` of the password of viewers, who see everything and change"
        " nothing; empty admits none.",
    )
