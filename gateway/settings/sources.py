"""The settings of upstreams, and of how a source is chosen."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from engine.model import Verdict
from gateway.errors import LOCAL_SOURCE
from gateway.settings.section import Section, setting
from gateway.settings.values import HttpUrl, Money, ProxyUrl, Seconds, SecretRef

RESERVED_SOURCES = frozenset({LOCAL_SOURCE, "cache", "sandbox"})
"""Names with a meaning of their own in X-Veriplex-Source, which no upstream may have."""


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

    strategy: Strategy = setting(
        Strategy.FAILOVER,
        "`failover`: the first source of `order` that answers. `weighted`: a source drawn by"
        " weight. `cheapest`: by price. `fastest`: by recent latency. `waterfall`: one source after"
        " the other, as long as the verdict is unknown or risky. `quorum`: several sources at once,"
        " and the verdict on which they agree. `measured`: the source whose mistakes cost least, by"
        " what became of mails. All but `quorum` fail over to the next source.",
    )
    order: tuple[str, ...] = setting(
        (),
        "Sources, best first: `local` is the probe, the others are names of upstreams. Without"
        " `local` only upstreams are asked. Empty is `local`, then all upstreams in their order.",
    )
    deadline_s: Seconds = setting(
        30.0, "Time limit for one verification, all sources and retries together.", "s"
    )
    on_failure: Literal["error", "unknown"] = setting(
        "error",
        "What a client gets if no source answers: its dialect's temporary error, or the verdict"
        " unknown, which is neither cached nor charged.",
    )
    complete: Completion = setting(
        Completion.LISTS,
        "What fills in the evidence that an upstream's answer lacks: nothing, our lists"
        " (disposable, free, role, names), or our lists and DNS. The verdict is never changed.",
    )
    quorum_ask: int = setting(3, "Number of sources that `quorum` asks.", ge=1, le=20)
    quorum_agree: int = setting(2, "Number of equal verdicts that decide.", ge=1, le=20)
    hedge: bool = setting(
        False,
        "Whether the next source is asked as well if an upstream is slower than usual; the first"
        " answer is used, and both may be billed.",
    )
    hedge_percentile: float = setting(
        95.0,
        "Percentile of the upstream's recent latencies beyond which it is slower than usual.",
        ge=50,
        le=99.9,
    )
    local_final: tuple[Verdict, ...] = setting(
        CONCLUSIVE_VERDICTS,
        "Verdicts of the probe that are final. After any other the next source is asked, and the"
        " probe's verdict is used if no source has a better one.",
    )
    daily_budget: Money = setting(
        0.0, "What one key may spend at upstreams in a day (UTC); 0 is no limit.", "money"
    )
    monthly_budget: Money = setting(0.0, "Likewise in a calendar month (UTC).", "money")
    measured_share: float = setting(
        0.05,
        "Share of the requests in which `measured` may try a source that is not known to be best.",
        ge=0,
        le=1,
    )
    measured_seed: str = setting(
        "",
        "With a seed, `measured` chooses the same for the same address and evidence; otherwise it"
        " chooses at random what to try.",
        coerce_numbers_to_str=True,
        max_length=100,
    )
    wrong_deliverable_price: Money = setting(
        0.5, "What `measured` takes a wrong deliverable to cost: mail that bounces.", "money"
    )
    wrong_undeliverable_price: Money = setting(
        0.5, "Likewise a wrong undeliverable: mail that is not sent.", "money"
    )
    unknown_price: Money = setting(
        0.05, "Likewise an answer that decides nothing: unknown or risky.", "money"
    )
    shadow: tuple[str, ...] = setting(
        (),
        "Sources that are asked beside the requests, for comparison: `local`, or names of"
        " upstreams. Nothing waits for them, and their answers are neither given out nor cached.",
    )
    shadow_share: float = setting(
        0.05, "Share of the new verifications that each of them is asked about.", ge=0, le=1
    )
    shadow_rate_per_s: float = setting(
        10.0,
        "Most requests a second to each of them; an upstream with a `rate_per_s` gets at most a"
        " tenth of that.",
        gt=0,
        le=1_000_000,
    )
    shadow_daily_budget: Money = setting(
        1.0,
        "What may be spent at each of them in a day (UTC), beside the upstream's own budget; 0 is"
        " no limit, and then shadow_monthly_budget has to set one.",
        "money",
    )
    shadow_monthly_budget: Money = setting(0.0, "Likewise in a calendar month (UTC).", "money")


class RouteSettings(RoutingSettings):
    """Different routing for some keys: all settings of `[routing]`, and these."""

    name: str = setting(..., "Name of the route.", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    keys: tuple[str, ...] = setting(
        ..., "The keys: their labels, or what `keys list` shows of them.", min_length=1
    )


class CircuitSettings(Section):
    """When an upstream that fails is taken out of rotation, and for how long."""

    failures: int = setting(
        3,
        "Consecutive failures that open its circuit; so do 10 among its last 20 requests.",
        ge=1,
        le=1000,
    )
    pause_s: Seconds = setting(
        1.0, "Pause until the first trial request; it doubles after each failed trial.", "s"
    )
    max_trial_pause_s: Seconds = setting(
        15.0,
        "The longest pause between two trial requests. A trial is a request of a client: after a"
        " fault it goes to the next source.",
        "s",
    )
    max_pause_s: Seconds = setting(
        300.0, "The longest pause that a vendor gets if it asks for one (`Retry-After`).", "s"
    )
    ramp_s: float = setting(
        10.0,
        "Time from a successful trial until the upstream gets its full share again.",
        "s",
        ge=0,
        le=3600,
    )


class TransportSettings(Section):
    """How requests reach upstreams."""

    proxy: ProxyUrl = setting(
        "",
        "Proxy for all upstreams: `http://`, `https://` or `socks5://`, with `name:password@` if it"
        " wants one; or `env:NAME`, `file:PATH`. Empty uses `HTTPS_PROXY`, `HTTP_PROXY` and"
        " `NO_PROXY` of the environment.",
    )


class UpstreamSettings(Section):
    """A vendor, or another Veriplex, that verifies addresses for this one."""

    name: str = setting(
        ...,
        "Name in `routing.order` and in X-Veriplex-Source.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    dialect: str = setting(..., "The dialect of its API.", min_length=1)
    base_url: HttpUrl = setting(..., "Base URL, as in the vendor's documentation.", min_length=1)
    api_key: SecretRef = setting(
        ...,
        "Reference to the key, `env:NAME` or `file:PATH`; never the key itself. A changed file is"
        " read again while the server runs.",
    )
    spare_api_keys: tuple[SecretRef, ...] = setting(
        (), "Further keys, each used if the one before is refused, rate limited or out of credits."
    )
    timeout_s: Seconds = setting(
        10.0, "Time limit for one answer, within `routing.deadline_s`.", "s"
    )
    min_timeout_s: float = setting(
        0.0,
        "The next source is asked as well after the time that 99 of the last 100 answers needed,"
        " half as much again and 0.5 s, but never before this; 0 is what the vendor's documentation"
        " calls normal. The first answer is used, and both calls may be billed.",
        "s",
        ge=0,
        le=86_400,
    )
    connections: int = setting(50, "Concurrent requests.", ge=1, le=10_000)
    rate_per_s: float = setting(0.0, "Requests a second; 0 is no limit.", ge=0, le=1_000_000)
    proxy: ProxyUrl = setting(
        "", "Proxy for this upstream, as in `[transport]`, whose setting it replaces."
    )
    weight: float = setting(1.0, "Weight under the strategy `weighted`.", ge=0, le=1_000_000)
    price: Money = setting(
        0.0, "Price of one verification, in the currency of the budgets.", "money"
    )
    daily_budget: Money = setting(
        0.0, "What may be spent at this upstream in a day (UTC); 0 is no limit.", "money"
    )
    monthly_budget: Money = setting(0.0, "Likewise in a calendar month (UTC).", "money")
    final: tuple[Verdict, ...] = setting(
        ALL_VERDICTS, "Its verdicts that are final; after any other the next source may be asked."
    )
    bulk: bool = setting(
        True,
        "Whether batches are submitted to its batch API, if it has one; otherwise each address is"
        " verified by itself.",
    )
    bulk_from: int = setting(
        0,
        "Fewest addresses for which a batch is submitted; 0 is the vendor's own choice.",
        ge=0,
        le=500_000,
    )
    bulk_size: int = setting(
        10_000,
        "Most addresses in one submitted batch, within the vendor's own limit.",
        ge=1,
        le=50_000,
    )
    bulk_deadline_s: Seconds = setting(
        21_600.0,
        "Time limit for a submitted batch; its remaining addresses then go to the next source.",
        "s",
    )
    balance_every_s: float = setting(
        300.0,
        "Interval of reading its balance, which costs nothing; 0 is never.",
        "s",
        ge=0,
        le=86_400,
    )
    record: bool = setting(
        False,
        "Whether exchanges with it are written to files, without keys and addresses, to find"
        " changes in a vendor's API; not meant for permanent use.",
    )
    record_to: str = setting("recorded", "Folder of these files.", min_length=1)
