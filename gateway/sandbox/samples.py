"""What test keys are answered with: samples, off-line and the same every time.

A sample is a function of (seed, dialect, address). The magic addresses are Emailable's
published ones, and those that its Ruby client's suite uses; the same table serves every
dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from adapters.dialect import Dialect, Problem, ProblemKind, Verify
from engine.known import known
from engine.model import (
    Address,
    Dns,
    Evidence,
    Meaning,
    MxHost,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from engine.score import score

MAGIC_DOMAIN = "example.com"


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of the sandbox, before the address's own facts are filled in."""

    verdict: Verdict
    reason: Reason
    meaning: Meaning | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the evidence that this sample sets."""


DELIVERABLE = Sample(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Meaning.ACCEPTED)
UNDELIVERABLE = Sample(Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, Meaning.MAILBOX_NOT_FOUND)
CATCH_ALL = Sample(Verdict.RISKY, Reason.CATCH_ALL, Meaning.ACCEPTED, {"catch_all": True})
UNKNOWN = Sample(Verdict.UNKNOWN, Reason.NO_CONNECT, Meaning.UNREACHABLE)
TIMEOUT = Sample(Verdict.UNKNOWN, Reason.TIMEOUT, Meaning.TIMED_OUT)
DISPOSABLE = Sample(Verdict.RISKY, Reason.DISPOSABLE, Meaning.ACCEPTED, {"disposable": True})
FULL = Sample(Verdict.RISKY, Reason.MAILBOX_FULL, Meaning.MAILBOX_FULL, {"mailbox_full": True})

MAGIC: Mapping[str, Sample] = {
    "deliverable": DELIVERABLE,
    "undeliverable": UNDELIVERABLE,
    "risky": Sample(Verdict.RISKY, Reason.LOW_QUALITY, Meaning.ACCEPTED),
    "unknown": UNKNOWN,
    "role": replace(DELIVERABLE, changes={"role": True}),
    "free": replace(DELIVERABLE, changes={"free": True}),
    "accept-all": CATCH_ALL,
    "catch-all": CATCH_ALL,
    "disposable": DISPOSABLE,
    "mailbox-full": FULL,
    "no-reply": replace(DELIVERABLE, changes={"no_reply": True}),
    "slow": TIMEOUT,
    "timeout": TIMEOUT,
}
"""By local part, at `MAGIC_DOMAIN`."""

SLOW = "slow"
"""The local part that answers `NOT_READY` to every client that can be told so."""

SAMPLES: tuple[tuple[int, Sample], ...] = (
    (60, DELIVERABLE),
    (20, UNDELIVERABLE),
    (10, CATCH_ALL),
    (5, UNKNOWN),
    (5, TIMEOUT),
)
"""What any other address gets, in parts of a hundred."""


class Sandbox:
    """Answers for test keys."""

    def __init__(self, seed: str, *, clock: Callable[[], float]) -> None:
        self._seed = seed
        self._clock = clock

    def verify(self, dialect: Dialect, address: Address, op: Verify) -> Verification:
        """The sample for an address. Raises `Problem` (`NOT_READY`) for `slow@`."""
        drawn = self._draw(dialect.name, address)
        sample = self._sample(address, drawn)
        if sample is TIMEOUT and address.local == SLOW and op.wait_s is not None:
            raise Problem(ProblemKind.NOT_READY)
        evidence = _evidence(address, sample)
        return Verification(
            address=address,
            verdict=sample.verdict,
            reason=sample.reason,
            score=score(sample.verdict, sample.reason, evidence),
            evidence=evidence,
            checks=op.checks,
            verified_at=datetime.fromtimestamp(self._clock(), UTC),
            duration_s=(drawn % 400 + 100) / 1000,
            source="sandbox",
        )

    def _draw(self, dialect: str, address: Address) -> int:
        text = "\n".join((self._seed, dialect, address.normalized))
        return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())

    def _sample(self, address: Address, drawn: int) -> Sample:
        if not address.valid:
            return Sample(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL)
        if address.ascii_domain == MAGIC_DOMAIN and address.local in MAGIC:
            return MAGIC[address.local]
        part = drawn % 100
        for share, sample in SAMPLES:
            part -= share
            if part < 0:
                return sample
        raise AssertionError("the shares add up to a hundred")


def _evidence(address: Address, sample: Sample) -> Evidence:
    """The address's own facts, and the sample's."""
    if not address.valid:
        return Evidence()
    host = MxHost(f"mx.{address.ascii_domain}", 10)
    facts = replace(
        known(address),
        dns=Dns.MX,
        mx=(host,),
        spf=True,
        dmarc=True,
        smtp=_smtp(sample.meaning, host.host),
    )
    return replace(facts, **sample.changes)


def _smtp(meaning: Meaning | None, host: str) -> Smtp | None:
    if meaning is None:
        return None
    code, enhanced = CODES.get(meaning, (None, None))
    return Smtp(
        meaning=meaning,
        stage=Stage.RCPT if code else Stage.CONNECT,
        connected=code is not None,
        host=host,
        code=code,
        enhanced=enhanced,
        latency_ms=100 if code else None,
    )


CODES: Mapping[Meaning, tuple[int, str]] = {
    Meaning.ACCEPTED: (250, "2.1.5"),
    Meaning.MAILBOX_NOT_FOUND: (550, "5.1.1"),
    Meaning.MAILBOX_FULL: (552, "5.2.2"),
}
"""What the imagined mail server replied."""
