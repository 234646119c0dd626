"""Verifications as bytes, as they are stored with their row.

Defaults, and values that follow from the row's address, are left out, since 50,000 rows are read
and written together. The transcript is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import orjson

from engine.address.syntax import MAX_PARSED_CHARACTERS, parse_address
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Gender,
    Meaning,
    MxHost,
    Person,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)

MAX_TEXT = 200
"""Characters stored of a text: a mail server's reply, a vendor's unknown word, a name."""
MAX_URL = 500
"""Characters of a value that cannot be cut, such as a URL; a longer one is left out."""
MAX_HOSTS_TEXT = 500
"""Characters stored of the names of all mail hosts together, the preferred ones first."""


def encode_verification(v: Verification, *, with_address: bool = True) -> bytes:
    """One verification, without its transcript."""
    record: dict[str, Any] = {
        "v": v.verdict,
        "r": v.reason,
        "s": v.score,
        "t": round(v.verified_at.timestamp() * 1000),
        "d": round(v.duration_s * 1000),
    }
    if v.source != "local":
        record["q"] = v.source
    if v.cached:
        record["c"] = 1
    if with_address and len(v.address.raw) > MAX_PARSED_CHARACTERS:
        record["l"] = 1  # its parts would take its length three times
    elif with_address and not _is_derivable(v.address):
        address = v.address
        record["a"] = [
            address.raw,
            address.local,
            address.domain,
            address.ascii_domain,
            address.error,
        ]
    if evidence := _non_default_fields(v.evidence, _EVIDENCE):
        record["e"] = evidence
    return orjson.dumps(record)


def verdict_prefix(verdict: Verdict) -> bytes:
    """What the bytes of a verification with this verdict begin with, and no other's."""
    return orjson.dumps({"v": verdict})[:-1]


def decode_verification(data: bytes, email: str, checks: Checks) -> Verification:
    """The verification of `email` that `encode_verification` encoded."""
    record = orjson.loads(data)
    return Verification(
        address=_decode_address(record, email),
        verdict=Verdict(record["v"]),
        reason=Reason(record["r"]),
        score=record["s"],
        evidence=_decode_evidence(record["e"]) if "e" in record else Evidence(),
        checks=checks,
        verified_at=datetime.fromtimestamp(record["t"] / 1000, UTC),
        duration_s=record["d"] / 1000,
        source=record.get("q", "local"),
        cached="c" in record,
    )


def _is_derivable(address: Address) -> bool:
    """Whether the parts follow from the text without parsing it."""
    local, _, domain = address.raw.rpartition("@")
    return (
        address.error is None
        and domain == address.domain == address.ascii_domain
        and local == address.local
    )


def _decode_address(record: Mapping[str, Any], email: str) -> Address:
    if "a" in record:
        return Address(*record["a"])
    if "l" in record:
        return parse_address(email)
    local, _, domain = email.rpartition("@")
    return Address(email, local, domain, domain)


# -- evidence ----------------------------------------------------------------------------


def _defaults(kind: type[Any], *left_out: str) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, _default(f)) for f in fields(kind) if f.name not in left_out)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default is not MISSING else ()


_EVIDENCE = _defaults(Evidence, "transcript")
_SMTP = _defaults(Smtp)
_PERSON = _defaults(Person)


def _non_default_fields(value: Any, defaults: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    changed = {}
    for name, default in defaults:
        found = getattr(value, name)
        if found == default:
            continue
        if name in _ENCODERS:
            changed[name] = _ENCODERS[name](found)
        elif not isinstance(found, str) or len(found) <= MAX_URL:
            changed[name] = found
    return changed


def _encode_hosts(hosts: tuple[MxHost, ...]) -> tuple[tuple[str, int], ...]:
    characters = accumulate(len(mx.host) for mx in hosts)
    return tuple(
        (mx.host, mx.preference)
        for mx, total in zip(hosts, characters, strict=True)
        if total <= MAX_HOSTS_TEXT
    )


def _cut(text: str) -> str:
    return text[:MAX_TEXT]


_ENCODERS: Mapping[str, Callable[[Any], Any]] = {
    "mx": _encode_hosts,
    "smtp": lambda smtp: _non_default_fields(smtp, _SMTP),
    "person": lambda person: _non_default_fields(person, _PERSON),
    "text": _cut,
    "raw_word": _cut,
    "first": _cut,
    "last": _cut,
}


def _decode_evidence(kept: dict[str, Any]) -> Evidence:
    for name, restore in _DECODERS.items():
        if name in kept:
            kept[name] = restore(kept[name])
    return Evidence(**kept)


def _decode_smtp(kept: dict[str, Any]) -> Smtp:
    kept["meaning"], kept["stage"] = Meaning(kept["meaning"]), Stage(kept["stage"])
    return Smtp(**kept)


def _decode_person(kept: dict[str, Any]) -> Person:
    if kept.get("gender") is not None:
        kept["gender"] = Gender(kept["gender"])
    return Person(**kept)


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "dns": Dns,
    "mx": lambda hosts: tuple(MxHost(*mx) for mx in hosts),
    "smtp": _decode_smtp,
    "person": _decode_person,
}
