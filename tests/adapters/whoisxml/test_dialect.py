"""The WhoisXML dialect, as values: the checks of each version, and what a client concludes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from emailverifier.models import Response
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.operations import UNLIMITED, AccountInfo
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import UnreadableRequest, WireReply, WireRequest
from adapters.whoisxml import DIALECT
from adapters.whoisxml.balance import ShowBalance, read_balance, write_balance
from adapters.whoisxml.problems import write_problem
from adapters.whoisxml.single import (
    V1,
    V2,
    V3,
    VERSIONS,
    ApiVersion,
    WhoisVerify,
    read_verify,
    write_verify,
)
from engine.model import (
    Address,
    Checks,
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

AT = datetime(2023, 10, 17, 6, 24, 50, 12_345, tzinfo=UTC)
DATE = "2023-10-17 06:24:50.012 UTC"
MX = (MxHost("mx1.example.com", 10), MxHost("mx2.example.com", 20))
GOOD = Address("support@example.com", "support", "example.com", "example.com")
ALL_SHOWN = frozenset({"dnsCheck", "smtpCheck", "catchAllCheck", "freeCheck", "disposableCheck"})
WORDS = {"true", "false", "null"}


def read_query(query: str = "", version: ApiVersion = V3) -> WhoisVerify:
    return read_verify(version, WireRequest("GET", f"/api/{version.name}", query))


def posted(body: bytes, content_type: str, query: str = "") -> WireRequest:
    return WireRequest("POST", "/api/v3", query, {"content-type": content_type}, body)


def question(version: ApiVersion = V3, **options: Any) -> WhoisVerify:
    return WhoisVerify(
        **{"email": GOOD.raw, "version": version, "shown_checks": ALL_SHOWN, **options},
    )


def answer(
    verdict: Verdict = Verdict.DELIVERABLE,
    reason: Reason = Reason.ACCEPTED_EMAIL,
    address: Address = GOOD,
    **evidence: Any,
) -> Verification:
    return Verification(
        address, verdict, reason, 50, Evidence(**{"mx": MX, **evidence}), Checks(), AT
    )


def reply_of(meaning: Meaning) -> Smtp:
    return Smtp(meaning, Stage.RCPT, connected=True)


def row(v: Verification, version: ApiVersion = V3, **options: Any) -> dict[str, Any]:
    reply = write_verify(question(version, **options), v)
    assert (reply.status, reply.media_type) == (200, "application/json")
    shown: dict[str, Any] = json.loads(reply.body)
    return shown


def conclusion(shown: dict[str, Any]) -> Verdict:
    """The verdict that a client concludes from the checks; a missing check is unknown."""
    if "false" in (shown["formatCheck"], shown.get("dnsCheck"), shown.get("smtpCheck")):
        return Verdict.UNDELIVERABLE
    if shown.get("disposableCheck") == "true":
        return Verdict.RISKY
    if shown.get("smtpCheck", "null") == "null":
        return Verdict.UNKNOWN
    return Verdict.RISKY if shown.get("catchAllCheck") == "true" else Verdict.DELIVERABLE


# -- what a client concludes -------------------------------------------------------------

OUTCOMES = [
    # (verdict, reason, evidence), the conclusion, and smtpCheck, dnsCheck, catchAllCheck
    (
        answer(dns=Dns.MX, smtp=reply_of(Meaning.ACCEPTED), catch_all=False),
        (Verdict.DELIVERABLE, "true", "true", "false"),
    ),
    # the control address got a 4xx
    (
        answer(dns=Dns.IMPLICIT_MX, smtp=reply_of(Meaning.ACCEPTED)),
        (Verdict.DELIVERABLE, "true", "true", "null"),
    ),
    (
        answer(dns=Dns.MX, smtp=reply_of(Meaning.MAILBOX_RATE_LIMITED)),
        (Verdict.DELIVERABLE, "true", "true", "null"),
    ),
    # an upstream gives a verdict without evidence
    (answer(), (Verdict.DELIVERABLE, "true", "true", "null")),
    (
        answer(Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        (Verdict.UNDELIVERABLE, "false", "true", "null"),
    ),
    (
        answer(
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
            dns=Dns.MX,
            smtp=reply_of(Meaning.MAILBOX_NOT_FOUND),
            catch_all=False,
        ),
        (Verdict.UNDELIVERABLE, "false", "true", "false"),
    ),
    # refused at a domain that accepts all other addresses
    (
        answer(
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
            dns=Dns.MX,
            smtp=reply_of(Meaning.REJECTED_UNRECOGNISED),
            catch_all=True,
        ),
        (Verdict.UNDELIVERABLE, "false", "true", "true"),
    ),
    (
        answer(
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
            dns=Dns.MX,
            smtp=reply_of(Meaning.SMTPUTF8_UNSUPPORTED),
        ),
        (Verdict.UNDELIVERABLE, "false", "true", "null"),
    ),
    *(
        (
            answer(Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, dns=dns, mx=()),
            (Verdict.UNDELIVERABLE, "null", "false", "null"),
        )
        for dns in (Dns.NXDOMAIN, Dns.NODATA, Dns.NULL_MX, Dns.UNRESOLVABLE, Dns.NOT_CHECKED)
    ),
    (
        answer(
            Verdict.RISKY,
            Reason.CATCH_ALL,
            dns=Dns.MX,
            smtp=reply_of(Meaning.ACCEPTED),
            catch_all=True,
        ),
        (Verdict.RISKY, "true", "true", "true"),
    ),
    (answer(Verdict.RISKY, Reason.CATCH_ALL), (Verdict.RISKY, "true", "true", "true")),
    (
        answer(Verdict.RISKY, Reason.MAILBOX_FULL, dns=Dns.MX, smtp=reply_of(Meaning.MAILBOX_FULL)),
        (Verdict.UNDELIVERABLE, "false", "true", "null"),
    ),
    (
        answer(
            Verdict.RISKY,
            Reason.DISPOSABLE,
            dns=Dns.MX,
            smtp=reply_of(Meaning.ACCEPTED),
            catch_all=True,
            disposable=True,
        ),
        (Verdict.RISKY, "true", "true", "true"),
    ),
    (
        answer(Verdict.RISKY, Reason.DISPOSABLE, disposable=True),
        (Verdict.RISKY, "null", "null", "null"),
    ),
    # an upstream for which no disposable address is deliverable
    (
        answer(
            Verdict.UNDELIVERABLE,
            Reason.DISPOSABLE,
            dns=Dns.MX,
            smtp=reply_of(Meaning.ACCEPTED),
            disposable=True,
        ),
        (Verdict.UNDELIVERABLE, "false", "true", "null"),
    ),
    # no check can show why it is risky, so that it must not look deliverable
    (
        answer(Verdict.RISKY, Reason.LOW_QUALITY, dns=Dns.MX, smtp=reply_of(Meaning.ACCEPTED)),
        (Verdict.UNKNOWN, "null", "true", "null"),
    ),
    *(
        (
            answer(Verdict.UNKNOWN, reason, dns=Dns.MX, smtp=reply_of(meaning)),
            (Verdict.UNKNOWN, "null", "true", "null"),
        )
        for reason, meaning in (
            (Reason.GREYLISTED, Meaning.GREYLISTED),
            (Reason.UNAVAILABLE_SMTP, Meaning.TEMPORARY),
            (Reason.UNAVAILABLE_SMTP, Meaning.DROPPED),
            (Reason.UNAVAILABLE_SMTP, Meaning.CANNOT_VERIFY),
            (Reason.BLOCKED, Meaning.IP_BLOCKED),
            (Reason.BLOCKED, Meaning.SENDER_REJECTED),
            (Reason.BLOCKED, Meaning.DOMAIN_NOT_SERVED),
            (Reason.INVALID_SMTP, Meaning.NOT_SMTP),
            (Reason.NO_CONNECT, Meaning.UNREACHABLE),
            (Reason.TIMEOUT, Meaning.TIMED_OUT),
        )
    ),
    *(
        (
            answer(Verdict.UNKNOWN, Reason.DNS_ERROR, dns=dns, mx=()),
            (Verdict.UNKNOWN, "null", "null", "null"),
        )
        for dns in (Dns.SERVFAIL, Dns.REFUSED, Dns.TIMEOUT)
    ),
    # the result of an upstream without a reason
    (
        answer(Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR),
        (Verdict.UNKNOWN, "null", "null", "null"),
    ),
]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize(("v", "expected"), OUTCOMES)
def test_a_client_concludes_the_verdict(
    v: Verification, expected: tuple[Verdict, str, str, str], version: ApiVersion
) -> None:
    shown = row(v, version)
    checks = (shown["smtpCheck"], shown["dnsCheck"], shown["catchAllCheck"])
    assert (conclusion(shown), *checks) == expected


READS_AS = {
    Verdict.DELIVERABLE: {Verdict.DELIVERABLE},
    Verdict.UNDELIVERABLE: {Verdict.UNDELIVERABLE},
    # a full mailbox is shown as one that accepts no mail, and a verdict without a check as unknown
    Verdict.RISKY: {Verdict.RISKY, Verdict.UNDELIVERABLE, Verdict.UNKNOWN},
    Verdict.UNKNOWN: {Verdict.UNKNOWN},
}
SELF_EVIDENT = {
    Reason.INVALID_EMAIL: Verdict.UNDELIVERABLE,
    Reason.INVALID_DOMAIN: Verdict.UNDELIVERABLE,
}
"""Reasons that have a check of their own, so that the address is bad with any verdict."""


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("verdict", Verdict)
def test_no_verdict_looks_better_than_it_is(verdict: Verdict, reason: Reason) -> None:
    shown = row(answer(verdict, reason, dns=Dns.MX))
    assert {word for check, word in shown.items() if check.endswith("Check")} <= WORDS
    if reason is Reason.CATCH_ALL and verdict is Verdict.DELIVERABLE:
        assert conclusion(shown) is Verdict.RISKY
    elif reason in SELF_EVIDENT:
        assert conclusion(shown) is SELF_EVIDENT[reason]
    else:
        assert conclusion(shown) in READS_AS[verdict]


def test_a_malformed_address_fails_the_format_check_alone() -> None:
    malformed = Address("foo.bar", "", "", "", "The address has no @ sign.")
    v = answer(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL, malformed, mx=())
    off = dict.fromkeys(ALL_SHOWN, "null")
    audit = {"audit": {"auditCreatedDate": DATE, "auditUpdatedDate": DATE}}
    record = {"emailAddress": "foo.bar", "formatCheck": "false", **off}
    assert row(v, V1) == {**record, "mxRecords": [], **audit}
    assert row(v, V3) == {"username": "", "domain": "", **record, **audit}


def test_an_upstream_may_find_an_address_malformed_that_we_do_not() -> None:
    v = answer(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL)
    assert conclusion(row(v)) is Verdict.UNDELIVERABLE
    assert row(v)["formatCheck"] == "false"


# -- versions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "keys", "mx"),
    [
        (V1, ["emailAddress"], ["mx1.example.com", "mx2.example.com"]),
        (
            V2,
            ["username", "domain", "emailAddress"],
            ["mx1.example.com.", "mx2.example.com."],
        ),
        (V3, ["username", "domain", "emailAddress"], ["mx1.example.com", "mx2.example.com"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_version_has_its_own_record(
    version: ApiVersion, keys: list[str], mx: list[str]
) -> None:
    shown = row(answer(dns=Dns.MX, free=True, catch_all=False), version)
    assert list(shown) == [
        *keys,
        *("formatCheck", "smtpCheck", "dnsCheck", "freeCheck", "disposableCheck"),
        *("catchAllCheck", "mxRecords", "audit"),
    ]
    assert shown["mxRecords"] == mx
    assert (shown["freeCheck"], shown["disposableCheck"]) == ("true", "false")
    assert shown["audit"] == {"auditCreatedDate": DATE, "auditUpdatedDate": DATE}


@pytest.mark.parametrize("check", sorted(ALL_SHOWN))
def test_a_check_that_is_switched_off_is_null_in_v1_and_absent_later(check: str) -> None:
    v = answer(dns=Dns.MX, free=True, disposable=True, catch_all=True)
    shown = ALL_SHOWN - {check}
    full = row(v, V1)
    expected = {**full, check: "null"}
    if check == "dnsCheck":
        expected["mxRecords"] = []
    assert row(v, V1, shown_checks=shown) == expected
    for version in (V2, V3):
        left = row(v, version)
        del left[check]
        if check == "dnsCheck":
            del left["mxRecords"]
        assert row(v, version, shown_checks=shown) == left


@pytest.mark.parametrize(
    ("version", "evidence", "mx"),
    [
        (V1, {"dns": Dns.NXDOMAIN, "mx": ()}, []),
        (V2, {"dns": Dns.NXDOMAIN, "mx": ()}, None),
        (V3, {"dns": Dns.NXDOMAIN, "mx": ()}, None),
        (V1, {"dns": Dns.NULL_MX, "mx": ()}, ["."]),
        (V2, {"dns": Dns.NULL_MX, "mx": ()}, ["."]),
        (V3, {"dns": Dns.NULL_MX, "mx": ()}, ["."]),
    ],
)
def test_a_null_mx_and_no_mail_hosts(
    version: ApiVersion, evidence: dict[str, Any], mx: list[str] | None
) -> None:
    v = answer(Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, **evidence)
    assert row(v, version).get("mxRecords") == mx


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_the_vendors_python_model_reads_every_version(version: ApiVersion) -> None:
    v = answer(Verdict.UNKNOWN, Reason.BLOCKED, dns=Dns.MX, free=True)
    read = Response(write_verify(question(version, shown_checks=ALL_SHOWN - {"freeCheck"}), v).body)
    assert read.email_address == GOOD.raw
    assert (read.format_check, read.dns_check, read.disposable_check) == (True, True, False)
    assert (read.smtp_check, read.catch_all_check, read.free_check) == (None, None, None)
    assert [host.rstrip(".") for host in read.mx_records] == [mx.host for mx in MX]
    assert read.audit.audit_created_date == AT.replace(microsecond=12_000)
    assert read.audit.audit_updated_date == AT.replace(microsecond=12_000)


# -- reading -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "off"),
    [
        ("", set()),
        ("validateDNS=0", {"dnsCheck"}),
        ("validateDns=0", {"dnsCheck"}),
        ("VALIDATEDNS=0", {"dnsCheck"}),
        ("validateSMTP=false", {"smtpCheck"}),
        ("checkCatchAll=FALSE", {"catchAllCheck"}),
        ("checkFree=0&checkDisposable=0", {"freeCheck", "disposableCheck"}),
        ("validateSMTP=1&checkCatchAll=true&checkFree=True", set()),
        ("validateSMTP=&checkCatchAll=no&checkFree=2", set()),
        ("smtpCheck=0&catchAllCheck=0&format=XML&timeout=5", set()),
    ],
)
def test_checks_are_switched_in_any_spelling(query: str, off: set[str]) -> None:
    op = read_query(f"emailAddress=a@example.com&{query}")
    assert op.shown_checks == ALL_SHOWN - off
    assert op.checks.dns == ("dnsCheck" in op.shown_checks)
    assert op.checks.smtp == ("smtpCheck" in op.shown_checks)
    assert op.checks.catch_all == ("catchAllCheck" in op.shown_checks)


@pytest.mark.parametrize(
    ("query", "refresh"),
    [
        ("", False),
        ("_hardRefresh=0", False),
        ("_hardRefresh=1", True),
        ("_hardrefresh=true", True),
        # the name of the option in the Node client, which it does not send
        ("hardRefresh=1", False),
    ],
)
def test_a_hard_refresh_bypasses_the_cache(query: str, refresh: bool) -> None:
    assert read_query(f"emailAddress=a@example.com&{query}").refresh is refresh


@pytest.mark.parametrize(
    ("query", "xml"),
    [
        ("", False),
        ("outputFormat=JSON", False),
        ("outputFormat=json", False),
        ("outputFormat=XML", True),
        ("outputFormat=xml", True),
        ("OUTPUTFORMAT=Xml", True),
        ("outputFormat=yaml", False),
        ("format=XML", False),
    ],
)
def test_json_is_the_default_format(query: str, xml: bool) -> None:
    assert read_query(f"emailAddress=a@example.com&{query}").xml is xml
    assert read_balance(WireRequest("GET", "/", query)).xml is xml


def test_a_request_may_take_two_minutes() -> None:
    assert read_query("emailAddress=a@example.com").wait_s == 120


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("", ProblemKind.MISSING),
        ("emailAddress=", ProblemKind.MISSING),
        ("emailAddress=%20", ProblemKind.MISSING),
        ("email=a@example.com", ProblemKind.MISSING),
    ],
)
def test_an_address_is_required(query: str, kind: ProblemKind) -> None:
    with pytest.raises(Problem) as caught:
        read_query(query)
    assert (caught.value.kind, caught.value.field) == (kind, "emailAddress")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (
            b'{"apiKey":"at_1","emailAddress":" a@example.com ","checkFree":false,'
            b'"validateSMTP":0,"outputFormat":"XML","_hardRefresh":true}',
            "application/json",
        ),
        (
            b"apiKey=at_1&emailAddress=a%40example.com&checkFree=0&validateSMTP=0"
            b"&outputFormat=XML&_hardRefresh=1",
            "application/x-www-form-urlencoded",
        ),
    ],
)
def test_a_post_carries_its_parameters_in_the_body(body: bytes, content_type: str) -> None:
    request = posted(body, content_type, query="apiKey=at_2&emailAddress=b@example.com")
    assert DIALECT.credential.read(request) == "at_1"
    assert read_verify(V3, request) == WhoisVerify(
        email="a@example.com",
        checks=Checks(smtp=False),
        refresh=True,
        wait_s=120,
        version=V3,
        xml=True,
        shown_checks=ALL_SHOWN - {"freeCheck", "smtpCheck"},
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"emailAddress":null}', ProblemKind.MISSING),
        (b'{"emailAddress":""}', ProblemKind.MISSING),
        (b'{"emailAddress":5}', ProblemKind.INVALID),
        (b'{"emailAddress":["a@example.com"]}', ProblemKind.INVALID),
    ],
)
def test_a_body_without_an_address_is_refused(body: bytes, kind: ProblemKind) -> None:
    with pytest.raises(Problem) as caught:
        read_verify(V3, posted(body, "application/json"))
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (WireRequest("GET", "/api/v1", "apiKey=at_1"), "at_1"),
        (WireRequest("GET", "/api/v1", "APIKEY=at_1"), "at_1"),
        (WireRequest("GET", "/api/v1", "apiKey="), None),
        (WireRequest("GET", "/api/v1", ""), None),
        (WireRequest("GET", "/api/v1", "", {"authorization": "Bearer at_1"}), None),
        (posted(b'{"apiKey":5}', "application/json"), None),
    ],
)
def test_the_key_is_a_parameter(request_: WireRequest, key: str | None) -> None:
    assert DIALECT.credential.read(request_) == key


@given(
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", ""]),
    st.binary(max_size=200),
    st.text(max_size=100),
)
def test_any_bytes_are_read_or_refused(content_type: str, body: bytes, query: str) -> None:
    request = posted(body, content_type, query)
    for read in (DIALECT.credential.read, DIALECT.endpoints[0].read, read_balance):
        try:
            read(request)
        except (Problem, UnreadableRequest):
            continue
    write_problem(request, Problem(ProblemKind.UNREADABLE), None)


# -- XML ---------------------------------------------------------------------------------


def test_xml_has_the_members_of_json() -> None:
    v = answer(dns=Dns.MX, catch_all=True)
    reply = write_verify(question(V3, xml=True, shown_checks=ALL_SHOWN - {"freeCheck"}), v)
    assert (reply.status, reply.media_type) == (200, "application/xml; charset=utf-8")
    assert reply.body.decode() == (
        "<EmailVerifyRecord><username>support</username><domain>example.com</domain>"
        "<emailAddress>support@example.com</emailAddress><formatCheck>true</formatCheck>"
        "<smtpCheck>true</smtpCheck><dnsCheck>true</dnsCheck>"
        "<disposableCheck>false</disposableCheck><catchAllCheck>true</catchAllCheck>"
        "<mxRecords><string>mx1.example.com</string><string>mx2.example.com</string></mxRecords>"
        f"<audit><auditCreatedDate>{DATE}</auditCreatedDate>"
        f"<auditUpdatedDate>{DATE}</auditUpdatedDate></audit></EmailVerifyRecord>"
    )


@given(st.text())
def test_any_address_makes_well_formed_xml(text: str) -> None:
    malformed = Address(re.sub("[\ud800-\udfff]", "", text), text, "", "", "It is malformed.")
    v = answer(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL, malformed)
    reply = write_verify(question(V1, xml=True), v)
    # all characters but those that XML excludes
    expected = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", malformed.raw)
    assert (ElementTree.fromstring(reply.body).findtext("emailAddress") or "") == expected  # noqa: S314 - our own text


# -- balance -----------------------------------------------------------------------------


def balance(query: str, credits_left: int | None = 1000) -> WireReply:
    op = read_balance(WireRequest("GET", "/user-service/account-balance", query))
    return write_balance(op, AccountInfo("john@smith.com", UNLIMITED, "2026-05", 3, credits_left))


ENTRY = {
    "product_id": 7,
    "product": {"id": 7, "name": "Email Verification API"},
    "credits": 1000,
}


@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("", [ENTRY]),
        ("productId=", [ENTRY]),
        ("productId=7", [ENTRY]),
        ("productid=7", [ENTRY]),
        ("productId=1", []),
        ("productId=seven", []),
    ],
)
def test_the_balance_of_one_product(query: str, data: list[dict[str, Any]]) -> None:
    assert json.loads(balance(query).body) == {"data": data}


def test_an_unlimited_balance_is_a_large_number() -> None:
    assert json.loads(balance("", None).body)["data"][0]["credits"] == 1_000_000_000


def test_the_balance_as_xml() -> None:
    reply = balance("outputFormat=XML")
    assert reply.media_type == "application/xml; charset=utf-8"
    assert reply.body == (
        b"<response><data><item><product_id>7</product_id><product><id>7</id>"
        b"<name>Email Verification API</name></product><credits>1000</credits></item></data>"
        b"</response>"
    )
    assert read_balance(WireRequest("GET", "/", "outputFormat=XML")) == ShowBalance(
        xml=True, product=""
    )


# -- problems ----------------------------------------------------------------------------


def refused(
    kind: ProblemKind, path: str = "/api/v3", query: str = "", **fields: Any
) -> tuple[WireReply, str]:
    reply = write_problem(WireRequest("GET", path, query), Problem(kind, **fields), None)
    return reply, reply.body.decode()


@pytest.mark.parametrize("kind", ProblemKind)
@pytest.mark.parametrize("path", ["/api/v1", "/api/v2", "/api/v3", "/user-service/x", "/"])
def test_every_problem_is_written_in_every_format(kind: ProblemKind, path: str) -> None:
    reply, body = refused(kind, path, field="emailAddress")
    message = json.loads(body)["ErrorMessage"]
    assert reply.status >= 400
    assert list(message) == ["errorCode", "msg", "Error"]
    assert message["msg"] == message["Error"]
    assert "{" not in message["msg"]
    xml, text = refused(kind, path, "outputFormat=XML", field="emailAddress")
    assert (xml.status, xml.media_type) == (reply.status, "application/xml; charset=utf-8")
    assert text.startswith("<ErrorMessage><errorCode>")
    assert f"<msg>{message['msg']}</msg><Error>{message['msg']}</Error></ErrorMessage>" in text


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        # v1, v2, v3, balance, bulk
        (ProblemKind.NO_CREDENTIAL, (403, 401, 401, 401, 401)),
        (ProblemKind.BAD_CREDENTIAL, (403, 401, 401, 401, 401)),
        (ProblemKind.NO_CREDITS, (403, 403, 403, 403, 402)),
        (ProblemKind.MISSING, (400, 400, 400, 400, 400)),
        (ProblemKind.TOO_FAST, (429, 429, 429, 429, 429)),
    ],
)
def test_the_status_depends_on_the_api(kind: ProblemKind, statuses: tuple[int, ...]) -> None:
    paths = (
        *("/api/v1", "/api/v2", "/api/v3", "/user-service/account-balance"),
        "/api/bevService/request",
    )
    assert tuple(refused(kind, path)[0].status for path in paths) == statuses


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ProblemKind.UNKNOWN_PATH, '{"response":{"error":"Not found."}}'),
        (
            ProblemKind.NO_CREDENTIAL,
            '{"response":{"error":"Authorisation or authentication failed"}}',
        ),
        (ProblemKind.NO_CREDITS, '{"response":{"error":"Insufficient balance"}}'),
        (ProblemKind.INTERNAL, '{"response":{"error":"Internal server error."}}'),
        (ProblemKind.UNREADABLE, '{"response":{"errors":["The request cannot be read."]}}'),
    ],
)
def test_errors_of_the_bulk_api_have_its_envelope(kind: ProblemKind, body: str) -> None:
    assert refused(kind, "/api/bevService/nothing", "outputFormat=XML")[1] == body


def test_errors_have_retry_after_and_allow() -> None:
    fast, _ = refused(ProblemKind.TOO_FAST, retry_after_s=1)
    assert fast.headers == (("Retry-After", "1"),)
    wrong, _ = refused(ProblemKind.WRONG_METHOD, allowed_methods=("GET", "POST"))
    assert wrong.headers == (("Allow", "GET, POST"),)


def test_an_unreadable_body_is_answered_in_json() -> None:
    request = posted(b"{", "application/json", query="outputFormat=XML")
    with pytest.raises(UnreadableRequest):
        DIALECT.credential.read(request)
    reply = write_problem(request, Problem(ProblemKind.UNREADABLE), None)
    assert (reply.status, reply.media_type) == (400, "application/json")


# -- the dialect -------------------------------------------------------------------------


def test_keys_pass_the_bulk_clients_own_check() -> None:
    shape = DIALECT.key_shape
    for prefix in (shape.live_prefix, shape.test_prefix):
        assert re.fullmatch("at_[a-z0-9]{29}", prefix + shape.alphabet[-1] * shape.length)
    assert re.fullmatch("at_[a-z0-9]{29}", DIALECT.sandbox_key)


def test_browsers_may_call_everything_but_the_bulk_api() -> None:
    for endpoint in DIALECT.endpoints:
        assert endpoint.cors is not endpoint.path.startswith("/api/bevService")
