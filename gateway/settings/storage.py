"""The settings of what is kept, and of what several processes share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Self
from urllib.parse import quote

from pydantic import model_validator

from engine.model import Verdict
from gateway.settings.section import Section, setting
from gateway.settings.values import (
    DirectUrl,
    KeyRefs,
    OptionalSecretRef,
    Seconds,
    SecretRefs,
    SharedUrl,
    StorageUrl,
    TopicArn,
    TtlSeconds,
)


class MigrateRule(StrEnum):
    """Which PostgreSQL databases get new tables when a process starts."""

    EMPTY = "empty"
    ALWAYS = "always"
    NEVER = "never"


class StorageSettings(Section):
    """The database of accounts, batches and cached results."""

    url: StorageUrl = setting(
        "sqlite:///veriplex.db",
        "`sqlite:///PATH` (relative to the working directory), `sqlite:////ABSOLUTE/PATH`,"
        " `sqlite:///:memory:`, or `postgresql://USER@HOST/DATABASE` (which needs the extra"
        " `cluster`).",
    )
    password: OptionalSecretRef = setting(
        "", "`env:NAME` or `file:PATH` of the password of a PostgreSQL user."
    )
    direct_url: DirectUrl = setting(
        "",
        "URL of the same PostgreSQL database past a pooler such as PgBouncer, for what needs a"
        " session: notices of new work. Empty is `url`.",
    )
    pool: int = setting(
        5, "Connections of one process to PostgreSQL; workers need 7 more.", ge=1, le=1000
    )
    migrate: MigrateRule = setting(
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

    url: SharedUrl = setting(
        "",
        "`valkey://HOST:PORT`, `redis://HOST:PORT`, or with TLS `rediss://HOST:PORT`; with `/N` at"
        " the end its database N, and with `USER@` before the host that user (needs the extra"
        " `cluster`). Empty: each process takes its part of every limit.",
    )
    password: OptionalSecretRef = setting("", "`env:NAME` or `file:PATH` of its password.")
    timeout_ms: int = setting(
        50,
        "Time limit for one call. A server that is slower is done without for some seconds.",
        "ms",
        ge=1,
        le=10_000,
    )
    prefix: str = setting(
        "veriplex",
        "Begins the name of every key there, so that several services can share a server.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if self.password.reference and not self.url:
            raise ValueError("password: needs a url like valkey://HOST")
        return self


class WorkSettings(Section):
    """Batches and other background work, which processes with one PostgreSQL database share."""

    in_server: bool = setting(
        True,
        "Whether `veriplex serve` works on batches too; without it `veriplex worker` does. A SQLite"
        " file has no other workers.",
    )
    pieces: int = setting(
        8, "Chunks of batches that one process has in flight, on PostgreSQL.", ge=1, le=1000
    )
    host: str = setting(
        "127.0.0.1", "Address of a worker's health and metrics to listen on.", min_length=1
    )
    port: int = setting(8026, "Their port; 0 picks a free one.", ge=0, le=65535)
    heartbeat_s: Seconds = setting(2.0, "Time between two signs of life of a worker.", "s")
    dead_after_s: Seconds = setting(
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


class CacheTtlSettings(Section):
    """How long a result is served from the cache, by verdict; 0 caches none."""

    deliverable: TtlSeconds = setting(86_400, "For deliverable addresses.", "s")
    undeliverable: TtlSeconds = setting(86_400, "For undeliverable addresses.", "s")
    risky: TtlSeconds = setting(3_600, "For risky addresses.", "s")
    unknown: TtlSeconds = setting(300, "For addresses whose status could not be determined.", "s")

    def by_verdict(self) -> dict[Verdict, float]:
        return {verdict: getattr(self, verdict) for verdict in Verdict}


class CacheSettings(Section):
    """The cache of results."""

    ttl_s: CacheTtlSettings = setting(CacheTtlSettings(), "Time to live, by verdict.", "s")
    stale_s: TtlSeconds = setting(
        0,
        "Time after `ttl_s` in which a result is served once more, while it is verified again.",
        "s",
    )
    stored: bool = setting(
        True, "Whether results are also cached in the database, where they survive a restart."
    )
    shared: bool = setting(
        False,
        "Whether accounts share cached verdicts, which saves calls. An account can then learn from"
        " `Cache-Status`, and from the time of a reply, that another one asked about an address.",
    )
    max_stored: int = setting(
        500_000,
        "Results cached in the database; the oldest are removed first.",
        ge=1,
        le=100_000_000,
    )


class OutcomesSettings(Section):
    """What sources answered, and what became of mails (`/veriplex/v1/outcomes`)."""

    keep_days: int = setting(
        90,
        "How long answers and outcomes are kept, by a digest of the address; 0 keeps none.",
        "days",
        ge=0,
        le=3_650,
    )
    ses_topics: tuple[TopicArn, ...] = setting(
        (),
        "Topics of Amazon SNS whose events of SES are taken, such as"
        " `arn:aws:sns:us-east-1:123456789012:events`; without any, none are.",
    )
    sendgrid_public_key: KeyRefs = setting(
        (),
        "The verification key of SendGrid's Signed Event Webhook, or `env:NAME` or `file:PATH` of"
        " it; a list for several accounts. Without one, none of its events are taken.",
    )
    mailgun_signing_key: SecretRefs = setting(
        (),
        "`env:NAME` or `file:PATH` of Mailgun's HTTP webhook signing key, or a list of them.",
    )
    postmark_token: SecretRefs = setting(
        (),
        "`env:NAME` or `file:PATH` of the password that Postmark's webhook has in its URL, or in a"
        " header `X-Veriplex-Token`; a list for several servers of Postmark.",
    )
