"""One address, in three versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.contract.operations import Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.words import parse_bool
from adapters.whoisxml.params import request_params, wants_xml
from adapters.whoisxml.words import (
    CATCH_ALL_CHECK,
    CHECK_WORDS,
    CHECKS,
    DNS_CHECK,
    NULL_MX,
    SMTP_CHECK,
    is_well_formed,
)
from adapters.whoisxml.xml import xml_reply
from engine.model import Checks, Dns, Verification


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """The differences of one version of the single-address API."""

    name: str
    shows_parts: bool
    """Whether `username` and `domain` stand before the address."""
    omits_unchecked: bool
    """Whether unchecked members are left out; otherwise they are `"null"` or an empty list."""
    mx_suffix: str
    """The suffix of a mail host's name."""


V1 = ApiVersion("v1", shows_parts=False, omits_unchecked=False, mx_suffix="")
V2 = ApiVersion("v2", shows_parts=True, omits_unchecked=True, mx_suffix=".")
V3 = ApiVersion("v3", shows_parts=True, omits_unchecked=True, mx_suffix="")
VERSIONS = (V1, V2, V3)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoisVerify(Verify):
    """A verification, with the format of its reply."""

    version: ApiVersion
    xml: bool = False
    shown_checks: frozenset[str]
    """The checks that are switched on; `formatCheck` always is."""


SWITCHES: Mapping[str, str] = {
    "validatedns": DNS_CHECK,
    "validatesmtp": SMTP_CHECK,
    "checkcatchall": CATCH_ALL_CHECK,
    "checkfree": "freeCheck",
    "checkdisposable": "disposableCheck",
}
"""Parameter in lower case, and the check that it switches. All are on unless switched off."""

WAIT_S = 120
"""The vendor's own limit for one request (v1's page)."""

# -- reading ------------------------------------------------------------------------------


def read_verify(version: ApiVersion, request: WireRequest) -> WhoisVerify:
    params = request_params(request)
    email = params.get("emailaddress")
    if email is None or email == "":
        raise Problem(ProblemKind.MISSING, field="emailAddress")
    if not isinstance(email, str):
        raise Problem(ProblemKind.INVALID, field="emailAddress")
    if not email.strip():
        raise Problem(ProblemKind.MISSING, field="emailAddress")
    shown = frozenset(
        check for name, check in SWITCHES.items() if parse_bool(params.get(name), True)
    )
    return WhoisVerify(
        email=email.strip(),
        checks=Checks(
            dns=DNS_CHECK in shown,
            smtp=SMTP_CHECK in shown,
            catch_all=CATCH_ALL_CHECK in shown,
        ),
        refresh=parse_bool(params.get("_hardrefresh"), False),
        wait_s=WAIT_S,
        version=version,
        xml=wants_xml(params),
        shown_checks=shown,
    )


# -- writing ------------------------------------------------------------------------------


def write_verify(op: WhoisVerify, v: Verification) -> WireReply:
    row: dict[str, Any] = {}
    if op.version.shows_parts:
        row |= {"username": v.address.local, "domain": v.address.domain_as_written}
    row["emailAddress"] = v.address.raw
    row["formatCheck"] = CHECK_WORDS[is_well_formed(v)]
    for name, find in CHECKS.items():
        if name in op.shown_checks:
            row[name] = CHECK_WORDS[find(v) if is_well_formed(v) else None]
        elif not op.version.omits_unchecked:
            row[name] = CHECK_WORDS[None]
    mx = _mx_records(op, v)
    if mx or not op.version.omits_unchecked:
        row["mxRecords"] = mx
    # one date twice: a result is replaced as a whole and never updated
    date = _format_date(v.verified_at)
    row["audit"] = {"auditCreatedDate": date, "auditUpdatedDate": date}
    return xml_reply("EmailVerifyRecord", row) if op.xml else json_reply(row)


def _mx_records(op: WhoisVerify, v: Verification) -> list[str]:
    if DNS_CHECK not in op.shown_checks or not is_well_formed(v):
        return []
    if v.evidence.dns is Dns.NULL_MX:
        return [NULL_MX]
    return [f"{mx.host}{op.version.mx_suffix}" for mx in v.evidence.mx]


def _format_date(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
