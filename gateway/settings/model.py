"""The settings and their values: what may be set, within which bounds, and what it means.

A section is a class, a setting a field; `docs/settings.md` is made from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from engine.model import Verdict
from gateway.settings.values import (
    DnsServerAddress,
    HeloName,
    HttpUrl,
    Money,
    Network,
    ProxyUrl,
    Seconds,
    SecretRef,
    SenderAddress,
    StorageUrl,
    TtlSeconds,
)

SettingPath = tuple[str | int, ...]
"""The way to a setting, such as `("upstreams", 0, "name")`."""

LOCAL_SOURCE = "local"
"""The probe engine's name in `routing.order`."""
RESERVED_SOURCES = frozenset({LOCAL_SOURCE, "cache", "sandbox"})
"""Names that X-Veriplex-Source has a meaning for, so that no upstream may take them."""


def _setting(default: Any, meaning: str, unit: str = "", **bounds: Any) -> Any:
    """A field with what `docs/settings.md` says of it."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)


# -- the settings ------------------------------------------------------------------------


class Section(BaseModel):
    """Frozen, and closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class ServerSettings(Section):
    """Where the server listens."""

    host: str = _setting("127.0.0.1", "Address or host name to listen on.", min_length=1)
    port: int = _setting(8025, "Port to listen on; 0 picks a free one.", ge=0, le=65535)
    public_url: HttpUrl = _setting(
        "", "URL under which clients reach the server; empty derives it from host and port."
    )
    ssl_certfile: str = _setting("", "PEM file with the TLS certificate chain; empty serves HTTP.")
    ssl_keyfile: str = _setting("", "PEM file with the key of that certificate.")
    forwarded_allow_ips: tuple[Network, ...] = _setting(
        (), "Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; `*` is any."
    )

    def url(self, port: int | None = None) -> str:
        """The base URL to tell clients; `port` is the one really bound, if 0 was asked for."""
        if self.public_url:
            return self.public_url
        scheme = "https" if self.ssl_certfile else "http"
        # A wildcard is an address to listen on, not one to connect to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        bracketed = f"[{host}]" if ":" in host else host
        return f"{scheme}://{bracketed}:{self.port if port is None else port}"


class StorageSettings(Section):
    """Where accounts, batches and answers are kept."""

    url: StorageUrl = _setting(
        "sqlite:///veriplex.db",
        "Database: `sqlite:///PATH` (relative to the working directory; `sqlite:////abs/path`), or"
        " `sqlite:///:memory:`.",
    )


class EngineSettings(Section):
    """How the local probe asks DNS and mail servers."""

    helo: HeloName = _setting(
        "localhost", "Host name given in EHLO and HELO; should resolve to this machine."
    )
    mail_from: SenderAddress = _setting(
        "", "Address given in MAIL FROM; empty is the null sender `<>`."
    )
    dns_servers: tuple[DnsServerAddress, ...] = _setting(
        (), "Resolvers as `IP:PORT`, asked in order; empty takes those of the system."
    )
    smtp_port: int = _setting(25, "Port of the mail servers.", ge=1, le=65535)
    allow_private_networks: bool = _setting(
        False, "Whether probes and webhooks may dial private, loopback and link-local addresses."
    )
    connect_timeout_s: Seconds = _setting(5.0, "For one TCP connection.", "s")
    command_timeout_s: Seconds = _setting(10.0, "For one SMTP command, or one DNS question.", "s")
    deadline_s: Seconds = _setting(30.0, "For one verification, all attempts together.", "s")
    connections_per_host: int = _setting(
        4, "Connections kept to one mail host at a time.", ge=1, le=1000
    )
    recipients_per_connection: int = _setting(
        100, "Recipients asked about before a connection is renewed.", ge=1, le=100_000
    )
    greylist_retries_s: tuple[Seconds, ...] = _setting(
        (5.0, 60.0, 300.0),
        "Waits before each retry of a greylisted address in a batch; a single verify retries only"
        " inside its deadline.",
        "s",
    )


class CacheTtlSettings(Section):
    """How long an answer is served again, by verdict; 0 keeps none."""

    deliverable: TtlSeconds = _setting(86_400, "For deliverable addresses.", "s")
    undeliverable: TtlSeconds = _setting(86_400, "For undeliverable addresses.", "s")
    risky: TtlSeconds = _setting(3_600, "For risky addresses.", "s")
    unknown: TtlSeconds = _setting(300, "For answers that could not be found out.", "s")


class CacheSettings(Section):
    """How long answers are kept."""

    ttl_s: CacheTtlSettings = _setting(CacheTtlSettings(), "Table of the four verdicts.", "s")
    stale_s: TtlSeconds = _setting(
        0,
        "For how long after that an answer is served once more while a new one is found out.",
        "s",
    )
    stored: bool = _setting(
        True, "Whether answers are also kept in the database, so that they survive a restart."
    )
    max_stored: int = _setting(
        500_000, "Answers kept in the database; the oldest go first.", ge=1, le=100_000_000
    )


class SandboxSettings(Section):
    """What test keys get."""

    seed: str = _setting(
        "veriplex",
        "Samples are a function of it, the dialect and the address; `random` draws anew each time.",
        min_length=1,
    )
    enabled: bool = _setting(True, "Whether a server with live keys answers test keys too.")


class Strategy(StrEnum):
    """How the sources of an answer are chosen."""

    FAILOVER = "failover"
    WEIGHTED = "weighted"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    WATERFALL = "waterfall"
    QUORUM = "quorum"


class Completion(StrEnum):
    """What is added to an upstream's answer where the upstream is silent."""

    NONE = "none"
    LISTS = "lists"
    DNS = "dns"


ALL_VERDICTS = tuple(Verdict)
CONCLUSIVE_VERDICTS = tuple(verdict for verdict in Verdict if verdict is not Verdict.UNKNOWN)


class RoutingSettings(Section):
    """Which source answers."""

    strategy: Strategy = _setting(
        Strategy.FAILOVER,
        "`failover`: the first source of `order` that answers. `weighted`: one drawn by weight."
        " `cheapest`: by price. `fastest`: by moving latency. `waterfall`: on to the next while the"
        " verdict is unknown or risky. `quorum`: several at once, and what they agree on. All but"
        " `quorum` fail over.",
    )
    order: tuple[str, ...] = _setting(
        (),
        "Sources, best first: `local` for the engine, and names of upstreams. Without `local`,"
        " upstreams only. Empty is `local`, then every upstream as listed.",
    )
    deadline_s: Seconds = _setting(
        30.0, "For one verification, all sources and retries together.", "s"
    )
    on_failure: Literal["error", "unknown"] = _setting(
        "error",
        "What a client gets when no source answered: its dialect's temporary error, or an unknown"
        " verdict, which is neither kept nor charged.",
    )
    complete: Completion = _setting(
        Completion.LISTS,
        "What is added to an upstream's answer where it is silent: nothing, what our lists know"
        " (disposable, free, role, names), or that and a look at DNS. Never the verdict.",
    )
    quorum_ask: int = _setting(3, "Sources that `quorum` asks.", ge=1, le=20)
    quorum_agree: int = _setting(2, "Verdicts that must be the same.", ge=1, le=20)
    hedge: bool = _setting(
        False,
        "Whether the next source is asked too when an upstream is slower than usual; the first"
        " answer wins, and both may be billed.",
    )
    hedge_percentile: float = _setting(
        95.0, "Of its latest latencies, what counts as slower than usual.", ge=50, le=99.9
    )
    local_final: tuple[Verdict, ...] = _setting(
        CONCLUSIVE_VERDICTS,
        "Verdicts of the local engine that are believed without asking on. Any other is still the"
        " answer if no other source has a better one.",
    )
    daily_budget: Money = _setting(
        0.0, "What one key may spend at upstreams in a day (UTC); 0 is without limit.", "money"
    )
    monthly_budget: Money = _setting(0.0, "Likewise in a calendar month (UTC).", "money")


class RouteSettings(RoutingSettings):
    """Routing of its own for some keys: every setting of `[routing]`, and these."""

    name: str = _setting(..., "Its name.", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    keys: tuple[str, ...] = _setting(
        ..., "Labels of the keys that it is for, or what `keys list` shows of them.", min_length=1
    )


class CircuitSettings(Section):
    """When an upstream that fails is left alone."""

    failures: int = _setting(
        5, "Failures in a row that open its circuit; half of the latest 20 do, too.", ge=1, le=1000
    )
    pause_s: Seconds = _setting(
        5.0, "Until the first trial; doubles with each trial that fails.", "s"
    )
    max_pause_s: Seconds = _setting(300.0, "The longest pause.", "s")
    ramp_s: float = _setting(
        10.0,
        "From the trial that succeeds until it gets its whole share again.",
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
    """A vendor, or another Veriplex, to ask."""

    name: str = _setting(
        ...,
        "Its name in `routing.order` and in X-Veriplex-Source.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    dialect: str = _setting(..., "Which vendor's API it speaks.", min_length=1)
    base_url: HttpUrl = _setting(
        ..., "Where the vendor's documentation ends the base URL.", min_length=1
    )
    api_key: SecretRef = _setting(
        ...,
        "`env:NAME` or `file:PATH`; never the key itself. A file is read again while the server"
        " runs.",
    )
    spare_api_keys: tuple[SecretRef, ...] = _setting(
        (), "Further keys, used when the one before is refused, throttled or without credits."
    )
    timeout_s: Seconds = _setting(10.0, "For one answer; never beyond `routing.deadline_s`.", "s")
    connections: int = _setting(50, "Requests to it at a time.", ge=1, le=10_000)
    rate_per_s: float = _setting(
        0.0, "Requests to it in a second; 0 is without limit.", ge=0, le=1_000_000
    )
    proxy: ProxyUrl = _setting(
        "", "Proxy for this upstream, as in `[transport]`, whose setting it replaces."
    )
    weight: float = _setting(1.0, "Its share under `weighted`.", ge=0, le=1_000_000)
    price: Money = _setting(0.0, "Of one call, in whatever currency the budgets are.", "money")
    daily_budget: Money = _setting(
        0.0, "What may be spent at it in a day (UTC); 0 is without limit.", "money"
    )
    monthly_budget: Money = _setting(0.0, "Likewise in a calendar month (UTC).", "money")
    final: tuple[Verdict, ...] = _setting(
        ALL_VERDICTS, "Its verdicts that are believed without asking on."
    )
    bulk: bool = _setting(
        True,
        "Whether batches are given to it as lists of its own, where its API has them; otherwise"
        " address by address.",
    )
    bulk_from: int = _setting(
        0,
        "Addresses that such a list is worth its while for; 0 is what suits the vendor.",
        ge=0,
        le=500_000,
    )
    bulk_size: int = _setting(
        10_000, "The most addresses in one such list, if the vendor takes so many.", ge=1, le=50_000
    )
    bulk_deadline_s: Seconds = _setting(
        21_600.0, "How long such a list may take, before its addresses are asked elsewhere.", "s"
    )
    balance_every_s: float = _setting(
        300.0,
        "How often its balance is read, which costs nothing; 0 is never.",
        "s",
        ge=0,
        le=86_400,
    )
    record: bool = _setting(
        False,
        "Whether exchanges with it are kept as fixtures, without keys and addresses; for watching"
        " a vendor's drift, not for every day.",
    )
    record_to: str = _setting("recorded", "Folder for these.", min_length=1)


class LimitsSettings(Section):
    """What accounts may use."""

    plan: str = _setting(
        "unlimited",
        "Plan of new accounts, the one made on first start included: `unlimited`, or a plan of a"
        " dialect, such as `emailable` or `free`.",
        min_length=1,
    )


class DataoortsSettings(Section):
    """Options of the dataoorts dialect."""

    block_enabled: bool = _setting(
        False, "Whether client addresses with too many failed attempts are refused, as it does."
    )
    block_failures: int = _setting(
        10, "Failed attempts (401, and 404 on results) that lead to a block.", ge=1, le=1_000_000
    )
    block_window_s: Seconds = _setting(3600.0, "Time in which they are counted.", "s")


class LogSettings(Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = _setting("info", "The least level shown.")
    format: Literal["text", "json"] = _setting("text", "Lines for people or for machines.")


class Settings(Section):
    """Everything that can be set."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    engine: EngineSettings = EngineSettings()
    cache: CacheSettings = CacheSettings()
    sandbox: SandboxSettings = SandboxSettings()
    routing: RoutingSettings = RoutingSettings()
    circuit: CircuitSettings = CircuitSettings()
    transport: TransportSettings = TransportSettings()
    limits: LimitsSettings = LimitsSettings()
    dataoorts: DataoortsSettings = DataoortsSettings()
    log: LogSettings = LogSettings()
    upstreams: tuple[UpstreamSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """`routing.order`, or what an empty one stands for."""
        return self.sources_of(self.routing)

    def sources_of(self, routing: RoutingSettings) -> tuple[str, ...]:
        """The order of one route, or what an empty one stands for."""
        return routing.order or (LOCAL_SOURCE, *(u.name for u in self.upstreams))


# -- looking them up ---------------------------------------------------------------------


def known_settings() -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting that has a name of its own, in order; of `upstreams` the list alone."""
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
    """The class of a table; None for a plain value."""
    kind: Any = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
