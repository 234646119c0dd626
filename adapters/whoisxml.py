"""WhoisXML API's Email Verification, `https://emailverification.whoisxmlapi.com/api`.

Documentation: https://emailverification.whoisxmlapi.com/docs (v1), /api/documentation/v2/ and
/api/documentation/ (v3) on the same host, and the account balance page,
https://registrant-alert.whoisxmlapi.com/api/documentation/account-balance-information, all seen
2026-11; fixtures in `compat_fixtures/whoisxml`.

Quirks that are copied on purpose:
- every check is text, `"true"`, `"false"` or `"null"`: the Go client cannot read a boolean, and
  the Python one takes a JSON null for "no" (fixtures `v1_deliverable`, `v1_blocked`);
- a check that was switched off is `"null"` in v1 and absent from v2 and v3 (`v2_go_example`);
- v2 writes mail hosts with their final dot, v1 and v3 without (`v2_deliverable`);
- dates are not ISO 8601: the Go client parses exactly `YYYY-MM-DD HH:MM:SS[.mmm] UTC`;
- an error names its text twice, `msg` for readers of v1 and `Error` for those of v2. The Go
  client never looks at the status: an error without `ErrorMessage` is a success to it;
- v1 says 403 where v2 and v3 say 401: to the PHP client 401 is a fault of the server;
- parameter names are read in any case: v1's page has `validateDns`, every client `validateDNS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from html import escape
from typing import Any

from adapters.dialect import (
    Account,
    Dialect,
    Endpoint,
    KeyShape,
    Plan,
    Problem,
    ProblemKind,
    Rate,
    RootPath,
    ShowAccount,
    Verify,
)
from adapters.wire import Unreadable, WireReply, WireRequest, json_reply
from engine.model import Checks, Dns, Reason, Verdict, Verification

# -- versions ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """What one version of the single-address API shows in its own way."""

    name: str
    parts: bool
    """Whether `username` and `domain` stand before the address."""
    omits: bool
    """Whether what was not looked at is left out; otherwise it is `"null"` or an empty list."""
    mx_end: str
    """What follows the name of a mail host."""


V1 = Version("v1", parts=False, omits=False, mx_end="")
V2 = Version("v2", parts=True, omits=True, mx_end=".")
V3 = Version("v3", parts=True, omits=True, mx_end="")


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoisVerify(Verify):
    """A verification, and how its answer is to look."""

    version: Version
    xml: bool = False
    shown: frozenset[str]
    """The checks that are switched on; `formatCheck` always is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBalance(ShowAccount):
    """The balance, and how it is to look."""

    xml: bool = False
    product: str
    """The only product to show, as sent; empty shows all."""


# -- vocabulary --------------------------------------------------------------------------

WORDS: Mapping[bool | None, str] = {True: "true", False: "false", None: "null"}

SMTP_CHECKS: Mapping[Verdict, Mapping[Reason, bool | None]] = {
    Verdict.DELIVERABLE: {},
    Verdict.UNDELIVERABLE: {
        # not applicable: another check says no
        Reason.INVALID_EMAIL: None,
        Reason.INVALID_DOMAIN: None,
    },
    Verdict.RISKY: {
        Reason.CATCH_ALL: True,
        # it exists and "temporarily couldn't receive messages" (v2's page): mail to it bounces
        Reason.MAILBOX_FULL: False,
    },
    # The page allows false for a temporary refusal, too. Null is kept for all of these, since
    # readers drop an address for a false, and greylisting, a block list or a server that is
    # busy says nothing of the mailbox.
    Verdict.UNKNOWN: {},
}

OTHER_SMTP_CHECK: Mapping[Verdict, bool | None] = {
    Verdict.DELIVERABLE: True,
    Verdict.UNDELIVERABLE: False,
    # a true beside nothing that warns would read as deliverable
    Verdict.RISKY: None,
    Verdict.UNKNOWN: None,
}

MAIL_SERVER_SPOKE = frozenset(
    {
        Reason.ACCEPTED_EMAIL,
        Reason.REJECTED_EMAIL,
        Reason.MAILBOX_FULL,
        Reason.CATCH_ALL,
        Reason.GREYLISTED,
        Reason.BLOCKED,
        Reason.UNAVAILABLE_SMTP,
        Reason.INVALID_SMTP,
    }
)
"""Reasons that show that DNS led to a mail server, for answers that tell no more of DNS."""

NULL_MX = "."
"""RFC 7505: the root as only mail host (seen in the vendor's bulk fixtures)."""

DNS_CHECK, SMTP_CHECK, CATCH_ALL_CHECK = "dnsCheck", "smtpCheck", "catchAllCheck"

SWITCHES: Mapping[str, str] = {
    "validatedns": DNS_CHECK,
    "validatesmtp": SMTP_CHECK,
    "checkcatchall": CATCH_ALL_CHECK,
    "checkfree": "freeCheck",
    "checkdisposable": "disposableCheck",
}
"""Parameter in lower case, and the check that it switches. All are on unless switched off."""

SWITCH_WORDS: Mapping[str, bool] = {"0": False, "1": True, "false": False, "true": True}
"""The pages say 0 and 1, the Node client says true and false; anything else is the default."""

WAIT_S = 120
"""The vendor's own limit for one request (v1's page)."""

PRODUCT_ID, PRODUCT_NAME = 7, "Email Verification API"

XML = "application/xml; charset=utf-8"

# -- reading -----------------------------------------------------------------------------


def credential(request: WireRequest) -> str | None:
    key = _params(request).get("apikey")
    return key if isinstance(key, str) and key else None


def read_verify(version: Version, request: WireRequest) -> WhoisVerify:
    params = _params(request)
    email = params.get("emailaddress")
    if email is None or email == "":
        raise Problem(ProblemKind.MISSING, field="emailAddress")
    if not isinstance(email, str):
        raise Problem(ProblemKind.INVALID, field="emailAddress")
    if not email.strip():
        raise Problem(ProblemKind.MISSING, field="emailAddress")
    shown = frozenset(check for name, check in SWITCHES.items() if _switch(params.get(name), True))
    return WhoisVerify(
        email=email.strip(),
        checks=Checks(
            # there is no conversation without a mail host to hold it with
            dns=not shown.isdisjoint({DNS_CHECK, SMTP_CHECK}),
            smtp=SMTP_CHECK in shown,
            catch_all=CATCH_ALL_CHECK in shown,
        ),
        refresh=_switch(params.get("_hardrefresh"), False),
        wait_s=WAIT_S,
        version=version,
        xml=_asks_for_xml(params),
        shown=shown,
    )


def read_balance(request: WireRequest) -> ShowBalance:
    params = _params(request)
    return ShowBalance(
        xml=_asks_for_xml(params), product=str(params.get("productid") or "").strip()
    )


def _params(request: WireRequest) -> Mapping[str, Any]:
    """Query parameters overlaid by the body's, names in lower case. Raises `Unreadable`."""
    body = request.fields if request.method == "POST" else {}
    return {name.lower(): value for sent in (request.query, body) for name, value in sent.items()}


def _switch(value: object, default: bool) -> bool:
    return SWITCH_WORDS.get(str(value).strip().lower(), default)


def _asks_for_xml(params: Mapping[str, Any]) -> bool:
    return str(params.get("outputformat")).strip().lower() == "xml"


# -- writing -----------------------------------------------------------------------------


def write_verify(op: WhoisVerify, v: Verification) -> WireReply:
    row: dict[str, Any] = {}
    if op.version.parts:
        row |= {"username": v.address.local, "domain": v.address.domain}
    row["emailAddress"] = v.address.raw
    row["formatCheck"] = WORDS[_well_formed(v)]
    for name, find in CHECKS.items():
        if name in op.shown:
            row[name] = WORDS[find(v) if _well_formed(v) else None]
        elif not op.version.omits:
            row[name] = WORDS[None]
    mx = _mx_records(op, v)
    if mx or not op.version.omits:
        row["mxRecords"] = mx
    # one date twice: an answer is replaced as a whole, so that what is shown was never updated
    date = _date(v.verified_at)
    row["audit"] = {"auditCreatedDate": date, "auditUpdatedDate": date}
    return _xml_reply("EmailVerifyRecord", row) if op.xml else json_reply(row)


def write_balance(op: ShowBalance, account: Account) -> WireReply:
    entry = {
        "product_id": PRODUCT_ID,
        "product": {"id": PRODUCT_ID, "name": PRODUCT_NAME},
        "credits": account.credits_shown,
    }
    balance = {"data": [entry] if op.product in ("", str(PRODUCT_ID)) else []}
    return _xml_reply("response", balance, element="item") if op.xml else json_reply(balance)


def _well_formed(v: Verification) -> bool:
    return v.address.valid and v.reason is not Reason.INVALID_EMAIL


def _smtp_check(v: Verification) -> bool | None:
    """The verdict's word first: an upstream tells it without a conversation behind it."""
    found = SMTP_CHECKS[v.verdict]
    if v.reason in found:
        return found[v.reason]
    if (v.verdict, v.reason) == (Verdict.RISKY, Reason.DISPOSABLE) and v.evidence.smtp:
        # `disposableCheck` warns, so that the conversation can be told as it was
        return v.evidence.smtp.accepted
    return OTHER_SMTP_CHECK[v.verdict]


def _dns_check(v: Verification) -> bool | None:
    if v.reason is Reason.INVALID_DOMAIN:
        return False
    if v.evidence.dns is Dns.NOT_CHECKED:
        return True if v.reason in MAIL_SERVER_SPOKE else None
    return v.evidence.dns.can_receive


def _catch_all_check(v: Verification) -> bool | None:
    return True if v.reason is Reason.CATCH_ALL else v.evidence.catch_all


CHECKS: Mapping[str, Callable[[Verification], bool | None]] = {
    SMTP_CHECK: _smtp_check,
    DNS_CHECK: _dns_check,
    "freeCheck": lambda v: v.evidence.free,
    "disposableCheck": lambda v: v.evidence.disposable,
    CATCH_ALL_CHECK: _catch_all_check,
}
"""In the order of the samples."""


def _mx_records(op: WhoisVerify, v: Verification) -> list[str]:
    if DNS_CHECK not in op.shown or not _well_formed(v):
        return []
    if v.evidence.dns is Dns.NULL_MX:
        return [NULL_MX]
    return [f"{mx.host}{op.version.mx_end}" for mx in v.evidence.mx]


def _date(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


# -- XML ---------------------------------------------------------------------------------

_NO_XML_CHARACTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 section 2.2 leaves out; no escape brings it in."""


def _xml_reply(
    root: str,
    value: object,
    status: int = 200,
    *,
    element: str = "string",
    headers: tuple[tuple[str, str], ...] = (),
) -> WireReply:
    """Elements named for the keys, those of a list named `element`; no declaration, as seen."""
    return WireReply(status, _xml(root, value, element).encode(), XML, headers)


def _xml(name: str, value: object, element: str) -> str:
    if isinstance(value, Mapping):
        content = "".join(_xml(key, inner, element) for key, inner in value.items())
    elif isinstance(value, list):
        content = "".join(_xml(element, inner, element) for inner in value)
    else:
        text = _NO_XML_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", str(value))
        # an XML reader turns a bare carriage return into a line feed (section 2.11)
        content = escape(text, quote=False).replace("\r", "&#13;")
    return f"<{name}>{content}</{name}>"


# -- problems ----------------------------------------------------------------------------

PROBLEMS: Mapping[ProblemKind, tuple[int, str, str]] = {
    ProblemKind.UNREADABLE: (400, "BAD_REQUEST", "The request cannot be read."),
    ProblemKind.MISSING: (400, "MISSING_PARAMETER", "The {field} parameter is required."),
    ProblemKind.INVALID: (400, "INVALID_PARAMETER", "The {field} parameter is not valid."),
    ProblemKind.NO_CREDENTIAL: (401, "API_KEY", "Authorisation or authentication failed"),
    ProblemKind.BAD_CREDENTIAL: (401, "API_KEY", "Authorisation or authentication failed"),
    ProblemKind.SUSPENDED: (403, "ACCOUNT", "The account is suspended."),
    ProblemKind.UNCONFIRMED: (403, "ACCOUNT", "The account is not confirmed yet."),
    ProblemKind.CLIENT_BLOCKED: (403, "ACCESS", "Requests from this address are not allowed."),
    ProblemKind.NO_CREDITS: (403, "BALANCE", "Insufficient balance"),
    ProblemKind.UNKNOWN_PATH: (404, "NOT_FOUND", "Not found."),
    ProblemKind.WRONG_METHOD: (405, "METHOD", "The method is not allowed here."),
    ProblemKind.TOO_LARGE: (413, "TOO_LARGE", "The request is too large."),
    ProblemKind.TOO_FAST: (429, "RATE_LIMIT", "Too many requests."),
    ProblemKind.INTERNAL: (500, "INTERNAL", "Internal server error."),
    ProblemKind.UNAVAILABLE: (503, "UNAVAILABLE", "The service is not available."),
    # the probe goes on, so that a repeat finds its answer
    ProblemKind.NOT_READY: (504, "TIMEOUT", "The request took too long; send it again."),
}
"""Status, `errorCode` and text. No page lists them: the two texts without a full stop are those
of the bulk API, the others ours."""

V1_STATUSES: Mapping[ProblemKind, int] = {
    ProblemKind.NO_CREDENTIAL: 403,
    ProblemKind.BAD_CREDENTIAL: 403,
}

BULK_PATH = "/api/bevService"
BULK_STATUSES: Mapping[ProblemKind, int] = {ProblemKind.NO_CREDITS: 402}


def write_problem(request: WireRequest, problem: Problem, _: Endpoint[Any] | None) -> WireReply:
    status, code, text = PROBLEMS[problem.kind]
    text = text.format(field=problem.field)
    headers = _problem_headers(problem)
    if request.path.startswith(BULK_PATH):
        status = BULK_STATUSES.get(problem.kind, status)
        # several texts are possible where the request is at fault, so that a single one is a list
        error = {"errors": [text]} if status == 400 else {"error": text}
        return json_reply({"response": error}, status, headers=headers)
    if request.path == "/api/v1":
        status = V1_STATUSES.get(problem.kind, status)
    body = {"errorCode": code, "msg": text, "Error": text}
    if _failed_in_xml(request):
        return _xml_reply("ErrorMessage", body, status, headers=headers)
    return json_reply({"ErrorMessage": body}, status, headers=headers)


def _failed_in_xml(request: WireRequest) -> bool:
    try:
        return _asks_for_xml(_params(request))
    except Unreadable:
        return False


def _problem_headers(problem: Problem) -> tuple[tuple[str, str], ...]:
    headers: tuple[tuple[str, str], ...] = ()
    if problem.retry_after_s is not None:
        headers += (("Retry-After", str(problem.retry_after_s)),)
    if problem.allow:
        headers += (("Allow", ", ".join(problem.allow)),)
    return headers


# -- the dialect -------------------------------------------------------------------------

DIALECT = Dialect(
    name="whoisxml",
    title="WhoisXML API",
    hosts=("emailverification.whoisxmlapi.com", "user.whoisxmlapi.com"),
    base_path="/api",
    root_paths=(
        RootPath("/api/v1"),
        RootPath("/api/v2"),
        RootPath("/api/v3"),
        RootPath(BULK_PATH),
        RootPath("/user-service/"),
        RootPath("/service/account-balance"),
    ),
    endpoints=(
        *(
            Endpoint(
                name=version.name,
                methods=("GET", "POST"),
                path=f"/api/{version.name}",
                read=partial(read_verify, version),
                write=write_verify,
                bucket="single",
                cors=True,
            )
            for version in (V1, V2, V3)
        ),
        *(
            Endpoint(
                name="balance",
                methods=("GET",),
                path=path,
                read=read_balance,
                write=write_balance,
                cors=True,
            )
            for path in ("/user-service/account-balance", "/service/account-balance")
        ),
    ),
    credential=credential,
    write_problem=write_problem,
    # the bulk client refuses any other shape before it sends it
    key_shape=KeyShape("at_", "at_", length=29),
    sandbox_key="at_sandbox0000000000000000000000",
    plans=(
        Plan(
            "whoisxml",
            "WhoisXML API free",
            rates={"single": Rate(10, 1)},
            included=1000,
            hard_cap=True,
        ),
    ),
)
