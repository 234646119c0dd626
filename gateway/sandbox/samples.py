"""Samples: the results for test keys, deterministic and without a network.

A sample is a function of seed, dialect, address and requested checks. It stays the same across
releases unless the changelog says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from secrets import randbits
from typing import Any

from adapters.contract.problems import ProblemKind
from adapters.contract.samples import ChooseSample, Sample
from engine.address import syntax
from engine.address.offline import offline_evidence
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Meaning,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from engine.smtp.mail_domains import provider_of_domain
from engine.verification import verification_from_verdict
from gateway.sandbox.magic import (
    ACCEPT_ALL,
    DELIVERABLE,
    NO_CONNECT,
    TIMED_OUT,
    UNDELIVERABLE,
    magic_sample,
)
from gateway.sandbox.mail_hosts import mail_hosts

RANDOM_SEED = "random"
"""The seed with which samples are random, as with the vendors' own test keys."""

SAMPLE_SHARES: tuple[tuple[int, Sample], ...] = (
    (60, DELIVERABLE),
    (20, UNDELIVERABLE),
    (10, ACCEPT_ALL),
    (5, NO_CONNECT),
    (5, TIMED_OUT),
)
"""The samples of addresses that are not magic, in percent."""

MALFORMED_SAMPLE = Sample(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL)
FAILED_SAMPLE = Sample(Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR)

VERIFIED_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of verification in samples, so that equal requests get equal bytes. A sandbox with a
moved clock shows its own time instead."""

MAX_CACHED_SAMPLES = 512
"""Samples in the cache, the most recently used ones."""
MAX_CACHED_CHARACTERS = 128
"""Longer addresses are not cached."""


class Samples:
    """Draws samples with one seed."""

    def __init__(self, seed: str) -> None:
        self._random = seed == RANDOM_SEED
        self._seed = seed
        # a cache per instance, freed with it
        self._make_cached = lru_cache(MAX_CACHED_SAMPLES)(self._make)

    def draw(
        self,
        dialect: str,
        text: str,
        checks: Checks,
        *,
        magic_addresses: bool = True,
        choose_sample: ChooseSample | None = None,
        default_sample: Sample | None = None,
    ) -> Verification:
        """The sample for an address; without `magic_addresses` no address is special.

        `choose_sample` and `default_sample` are those of the dialect. An address for which the
        former has a problem is unknown.
        """
        cacheable = not self._random and len(text) <= MAX_CACHED_CHARACTERS
        make = self._make_cached if cacheable else self._make
        return make(dialect, text, checks, magic_addresses, choose_sample, default_sample)

    def _make(
        self,
        dialect: str,
        text: str,
        checks: Checks,
        magic_addresses: bool,
        choose_sample: ChooseSample | None,
        default_sample: Sample | None,
    ) -> Verification:
        address = syntax.parse_address(text)
        drawn = self._draw_number(dialect, address)
        special = _special_sample(address, choose_sample) if magic_addresses else None
        sample = special or _ordinary_sample(address, drawn, default_sample)
        evidence = _build_evidence(address, sample, checks, special is not None)
        found = verification_from_verdict(
            address,
            sample.verdict,
            sample.reason,
            evidence,
            checks,
            verified_at=VERIFIED_AT,
            duration_s=(drawn % 400 + 100) / 1000,
            source="sandbox",
        )
        return found if sample.score is None else replace(found, score=sample.score)

    def _draw_number(self, dialect: str, address: Address) -> int:
        if self._random:
            return randbits(64)
        text = "\n".join((self._seed, dialect, address.normalized))
        return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def _special_sample(address: Address, choose_sample: ChooseSample | None) -> Sample | None:
    """The sample of a test address of the dialect or of all dialects; None for any other."""
    if not address.valid:
        return None
    chosen = choose_sample(address) if choose_sample is not None else None
    if isinstance(chosen, ProblemKind):
        return FAILED_SAMPLE
    return chosen or magic_sample(address)


def _ordinary_sample(address: Address, number: int, default: Sample | None) -> Sample:
    if not address.valid:
        return MALFORMED_SAMPLE
    if default is not None:
        return default
    part = number % 100
    for share, sample in SAMPLE_SHARES:
        part -= share
        if part < 0:
            return sample
    raise AssertionError("the shares add up to 100")


def _build_evidence(address: Address, sample: Sample, checks: Checks, is_special: bool) -> Evidence:
    """The facts from the address and the sample. `is_special`: the address names the sample."""
    if not address.valid:
        return Evidence()
    facts = dict(
        _domain_facts(address.ascii_domain, sample.meaning)
        if sample.domain_exists
        else FACTS_WITHOUT_DOMAIN
    )
    facts |= sample.evidence_fields
    # unasked, only `accept-all@` shows catch-all; it is null where no server replied
    if sample.meaning in REPLY_CODES and not is_special:
        facts["catch_all"] = (sample is ACCEPT_ALL) if checks.catch_all else None
    elif sample.meaning in REPLY_CODES and checks.catch_all:
        facts.setdefault("catch_all", False)
    return offline_evidence(address, **facts)


FACTS_WITHOUT_DOMAIN: Mapping[str, Any] = {"dns": Dns.NXDOMAIN}


@lru_cache(1024)
def _domain_facts(domain: str, meaning: Meaning | None) -> Mapping[str, Any]:
    """The answers of a domain's simulated DNS and mail server."""
    hosts = mail_hosts(domain)
    code, enhanced = REPLY_CODES.get(meaning, (None, None))
    smtp = meaning and Smtp(
        meaning=meaning,
        stage=Stage.RCPT if code else Stage.CONNECT,
        connected=code is not None,
        host=hosts[0].host,
        code=code,
        enhanced=enhanced,
        latency_ms=100 if code else None,
    )
    return {
        "dns": Dns.MX,
        "mx": hosts,
        "provider": provider_of_domain(domain),
        "spf": True,
        "dmarc": True,
        "smtp": smtp,
    }


REPLY_CODES: Mapping[Meaning | None, tuple[int, str]] = {
    Meaning.ACCEPTED: (250, "2.1.5"),
    Meaning.MAILBOX_NOT_FOUND: (550, "5.1.1"),
    Meaning.MAILBOX_DISABLED: (550, "5.2.1"),
    Meaning.MAILBOX_FULL: (552, "5.2.2"),
    Meaning.GREYLISTED: (451, "4.7.1"),
    Meaning.TEMPORARY: (450, "4.2.0"),
    Meaning.IP_BLOCKED: (554, "5.7.1"),
}
"""The replies of the simulated mail server."""
