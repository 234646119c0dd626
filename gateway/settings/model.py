"""The settings, with their defaults, bounds and meanings.

A section is a class, and a setting is a field of it. The tables of `docs/settings.md` and the file
that `veriplex init` writes are made from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field as DataclassField
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_type_hints
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from adapters.contract.dialect import Dialect
from adapters.contract.options import DialectOptions
from adapters.registry import DIALECTS
from engine.model import Verdict
from engine.smtp.terms import EgressStrategy
from gateway.errors import LOCAL_SOURCE
from gateway.settings.values import (
    DirectUrl,
    DnsServerAddress,
    HeloName,
    HostName,
    HttpUrl,
    KeyRefs,
    Money,
    Network,
    Operator,
    OptionalHeloName,
    OptionalIp,
    OptionalSecretRef,
    ProxyUrl,
    Seconds,
    SecretRef,
    SecretRefs,
    SenderAddress,
    SharedUrl,
    SocksUrl,
    StorageUrl,
    TopicArn,
    TtlSeconds,
)

SettingPath = tuple[str | int, ...]
"""The keys that lead to a setting, such as `("upstreams", 0, "name")`."""

RESERVED_SOURCES = frozenset({LOCAL_SOURCE, "cache", "sandbox"})
"""Names with a meaning of their own in X-Veriplex-Source, which no upstream may have."""


def _setting(default: Any, meaning: str, unit: str = "", **bounds: Any) -> Any:
    """A field with its text in `docs/settings.md`."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)


# -- the settings ------------------------------------------------------------------------


class Section(BaseModel):
    """A table of settings. It is frozen, and refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class ServerSettings(Section):
    """The address that the server listens on."""

    host: str = _setting("127.0.0.1", "Address or host name to listen on.", min_length=1)
    port: int = _setting(8025, "Port to listen on; 0 picks a free one.", ge=0, le=65535)
    public_url: HttpUrl = _setting(
        "",
        "URL by which clients reach the server, for links in replies; empty takes what a proxy in"
        " `forwarded_allow_ips` says, else host and port.",
    )
    ssl_certfile: str = _setting(
        "", "PEM file with the TLS certificate chain; empty serves plain HTTP."
    )
    ssl_keyfile: str = _setting("", "PEM file with the key of that certificate.")
    neutralise_formulas: bool = _setting(
        False,
        "Whether cells of the vendors' CSV files that a spreadsheet would run as a formula get an"
        " apostrophe before them; without it the files are as the vendors write them.",
    )
    forwarded_allow_ips: tuple[Network, ...] = _setting(
        (), "Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; `*` is any."
    )
    drain_s: float = _setting(
        0.0,
        "Time after SIGTERM in which `/readyz` answers 503 and everything else is still answered,"
        " so that load balancers stop sending requests before the server stops.",
        "s",
        ge=0,
        le=3600,
    )
    allowed_hosts: tuple[HostName, ...] = _setting(
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


class MigrateRule(StrEnum):
    """Which PostgreSQL databases get new tables when a process starts."""

    EMPTY = "empty"
    ALWAYS = "always"
    NEVER = "never"


class StorageSettings(Section):
    """The database of accounts, batches and cached results."""

    url: StorageUrl = _setting(
        "sqlite:///veriplex.db",
        "`sqlite:///PATH` (relative to the working directory), `sqlite:////ABSOLUTE/PATH`,"
        " `sqlite:///:memory:`, or `postgresql://USER@HOST/DATABASE` (which needs the extra"
        " `cluster`).",
    )
    password: OptionalSecretRef = _setting(
        "", "`env:NAME` or `file:PATH` of the password of a PostgreSQL user."
    )
    direct_url: DirectUrl = _setting(
        "",
        "URL of the same PostgreSQL database past a pooler such as PgBouncer, for what needs a"
        " session: notices of new work. Empty is `url`.",
    )
    pool: int = _setting(
        5, "Connections of one process to PostgreSQL; workers need 7 more.", ge=1, le=1000
    )
    migrate: MigrateRule = _setting(
        MigrateRule.EMPTY,
        "Which PostgreSQL database gets new tables at a start: an `empty` one, `always`, or"
        " `never`. The others wait for `veriplex migrate`. A SQLite file always does.",
    )

    @property
    def full_url(self) -> str:
        """The URL with the password, which must not be shown."""
        return self._with_password(self.url)

    @property
    def full_direct_url(self) -> str:
        """`direct_url`, or its meaning if it is empty, with the password."""
        return self._with_password(self.direct_url or self.url)

    def _with_password(self, url: str) -> str:
        if not self.password.value:
            return url
        scheme, rest = url.split("://", 1)
        user, rest = rest.split("@", 1)
        return f"{scheme}://{user}:{quote(self.password.value, safe='')}@{rest}"

    @property
    def can_be_shared(self) -> bool:
        """Whether several processes can open it: not if it is in memory."""
        return self.url not in ("sqlite://", "sqlite:///", "sqlite:///:memory:")

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        urls = [url for url in (self.url, self.direct_url) if url]
        if self.password.reference and not all(re.match("postgresql://[^@/]+@", u) for u in urls):
            raise ValueError("password: needs a url like postgresql://USER@HOST/DATABASE")
        return self


class SharedSettings(Section):
    """The Valkey or Redis server through which several processes share what is short-lived."""

    url: SharedUrl = _setting(
        "",
        "`valkey://HOST:PORT`, `redis://HOST:PORT`, or with TLS `rediss://HOST:PORT`; with `/N` at"
        " the end its database N, and with `USER@` before the host that user (needs the extra"
        " `cluster`). Empty: each process takes its part of every limit.",
    )
    password: OptionalSecretRef = _setting("", "`env:NAME` or `file:PATH` of its password.")
    timeout_ms: int = _setting(
        50,
        "Time limit for one call. A server that is slower is done without for some seconds.",
        "ms",
        ge=1,
        le=10_000,
    )
    prefix: str = _setting(
        "veriplex",
        "Begins the name of every key there, so that several services can share a server.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if self.password.reference and not self.url:
            raise ValueError("password: needs a url like valkey://HOST")
        return self


class EngineSettings(Section):
    """The local probe: how it queries DNS and mail servers."""

    helo: HeloName = _setting(
        "localhost",
        "Host name sent in EHLO and HELO; it should resolve to this machine's public address.",
    )
    mail_from: SenderAddress = _setting(
        "", "Address sent in MAIL FROM; empty is the null sender `<>`."
    )
    dns_servers: tuple[DnsServerAddress, ...] = _setting(
        (), "Resolvers as `IP:PORT`, tried in order; empty uses those of the system."
    )
    smtp_port: int = _setting(25, "Port of the mail servers.", ge=1, le=65535)
    allow_private_networks: bool = _setting(
        False,
        "Whether probes and webhooks may connect to private, loopback and link-local addresses.",
    )
    connect_timeout_s: Seconds = _setting(5.0, "Time limit for one TCP connection.", "s")
    command_timeout_s: Seconds = _setting(
        10.0, "Time limit for one SMTP command or one DNS query.", "s"
    )
    deadline_s: Seconds = _setting(
        30.0, "Time limit for one verification, all attempts together.", "s"
    )
    connections_per_host: int = _setting(
        4, "Concurrent connections to the mail hosts of one operator.", ge=1, le=1000
    )
    egress: str = _setting(
        "default",
        "Name of the way out if there is no `[[egress]]`: of the public address that mail servers"
        " see. Processes with the same name share its pace.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    egress_strategy: EgressStrategy = _setting(
        EgressStrategy.WEIGHTED,
        "How one of several `[[egress]]` is chosen. `weighted`: by weight, the same one for an"
        " address each time. `failover`: the first one that works and is not refused.",
    )
    recipients_per_connection: int = _setting(
        100, "RCPT commands on one connection before a new one is opened.", ge=1, le=100_000
    )
    greylist_retries_s: tuple[Seconds, ...] = _setting(
        (5.0, 60.0, 300.0),
        "Pauses before the retries of an address of a batch that its mail hosts refuse for now: "
        "greylisted, busy, or down. A single verification waits for greylisting only, and "
        "within its deadline.",
        "s",
    )


class WorkSettings(Section):
    """Batches and other background work, which processes with one PostgreSQL database share."""

    in_server: bool = _setting(
        True,
        "Whether `veriplex serve` works on batches too; without it `veriplex worker` does. A SQLite"
        " file has no other workers.",
    )
    pieces: int = _setting(
        8, "Chunks of batches that one process has in flight, on PostgreSQL.", ge=1, le=1000
    )
    host: str = _setting(
        "127.0.0.1", "Address of a worker's health and metrics to listen on.", min_length=1
    )
    port: int = _setting(8026, "Their port; 0 picks a free one.", ge=0, le=65535)
    heartbeat_s: Seconds = _setting(2.0, "Time between two signs of life of a worker.", "s")
    dead_after_s: Seconds = _setting(
        6.0,
        "Time without a sign of life after which others take over a worker's chunks; at least twice"
        " `heartbeat_s`.",
        "s",
    )

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.dead_after_s < 2 * self.heartbeat_s:
            raise ValueError("dead_after_s: should be at least twice heartbeat_s")
        return self


class EgressSettings(Section):
    """A way out to mail servers: an address of this machine, or a proxy."""

    name: str = _setting(
        ...,
        "Name in the evidence, the metrics and `/veriplex/v1/standing`.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    source_address: OptionalIp = _setting(
        "",
        "IP address of this machine that connections come from; empty is the system's choice.",
    )
    proxy: SocksUrl = _setting(
        "",
        "SOCKS5 proxy, `socks5://host:port` or `socks5://user:password@host:port`; or `env:NAME`,"
        " `file:PATH`. It is given IP addresses only.",
    )
    public_address: OptionalIp = _setting(
        "",
        "IP address that mail servers see, for `veriplex doctor`, if it cannot be detected.",
    )
    helo: OptionalHeloName = _setting("", "Host name in EHLO; empty is `engine.helo`.")
    mail_from: SenderAddress = _setting("", "Address in MAIL FROM; empty is `engine.mail_from`.")
    weight: float = _setting(
        1.0, "Share of the addresses, relative to the others' weights.", ge=0, le=1_000_000
    )
    operators: tuple[Operator, ...] = _setting(
        (),
        "Operators of mail hosts, as `/veriplex/v1/standing` names them, that it serves; empty is"
        " all of them.",
    )
    except_operators: tuple[Operator, ...] = _setting((), "Operators that it does not serve.")
    connections_per_host: int = _setting(
        0,
        "Concurrent connections to the mail hosts of one operator; 0 is"
        " `engine.connections_per_host`.",
        ge=0,
        le=1000,
    )


class CacheTtlSettings(Section):
    """How long a result is served from the cache, by verdict; 0 caches none."""

    deliverable: TtlSeconds = _setting(86_400, "For deliverable addresses.", "s")
    undeliverable: TtlSeconds = _setting(86_400, "For undeliverable addresses.", "s")
    risky: TtlSeconds = _setting(3_600, "For risky addresses.", "s")
    unknown: TtlSeconds = _setting(300, "For addresses whose status could not be determined.", "s")

    def by_verdict(self) -> dict[Verdict, float]:
        return {verdict: getattr(self, verdict) for verdict in Verdict}


class CacheSettings(Section):
    """The cache of results."""

    ttl_s: CacheTtlSettings = _setting(CacheTtlSettings(), "Time to live, by verdict.", "s")
    stale_s: TtlSeconds = _setting(
        0,
        "Time after `ttl_s` in which a result is served once more, while it is verified again.",
        "s",
    )
    stored: bool = _setting(
        True, "Whether results are also cached in the database, where they survive a restart."
    )
    shared: bool = _setting(
        False,
        "Whether accounts share cached verdicts, which saves calls. An account can then learn from"
        " `Cache-Status`, and from the time of a reply, that another one asked about an address.",
    )
    max_stored: int = _setting(
        500_000,
        "Results cached in the database; the oldest are removed first.",
        ge=1,
        le=100_000_000,
    )


class SandboxSettings(Section):
    """The answers to test keys."""

    seed: str = _setting(
        "veriplex",
        "Samples are a function of the seed, the dialect and the address; `random` draws new ones"
        " for each request.",
        min_length=1,
    )
    published: bool = _setting(
        False,
        "Whether `veriplex serve` accepts the published test keys, which anybody may use; `veriplex"
        " sandbox` always does.",
    )
    live_control: bool = _setting(
        False,
        "Whether live keys, too, may use the sandbox's control API: faults and a clock for their"
        " own requests, forwarded ones included.",
    )


class Strategy(StrEnum):
    """How the source of a result is chosen."""

    FAILOVER = "failover"
    WEIGHTED = "weighted"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    WATERFALL = "waterfall"
    QUORUM = "quorum"
    MEASURED = "measured"


class Completion(StrEnum):
    """What fills in the evidence that an upstream's answer lacks."""

    NONE = "none"
    LISTS = "lists"
    DNS = "dns"


ALL_VERDICTS = tuple(Verdict)
CONCLUSIVE_VERDICTS = tuple(verdict for verdict in Verdict if verdict is not Verdict.UNKNOWN)


class RoutingSettings(Section):
    """How the source of a result is chosen."""

    strategy: Strategy = _setting(
        Strategy.FAILOVER,
        "`failover`: the first source of `order` that answers. `weighted`: a source drawn by"
        " weight. `cheapest`: by price. `fastest`: by recent latency. `waterfall`: one source after"
        " the other, as long as the verdict is unknown or risky. `quorum`: several sources at once,"
        " and the verdict on which they agree. `measured`: the source whose mistakes cost least, by"
        " what became of mails. All but `quorum` fail over to the next source.",
    )
    order: tuple[str, ...] = _setting(
        (),
        "Sources, best first: `local` is the probe, the others are names of upstreams. Without"
        " `local` only upstreams are asked. Empty is `local`, then all upstreams in their order.",
    )
    deadline_s: Seconds = _setting(
        30.0, "Time limit for one verification, all sources and retries together.", "s"
    )
    on_failure: Literal["error", "unknown"] = _setting(
        "error",
        "What a client gets if no source answers: its dialect's temporary error, or the verdict"
        " unknown, which is neither cached nor charged.",
    )
    complete: Completion = _setting(
        Completion.LISTS,
        "What fills in the evidence that an upstream's answer lacks: nothing, our lists"
        " (disposable, free, role, names), or our lists and DNS. The verdict is never changed.",
    )
    quorum_ask: int = _setting(3, "Number of sources that `quorum` asks.", ge=1, le=20)
    quorum_agree: int = _setting(2, "Number of equal verdicts that decide.", ge=1, le=20)
    hedge: bool = _setting(
        False,
        "Whether the next source is asked as well if an upstream is slower than usual; the first"
        " answer is used, and both may be billed.",
    )
    hedge_percentile: float = _setting(
        95.0,
        "Percentile of the upstream's recent latencies beyond which it is slower than usual.",
        ge=50,
        le=99.9,
    )
    local_final: tuple[Verdict, ...] = _setting(
        CONCLUSIVE_VERDICTS,
        "Verdicts of the probe that are final. After any other the next source is asked, and the"
        " probe's verdict is used if no source has a better one.",
    )
    daily_budget: Money = _setting(
        0.0, "What one key may spend at upstreams in a day (UTC); 0 is no limit.", "money"
    )
    monthly_budget: Money = _setting(0.0, "Likewise in a calendar month (UTC).", "money")
    measured_share: float = _setting(
        0.05,
        "Share of the requests in which `measured` may try a source that is not known to be best.",
        ge=0,
        le=1,
    )
    measured_seed: str = _setting(
        "",
        "With a seed, `measured` chooses the same for the same address and evidence; otherwise it"
        " chooses at random what to try.",
        coerce_numbers_to_str=True,
        max_length=100,
    )
    wrong_deliverable_price: Money = _setting(
        0.5, "What `measured` takes a wrong deliverable to cost: mail that bounces.", "money"
    )
    wrong_undeliverable_price: Money = _setting(
        0.5, "Likewise a wrong undeliverable: mail that is not sent.", "money"
    )
    unknown_price: Money = _setting(
        0.05, "Likewise an answer that decides nothing: unknown or risky.", "money"
    )
    shadow: tuple[str, ...] = _setting(
        (),
        "Sources that are asked beside the requests, for comparison: `local`, or names of"
        " upstreams. Nothing waits for them, and their answers are neither given out nor cached.",
    )
    shadow_share: float = _setting(
        0.05, "Share of the new verifications that each of them is asked about.", ge=0, le=1
    )
    shadow_rate_per_s: float = _setting(
        10.0,
        "Most requests a second to each of them; an upstream with a `rate_per_s` gets at most a"
        " tenth of that.",
        gt=0,
        le=1_000_000,
    )
    shadow_daily_budget: Money = _setting(
        1.0,
        "What may be spent at each of them in a day (UTC), beside the upstream's own budget; 0 is"
        " no limit, and then shadow_monthly_budget has to set one.",
        "money",
    )
    shadow_monthly_budget: Money = _setting(0.0, "Likewise in a calendar month (UTC).", "money")


class RouteSettings(RoutingSettings):
    """Different routing for some keys: all settings of `[routing]`, and these."""

    name: str = _setting(..., "Name of the route.", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    keys: tuple[str, ...] = _setting(
        ..., "The keys: their labels, or what `keys list` shows of them.", min_length=1
    )


class KeySettings(Section):
    """A key of your own, such as the vendor's key that a client has already."""

    dialect: str = _setting(..., "Dialect of the key.", min_length=1)
    key: SecretRef = _setting(
        ...,
        "Reference to the key, `env:NAME` or `file:PATH`; never the key itself. Only its hash is"
        " stored.",
    )
    label: str = _setting("", "What it is for; shown in lists and logs.", max_length=200)
    test: bool = _setting(
        False, "Whether it is a test key: never charged, answered by the sandbox."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """`emailable=env:NAME` in `VERIPLEX_KEYS` is short for a dialect and its key."""
        if not isinstance(value, str):
            return value
        dialect, _, key = value.partition("=")
        return {"dialect": dialect.strip(), "key": key.strip()}


class CircuitSettings(Section):
    """When an upstream that fails is taken out of rotation, and for how long."""

    failures: int = _setting(
        3,
        "Consecutive failures that open its circuit; so do 10 among its last 20 requests.",
        ge=1,
        le=1000,
    )
    pause_s: Seconds = _setting(
        1.0, "Pause until the first trial request; it doubles after each failed trial.", "s"
    )
    max_trial_pause_s: Seconds = _setting(
        15.0,
        "The longest pause between two trial requests. A trial is a request of a client: after a"
        " fault it goes to the next source.",
        "s",
    )
    max_pause_s: Seconds = _setting(
        300.0, "The longest pause that a vendor gets if it asks for one (`Retry-After`).", "s"
    )
    ramp_s: float = _setting(
        10.0,
        "Time from a successful trial until the upstream gets its full share again.",
        "s",
        ge=0,
        le=3600,
    )


class TransportSettings(Section):
    """How requests reach upstreams."""

    proxy: ProxyUrl = _setting(
        "",
        "Proxy for all upstreams: `http://`, `https://` or `socks5://`, with `name:password@` if it"
        " wants one; or `env:NAME`, `file:PATH`. Empty uses `HTTPS_PROXY`, `HTTP_PROXY` and"
        " `NO_PROXY` of the environment.",
    )


class UpstreamSettings(Section):
    """A vendor, or another Veriplex, that verifies addresses for this one."""

    name: str = _setting(
        ...,
        "Name in `routing.order` and in X-Veriplex-Source.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    dialect: str = _setting(..., "The dialect of its API.", min_length=1)
    base_url: HttpUrl = _setting(..., "Base URL, as in the vendor's documentation.", min_length=1)
    api_key: SecretRef = _setting(
        ...,
        "Reference to the key, `env:NAME` or `file:PATH`; never the key itself. A changed file is"
        " read again while the server runs.",
    )
    spare_api_keys: tuple[SecretRef, ...] = _setting(
        (), "Further keys, each used if the one before is refused, rate limited or out of credits."
    )
    timeout_s: Seconds = _setting(
        10.0, "Time limit for one answer, within `routing.deadline_s`.", "s"
    )
    min_timeout_s: float = _setting(
        0.0,
        "The next source is asked as well after the time that 99 of the last 100 answers needed,"
        " half as much again and 0.5 s, but never before this; 0 is what the vendor's documentation"
        " calls normal. The first answer is used, and both calls may be billed.",
        "s",
        ge=0,
        le=86_400,
    )
    connections: int = _setting(50, "Concurrent requests.", ge=1, le=10_000)
    rate_per_s: float = _setting(0.0, "Requests a second; 0 is no limit.", ge=0, le=1_000_000)
    proxy: ProxyUrl = _setting(
        "", "Proxy for this upstream, as in `[transport]`, whose setting it replaces."
    )
    weight: float = _setting(1.0, "Weight under the strategy `weighted`.", ge=0, le=1_000_000)
    price: Money = _setting(
        0.0, "Price of one verification, in the currency of the budgets.", "money"
    )
    daily_budget: Money = _setting(
        0.0, "What may be spent at this upstream in a day (UTC); 0 is no limit.", "money"
    )
    monthly_budget: Money = _setting(0.0, "Likewise in a calendar month (UTC).", "money")
    final: tuple[Verdict, ...] = _setting(
        ALL_VERDICTS, "Its verdicts that are final; after any other the next source may be asked."
    )
    bulk: bool = _setting(
        True,
        "Whether batches are submitted to its batch API, if it has one; otherwise each address is"
        " verified by itself.",
    )
    bulk_from: int = _setting(
        0,
        "Fewest addresses for which a batch is submitted; 0 is the vendor's own choice.",
        ge=0,
        le=500_000,
    )
    bulk_size: int = _setting(
        10_000,
        "Most addresses in one submitted batch, within the vendor's own limit.",
        ge=1,
        le=50_000,
    )
    bulk_deadline_s: Seconds = _setting(
        21_600.0,
        "Time limit for a submitted batch; its remaining addresses then go to the next source.",
        "s",
    )
    balance_every_s: float = _setting(
        300.0,
        "Interval of reading its balance, which costs nothing; 0 is never.",
        "s",
        ge=0,
        le=86_400,
    )
    record: bool = _setting(
        False,
        "Whether exchanges with it are written to files, without keys and addresses, to find"
        " changes in a vendor's API; not meant for permanent use.",
    )
    record_to: str = _setting("recorded", "Folder of these files.", min_length=1)


class LimitsSettings(Section):
    """The limits of accounts."""

    plan: str = _setting(
        "unlimited",
        "Plan of new accounts, the first one included: `unlimited`, or a plan of a dialect, such as"
        " `emailable` or `free`.",
        min_length=1,
    )


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Lowest level that is written."
    )
    format: Literal["text", "json"] = _setting("text", "Lines for people or JSON for programs.")


class MetricsSettings(Section):
    """Who may read `/metrics`."""

    enabled: bool = _setting(True, "Whether the server has `/metrics` at all.")
    token: OptionalSecretRef = _setting(
        "",
        "`env:NAME` or `file:PATH` of a token: `/metrics` then wants `Authorization: Bearer TOKEN`."
        " Empty lets everybody read it who can reach the server.",
    )


class ConsoleSettings(Section):
    """The console, `/console`: pages of the server for people."""

    enabled: bool = _setting(True, "Whether the server has `/console` at all.")
    password: OptionalSecretRef = _setting(
        "",
        "`env:NAME` or `file:PATH` of the password of operators, who see and change everything."
        " Empty prints a link at start, with which one browser can log in once;"
        " `veriplex console` prints another.",
    )
    viewer_password: OptionalSecretRef = _setting(
        "",
        "`env:NAME` or `file:PATH` of the password of viewers, who see everything and change"
        " nothing; empty admits none.",
    )


class OutcomesSettings(Section):
    """What sources answered, and what became of mails (`/veriplex/v1/outcomes`)."""

    keep_days: int = _setting(
        90,
        "How long answers and outcomes are kept, by a digest of the address; 0 keeps none.",
        "days",
        ge=0,
        le=3_650,
    )
    ses_topics: tuple[TopicArn, ...] = _setting(
        (),
        "Topics of Amazon SNS whose events of SES are taken, such as"
        " `arn:aws:sns:us-east-1:123456789012:events`; without any, none are.",
    )
    sendgrid_public_key: KeyRefs = _setting(
        (),
        "The verification key of SendGrid's Signed Event Webhook, or `env:NAME` or `file:PATH` of"
        " it; a list for several accounts. Without one, none of its events are taken.",
    )
    mailgun_signing_key: SecretRefs = _setting(
        (),
        "`env:NAME` or `file:PATH` of Mailgun's HTTP webhook signing key, or a list of them.",
    )
    postmark_token: SecretRefs = _setting(
        (),
        "`env:NAME` or `file:PATH` of the password that Postmark's webhook has in its URL, or in a"
        " header `X-Veriplex-Token`; a list for several servers of Postmark.",
    )


class CommonSettings(Section):
    """All settings, but for the options of dialects."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    shared: SharedSettings = SharedSettings()
    engine: EngineSettings = EngineSettings()
    work: WorkSettings = WorkSettings()
    cache: CacheSettings = CacheSettings()
    sandbox: SandboxSettings = SandboxSettings()
    routing: RoutingSettings = RoutingSettings()
    circuit: CircuitSettings = CircuitSettings()
    transport: TransportSettings = TransportSettings()
    limits: LimitsSettings = LimitsSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    console: ConsoleSettings = ConsoleSettings()
    outcomes: OutcomesSettings = OutcomesSettings()
    keys: tuple[KeySettings, ...] = ()
    egress: tuple[EgressSettings, ...] = ()
    upstreams: tuple[UpstreamSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """`routing.order`, or its meaning if it is empty."""
        return self.sources_of(self.routing)

    def sources_of(self, routing: RoutingSettings) -> tuple[str, ...]:
        """The order of one route, or its meaning if it is empty."""
        return routing.order or (LOCAL_SOURCE, *(u.name for u in self.upstreams))


# -- options of dialects -------------------------------------------------------------------


def _dialect_section(dialect: Dialect, options: DialectOptions[Any]) -> type[Section]:
    """The section of a dialect that has options, such as `[dataoorts]`."""
    kinds = get_type_hints(options.kind)
    settings: dict[str, Any] = {
        each.name: (kinds[each.name], _option_setting(each)) for each in fields(options.kind)
    }
    section: type[Section] = create_model(
        f"{dialect.name.title()}Settings",
        __base__=Section,
        __doc__=f"Options of the {dialect.name} dialect.",
        **settings,
    )
    return section


def _option_setting(option: DataclassField[Any]) -> Any:
    about = option.metadata
    bounds = {"allow_inf_nan": False} if isinstance(option.default, float) else {}
    return _setting(option.default, about["meaning"], about["unit"], **about["bounds"], **bounds)


DIALECT_SECTIONS: Mapping[str, type[Section]] = {
    dialect.name: _dialect_section(dialect, dialect.options)
    for dialect in DIALECTS
    if dialect.options is not None
}

if TYPE_CHECKING:
    Settings: TypeAlias = CommonSettings
else:
    Settings = create_model(
        "Settings",
        __base__=CommonSettings,
        __doc__="All settings.",
        **{name: (section, section()) for name, section in DIALECT_SECTIONS.items()},
    )

# -- look-up ---------------------------------------------------------------------


def known_settings() -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """All settings with a name of their own, in order; a list of tables is one of them."""
    yield from _fields(Settings, ())


def _fields(
    model: type[BaseModel], prefix: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, info in model.model_fields.items():
        loc = (*prefix, name)
        section = section_class(info)
        if prefix or section is None:
            yield loc, info
        if section is not None:
            yield from _fields(section, loc)


def section_class(info: FieldInfo) -> type[Section] | None:
    """The class of a section; None for a single value."""
    kind: Any = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
