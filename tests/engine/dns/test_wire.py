"""`engine.dns.wire` parses plain messages, and gives the same result as dnspython."""

from __future__ import annotations

from collections.abc import Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.terms import (
    DnsFormatError,
    DnsQuestion,
    LookupStatus,
    ParsedResponse,
    RecordType,
)

ID = 0x1234
ANSWER, AUTHORITY, ADDITIONAL = 1, 2, 3
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
Record = tuple[int, str, int, str, str]
"""Section, owner, TTL, type and data."""


def new_question(name: str, record_type: RecordType) -> DnsQuestion:
    wire = dns_wire.encode_name(name)
    assert wire is not None
    return DnsQuestion(wire, record_type)


def response(
    name: str,
    record_type: str,
    records: Sequence[Record],
    *,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    flags: int = dns.flags.QR | dns.flags.RD | dns.flags.RA,
    tail: bytes = b"",
) -> bytes:
    """A message by dnspython, with compressed names; `records` are in the order of sections."""
    message = dns.message.QueryMessage(id=ID)
    message.flags = dns.flags.Flag(flags | rcode)
    rdtype = dns.rdatatype.from_text(record_type)
    message.question.append(dns.rrset.RRset(dns.name.from_text(name), dns.rdataclass.IN, rdtype))
    for section, owner, ttl_s, type_, data in records:
        message.sections[section].append(dns.rrset.from_text(owner, ttl_s, "IN", type_, data))
    return message.to_wire(max_size=65535) + tail


def reference(wire: bytes, question: DnsQuestion) -> ParsedResponse | str:
    """The answer as dnspython reads it, or why there is none."""
    message = dns_reference.parse_message(wire, question, int.from_bytes(wire[:2], "big"))
    if message is None:
        return "no response"
    if dns_reference.is_truncated(message):
        return "truncated"
    if dns_reference.refuses_edns(message):
        return "EDNS refused"
    try:
        return dns_reference.interpret(message, question)
    except DnsFormatError:
        return "malformed"


SOA = "ns.A.test. host.a.test. 1 3600 600 86400 60"

PLAIN: list[tuple[str, RecordType, list[Record], dns.rcode.Rcode, ParsedResponse]] = [
    (
        "a.test", RecordType.MX,
        [(1, "A.test.", 300, "MX", "10 mx1.A.test."), (1, "a.test.", 300, "MX", "20 MX2.b.test."),
         (2, "a.test.", 60, "NS", "ns.a.test."),
         (3, "mx1.a.test.", 60, "A", "127.0.0.1"), (3, "mx1.a.test.", 60, "AAAA", "::1")],
        dns.rcode.NOERROR,
        # A compressed name has the case of its first occurrence.
        ParsedResponse(LookupStatus.OK, ("10 mx1.a.test.", "20 MX2.b.test."), 300, b"\1a\4test\0"),
    ),
    (
        "a.test", RecordType.MX, [(1, "a.test.", 300, "MX", "0 .")], dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.OK, ("0 .",), 300, b"\1a\4test\0"),
    ),
    (
        "a.test", RecordType.A,
        [(1, "a.test.", 300, "A", "127.0.0.1"), (1, "a.test.", 200, "A", "127.0.0.2"),
         (1, "a.test.", 200, "A", "127.0.0.1")],
        dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.OK, ("127.0.0.1", "127.0.0.2"), 200, b"\1a\4test\0"),
    ),
    (
        "a.test", RecordType.AAAA, [(1, "a.test.", 999_999, "AAAA", "2001:db8:0:0:1::1")],
        dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.OK, ("2001:db8::1:0:0:1",), 86_400, b"\1a\4test\0"),
    ),
    (
        "a.test", RecordType.TXT,
        [(1, "a.test.", 300, "TXT", '"v=spf1 " "-all"'), (1, "a.test.", 300, "TXT", '"\\255"')],
        dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.OK, ("v=spf1 -all", "\ufffd"), 300, b"\1a\4test\0"),
    ),
    (
        "1.2.0.192.in-addr.arpa", RecordType.PTR,
        [(1, "1.2.0.192.in-addr.arpa.", 300, "CNAME", "1.0.2.0.192.in-addr.arpa."),
         (1, "1.0.2.0.192.in-addr.arpa.", 300, "PTR", "Host.test.")],
        dns.rcode.NOERROR,
        ParsedResponse(
            LookupStatus.OK, ("Host.test.",), 300, b"\0011\0010\0012\0010\003192\7in-addr\4arpa\0"
        ),
    ),
    (
        "www.a.test", RecordType.A,
        [(1, "www.a.test.", 50, "CNAME", "WEB.a.test."), (1, "web.a.test.", 300, "A", "127.0.0.1")],
        dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.OK, ("127.0.0.1",), 50, b"\3web\1a\4test\0"),
    ),
    (
        "a.test", RecordType.MX, [(2, "a.test.", 900, "SOA", SOA)], dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.NODATA, (), 60, b"\1a\4test\0"),
    ),
    (
        "www.a.test", RecordType.MX,
        [(1, "www.a.test.", 300, "CNAME", "web.a.test."), (2, "A.test.", 30, "SOA", SOA)],
        dns.rcode.NOERROR,
        ParsedResponse(LookupStatus.NODATA, (), 30, b"\3web\1a\4test\0"),
    ),
    (
        "x.a.test", RecordType.MX, [(2, "test.", 86_400, "SOA", "a. b. 1 2 3 4 86400")],
        dns.rcode.NXDOMAIN, ParsedResponse(LookupStatus.NXDOMAIN, (), 10_800, b"\1x\1a\4test\0"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("tail", [b"", OPT])
@pytest.mark.parametrize(("name", "record_type", "records", "rcode", "expected"), PLAIN)
def test_a_plain_response_is_parsed(
    name: str,
    record_type: RecordType,
    records: list[Record],
    rcode: dns.rcode.Rcode,
    expected: ParsedResponse,
    tail: bytes,
) -> None:
    wire = bytearray(response(name, record_type, records, rcode=rcode, tail=tail))
    wire[11] += bool(tail)  # one more additional record
    question = new_question(name, record_type)
    assert dns_wire.parse_response(bytes(wire), question) == expected
    assert reference(bytes(wire), question) == expected


A_RECORD: Record = (1, "a.test.", 300, "A", "127.0.0.1")
QR = dns.flags.QR


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x12\x34",
        response("a.test", "A", [A_RECORD], flags=0),
        response("a.test", "A", [A_RECORD], flags=QR | dns.flags.TC),
        response("a.test", "A", [A_RECORD], flags=QR | 0x2800),  # an update
        response("a.test", "A", [A_RECORD], rcode=dns.rcode.NXDOMAIN),
        response("a.test", "A", [], rcode=dns.rcode.SERVFAIL),
        response("a.test", "A", [A_RECORD], tail=b"\0"),
        response("a.test", "A", [A_RECORD])[:-1],
        response("b.test", "A", [A_RECORD]),
        response("a.test", "MX", [A_RECORD]),
        response("a.test", "A", []),  # a negative answer without an SOA record
        response("a.test", "A", [(2, "b.test.", 60, "SOA", SOA)]),  # with that of another zone
        response("a.test", "A", [(2, "test.", 60, "NS", "ns.test.")]),  # a referral
        response("a.test", "A", [(1, "a.test.", 300, "CNAME", "a.test.")]),
        response("a.test", "A", [A_RECORD, (1, "a.test.", 300, "TXT", "x")]),
        response("a.test", "A", [A_RECORD, (2, "a.test.", 300, "TXT", "x")]),
        response("a.test", "A", [A_RECORD, (3, "a.test.", 300, "TXT", "x")]),
        response("a.test", "A", [(1, "a.test.", 0x8000_0000, "A", "127.0.0.1")]),
        response("a.test", "A", [A_RECORD])[:-6]
        + b"\0\5\x7f\0\0\1\0",  # an IPv4 address of five octets
    ],
)
def test_any_other_response_is_left_to_dnspython(wire: bytes) -> None:
    assert dns_wire.parse_response(wire, new_question("a.test", RecordType.A)) is None


def test_an_ipv6_address_of_another_size_is_left_to_dnspython() -> None:
    wire = response("a.test", "AAAA", [(1, "a.test.", 300, "AAAA", "::1")])
    shortened = wire[:-18] + b"\0\4" + wire[-4:]
    assert dns_wire.parse_response(shortened, new_question("a.test", RecordType.AAAA)) is None


@pytest.mark.parametrize(
    ("records", "rcode"),
    [
        ([A_RECORD], dns.rcode.NXDOMAIN),
        ([(1, "a.test.", 300, "CNAME", "a.test.")], dns.rcode.NOERROR),
    ],
)
def test_contradictory_responses_are_malformed(
    records: list[Record], rcode: dns.rcode.Rcode
) -> None:
    wire = response("a.test", "A", records, rcode=rcode)
    assert reference(wire, new_question("a.test", RecordType.A)) == "malformed"


@pytest.mark.parametrize(
    "exchange",
    [r"10 a\.b.test.", r"10 \200.test.", r"10 a\ b.test.", "10 a+b.test."],
)
def test_names_that_need_escapes_are_left_to_dnspython(exchange: str) -> None:
    wire = response("a.test", "MX", [(1, "a.test.", 300, "MX", exchange)])
    assert dns_wire.parse_response(wire, new_question("a.test", RecordType.MX)) is None


POINTERS: list[tuple[str, bytes]] = [
    ("to itself", b"\xc0\x18"),
    ("forward", b"\xc0\x30"),
    ("into the header", b"\xc0\x00"),
    ("into the middle of a label", b"\xc0\x0f"),
    ("to a label of its own name", b"\1a\xc0\x18"),
    ("cut off", b"\xc0"),
    ("of a reserved type", b"\x80\x0c"),
]


@pytest.mark.parametrize(
    "owner", [owner for _, owner in POINTERS], ids=[name for name, _ in POINTERS]
)
def test_a_pointer_refers_to_an_earlier_name(owner: bytes) -> None:
    head = response("a.test", "A", [])
    wire = head[:6] + b"\0\1" + head[8:] + owner + b"\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1"
    question = new_question("a.test", RecordType.A)
    assert len(head) == 0x18
    assert dns_wire.parse_response(wire, question) is None


@pytest.mark.parametrize("record_type", list(RecordType))
@pytest.mark.parametrize("edns", [True, False])
def test_a_query_is_that_of_dnspython(record_type: RecordType, edns: bool) -> None:
    expected = dns.message.make_query(
        "a.test", str(record_type), id=ID, use_edns=0 if edns else False, payload=1232
    )
    assert (
        dns_wire.encode_query(new_question("a.test", record_type), ID, edns=edns)
        == expected.to_wire()
    )


@given(st.text(st.sampled_from("aZ0-_.@\\é\n "), max_size=70) | st.text(max_size=10))
def test_a_name_is_encoded_as_by_dnspython(name: str) -> None:
    wire = dns_wire.encode_name(name)
    assert wire is None or wire == dns_reference.encode_name(name)


@pytest.mark.parametrize(
    "name", ["a.test", "_dmarc.x-1.test", "a" * 63 + ".test", ".".join(["a" * 49] * 5) + ".tst"]
)
def test_a_plain_name_is_encoded(name: str) -> None:
    assert dns_wire.encode_name(name) == dns_reference.encode_name(name)


@pytest.mark.parametrize(
    "name", ["a" * 64 + ".test", "a..test", ".".join(["a" * 49] * 5) + ".tests"]
)
def test_a_name_that_cannot_exist_is_not_encoded(name: str) -> None:
    assert dns_wire.encode_name(name) is None
    with pytest.raises(DnsFormatError):
        dns_reference.encode_name(name)


# -- random messages, compared with dnspython -------------------------------------------------

NAMES = ["a.test.", "A.Test.", "www.a.test.", "b.a.test.", "test.", "b.test.", ".", r"x\.y.a.test."]
DATA = {
    "A": ["127.0.0.1", "127.0.0.2", "192.0.2.1"],
    "AAAA": ["::", "::1", "::ffff:192.0.2.1", "::192.0.2.1", "2001:db8:0:1:0:0:0:1", "1:0:0:2::"],
    "MX": [f"{preference} {name}" for preference in (0, 10, 65535) for name in NAMES],
    "TXT": ['""', '"v=spf1 -all"', '"a" "\\195\\169" "\\255"', '"' + "x" * 255 + '" "y"'],
    "PTR": NAMES,
    "CNAME": NAMES,
    "NS": NAMES,
    "SOA": [SOA, ". . 0 0 0 0 0", "a.test. b. 1 2 3 4 4294967295"],
    "SRV": ["1 2 25 mx.a.test."],
    "DNAME": NAMES,
    "HINFO": ['"x" "y"'],
}


TTLS = st.sampled_from([60, 0, 300, 90_000, 0x7FFF_FFFF])


@st.composite
def records(draw: st.DrawFn, section: int, owner: str, *types: str) -> Record:
    record_type = draw(st.sampled_from(types or sorted(DATA)))
    return section, owner, draw(TTLS), record_type, draw(st.sampled_from(DATA[record_type]))


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, DnsQuestion]:
    """Responses of CNAME, other and SOA records as servers send them, often with an oddity."""
    record_type = draw(st.sampled_from(list(RecordType)))
    owners = st.sampled_from(["www.a.test.", "a.test.", "b.a.test."])
    chain = draw(st.lists(owners, min_size=1, max_size=3, unique=True))
    chosen = [
        (ANSWER, owner, draw(TTLS), "CNAME", target)
        for owner, target in zip(chain, [name.upper() for name in chain[1:]], strict=False)
    ]
    chosen += draw(st.lists(records(ANSWER, chain[-1], str(record_type)), max_size=3))
    chosen += draw(st.lists(records(AUTHORITY, "A.test.", "SOA"), max_size=1))
    chosen += draw(st.lists(records(AUTHORITY, "test.", "NS"), max_size=1))
    chosen += draw(st.lists(records(ADDITIONAL, "b.test.", "A", "AAAA"), max_size=2))
    if draw(st.booleans()):
        section = draw(st.sampled_from([ANSWER, AUTHORITY, ADDITIONAL]))
        owner = draw(st.sampled_from(NAMES))
        usual = [str(record_type), "CNAME", "NS", "SOA"]
        chosen.append(draw(records(section, owner, *usual) | records(section, owner)))
    rcode = draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN]))
    name = chain[0].rstrip(".")
    # Some servers change the case of the question.
    wire = response(draw(st.sampled_from([name, name.upper()])), record_type, chosen, rcode=rcode)
    if draw(st.booleans()):
        extended_rcode = OPT[:5] + b"\1" + OPT[6:]
        opt = draw(st.sampled_from([OPT, OPT, extended_rcode, OPT[:-1] + b"\4\0\n\0\0"]))
        wire = wire[:11] + bytes((wire[11] + 1,)) + wire[12:] + opt
    return wire, new_question(name, record_type)


def assert_agreement(wire: bytes, question: DnsQuestion) -> None:
    parsed = dns_wire.parse_response(wire, question)
    if parsed is not None:
        assert parsed == reference(wire, question)


@settings(max_examples=400)
@given(messages())
def test_responses_are_parsed_as_by_dnspython(case: tuple[bytes, DnsQuestion]) -> None:
    assert_agreement(*case)


@settings(max_examples=400)
@given(messages(), st.data())
def test_damaged_responses_are_parsed_as_by_dnspython(
    case: tuple[bytes, DnsQuestion], data: st.DataObject
) -> None:
    wire, question = case
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire)))
        cut = data.draw(st.integers(0, 3))
        # Octets that are lengths, pointers or small counts break a parser most often.
        octets = st.lists(st.sampled_from([*range(17), 41, 63, 64, 0xC0, 0xC1, 0xFF]), max_size=3)
        wire = wire[:at] + bytes(data.draw(octets)) + wire[at + cut :]
    assert_agreement(wire, question)


@given(st.binary(max_size=200), st.sampled_from(list(RecordType)))
def test_noise_is_parsed_as_by_dnspython(noise: bytes, record_type: RecordType) -> None:
    question = new_question("a.test", record_type)
    assert_agreement(noise, question)
    assert_agreement(response("a.test", record_type, []) + noise, question)


def test_as_many_pointers_are_followed_as_by_dnspython() -> None:
    """Each of 19 names points to the one before; a name may have 16 pointers."""
    wire = bytearray(response("a.test", "PTR", []))
    last = 12
    for count in range(1, 20):
        at = len(wire)
        wire += b"\1x" + (0xC000 | last).to_bytes(2, "big") + b"\0\14\0\1\0\0\0\1\0\2\xc0\x0c"
        wire[7] = count
        last = at
        question = new_question("a.test", RecordType.PTR)
        assert dns_wire.parse_response(bytes(wire), question) is None  # It has no SOA record.
        positive = bytes(wire) + b"\xc0\x0c\0\14\0\1\0\0\0\1\0\2\xc0\x0c"
        positive = positive[:7] + bytes((count + 1,)) + positive[8:]
        is_parsed = dns_wire.parse_response(positive, question) is not None
        assert is_parsed == isinstance(reference(positive, question), ParsedResponse)
        assert is_parsed == (count <= 16)
