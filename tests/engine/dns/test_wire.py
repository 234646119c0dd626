"""Whatever `dns_wire` reads comes to what dnspython makes of it; what is usual, it does read."""

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


def question(name: str, kind: RecordType) -> DnsQuestion:
    wire = dns_wire.encode_name(name)
    assert wire is not None
    return DnsQuestion(wire, kind)


def response(
    name: str,
    kind: str,
    records: Sequence[Record],
    *,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    flags: int = dns.flags.QR | dns.flags.RD | dns.flags.RA,
    tail: bytes = b"",
) -> bytes:
    """As dnspython renders it, names compressed; `records` in the order of their sections."""
    made = dns.message.QueryMessage(id=ID)
    made.flags = dns.flags.Flag(flags | rcode)
    of_kind = dns.rdatatype.from_text(kind)
    made.question.append(dns.rrset.RRset(dns.name.from_text(name), dns.rdataclass.IN, of_kind))
    for section, owner, ttl_s, type_, data in records:
        made.sections[section].append(dns.rrset.from_text(owner, ttl_s, "IN", type_, data))
    return made.to_wire(max_size=65535) + tail


def reference(wire: bytes, asked: DnsQuestion) -> ParsedResponse | str:
    """What dnspython makes of it."""
    message = dns_reference.parse_datagram(wire, asked, int.from_bytes(wire[:2], "big"))
    if message is None:
        return "no response"
    if dns_reference.is_truncated(message):
        return "truncated"
    if dns_reference.refuses_edns(message):
        return "EDNS refused"
    try:
        return dns_reference.interpret(message, asked)
    except DnsFormatError:
        return "unreadable"


SOA = "ns.A.test. host.a.test. 1 3600 600 86400 60"

USUAL: list[tuple[str, RecordType, list[Record], dns.rcode.Rcode, ParsedResponse]] = [
    (
        "a.test", RecordType.MX,
        [(1, "A.test.", 300, "MX", "10 mx1.A.test."), (1, "a.test.", 300, "MX", "20 MX2.b.test."),
         (2, "a.test.", 60, "NS", "ns.a.test."),
         (3, "mx1.a.test.", 60, "A", "127.0.0.1"), (3, "mx1.a.test.", 60, "AAAA", "::1")],
        dns.rcode.NOERROR,
        # Compressed, a name takes the case of where it stood first.
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
@pytest.mark.parametrize(("name", "kind", "records", "rcode", "expected"), USUAL)
def test_usual_answers_are_read(
    name: str,
    kind: RecordType,
    records: list[Record],
    rcode: dns.rcode.Rcode,
    expected: ParsedResponse,
    tail: bytes,
) -> None:
    wire = bytearray(response(name, kind, records, rcode=rcode, tail=tail))
    wire[11] += bool(tail)  # one additional record more
    asked = question(name, kind)
    assert dns_wire.parse_response(bytes(wire), asked) == expected
    assert reference(bytes(wire), asked) == expected


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
        response("a.test", "A", []),  # a no without an SOA
        response("a.test", "A", [(2, "b.test.", 60, "SOA", SOA)]),  # or with another zone's
        response("a.test", "A", [(2, "test.", 60, "NS", "ns.test.")]),  # a referral
        response("a.test", "A", [(1, "a.test.", 300, "CNAME", "a.test.")]),
        response("a.test", "A", [A_RECORD, (1, "a.test.", 300, "TXT", "x")]),
        response("a.test", "A", [A_RECORD, (2, "a.test.", 300, "TXT", "x")]),
        response("a.test", "A", [A_RECORD, (3, "a.test.", 300, "TXT", "x")]),
        response("a.test", "A", [(1, "a.test.", 0x8000_0000, "A", "127.0.0.1")]),
        response("a.test", "A", [A_RECORD])[:-6] + b"\0\5\x7f\0\0\1\0",  # five octets of address
    ],
)
def test_what_is_not_plain_is_left_to_dnspython(wire: bytes) -> None:
    assert dns_wire.parse_response(wire, question("a.test", RecordType.A)) is None


def test_an_address_of_another_size_is_left_to_dnspython() -> None:
    wire = response("a.test", "AAAA", [(1, "a.test.", 300, "AAAA", "::1")])
    short = wire[:-18] + b"\0\4" + wire[-4:]
    assert dns_wire.parse_response(short, question("a.test", RecordType.AAAA)) is None


@pytest.mark.parametrize(
    ("records", "rcode"),
    [
        ([A_RECORD], dns.rcode.NXDOMAIN),
        ([(1, "a.test.", 300, "CNAME", "a.test.")], dns.rcode.NOERROR),
    ],
)
def test_contradictions_are_unreadable(records: list[Record], rcode: dns.rcode.Rcode) -> None:
    wire = response("a.test", "A", records, rcode=rcode)
    assert reference(wire, question("a.test", RecordType.A)) == "unreadable"


@pytest.mark.parametrize(
    "exchange",
    [r"10 a\.b.test.", r"10 \200.test.", r"10 a\ b.test.", "10 a+b.test."],
)
def test_names_that_are_written_with_escapes_are_left_to_dnspython(exchange: str) -> None:
    wire = response("a.test", "MX", [(1, "a.test.", 300, "MX", exchange)])
    assert dns_wire.parse_response(wire, question("a.test", RecordType.MX)) is None


POINTERS: list[tuple[str, bytes]] = [
    ("to itself", b"\xc0\x18"),
    ("forward", b"\xc0\x30"),
    ("into the header", b"\xc0\x00"),
    ("into the middle of a label", b"\xc0\x0f"),
    ("to the label that it ends", b"\1a\xc0\x18"),
    ("cut off", b"\xc0"),
    ("of a kind that there is not", b"\x80\x0c"),
]


@pytest.mark.parametrize("owner", [owner for _, owner in POINTERS], ids=[k for k, _ in POINTERS])
def test_pointers_lead_to_names_that_stand_before_them(owner: bytes) -> None:
    head = response("a.test", "A", [])
    wire = head[:6] + b"\0\1" + head[8:] + owner + b"\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1"
    asked = question("a.test", RecordType.A)
    assert len(head) == 0x18
    assert dns_wire.parse_response(wire, asked) is None


@pytest.mark.parametrize("kind", list(RecordType))
@pytest.mark.parametrize("edns", [True, False])
def test_questions_are_those_of_dnspython(kind: RecordType, edns: bool) -> None:
    theirs = dns.message.make_query(
        "a.test", str(kind), id=ID, use_edns=0 if edns else False, payload=1232
    )
    assert dns_wire.encode_query(question("a.test", kind), ID, edns=edns) == theirs.to_wire()


@given(st.text(st.sampled_from("aZ0-_.@\\é\n "), max_size=70) | st.text(max_size=10))
def test_a_name_is_written_as_dnspython_writes_it(name: str) -> None:
    wire = dns_wire.encode_name(name)
    assert wire is None or wire == dns_reference.encode_name(name)


@pytest.mark.parametrize(
    "name", ["a.test", "_dmarc.x-1.test", "a" * 63 + ".test", ".".join(["a" * 49] * 5) + ".tst"]
)
def test_usual_names_are_written(name: str) -> None:
    assert dns_wire.encode_name(name) == dns_reference.encode_name(name)


@pytest.mark.parametrize(
    "name", ["a" * 64 + ".test", "a..test", ".".join(["a" * 49] * 5) + ".tests"]
)
def test_there_are_no_such_names(name: str) -> None:
    assert dns_wire.encode_name(name) is None
    with pytest.raises(DnsFormatError):
        dns_reference.encode_name(name)


# -- against dnspython, whatever the message ------------------------------------------------

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
def records(draw: st.DrawFn, section: int, owner: str, *kinds: str) -> Record:
    kind = draw(st.sampled_from(kinds or sorted(DATA)))
    return section, owner, draw(TTLS), kind, draw(st.sampled_from(DATA[kind]))


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, DnsQuestion]:
    """Aliases, then records or an SOA, as servers write them, and often something odd."""
    kind = draw(st.sampled_from(list(RecordType)))
    way = draw(st.lists(st.sampled_from(["www.a.test.", "a.test.", "b.a.test."]),
                        min_size=1, max_size=3, unique=True))  # fmt: skip
    found = [
        (ANSWER, owner, draw(TTLS), "CNAME", target)
        for owner, target in zip(way, [name.upper() for name in way[1:]], strict=False)
    ]
    found += draw(st.lists(records(ANSWER, way[-1], str(kind)), max_size=3))
    found += draw(st.lists(records(AUTHORITY, "A.test.", "SOA"), max_size=1))
    found += draw(st.lists(records(AUTHORITY, "test.", "NS"), max_size=1))
    found += draw(st.lists(records(ADDITIONAL, "b.test.", "A", "AAAA"), max_size=2))
    if draw(st.booleans()):
        section = draw(st.sampled_from([ANSWER, AUTHORITY, ADDITIONAL]))
        owner = draw(st.sampled_from(NAMES))
        usual = [str(kind), "CNAME", "NS", "SOA"]
        found.append(draw(records(section, owner, *usual) | records(section, owner)))
    rcode = draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN]))
    name = way[0].rstrip(".")
    # The question comes back in the case of those who answer.
    wire = response(draw(st.sampled_from([name, name.upper()])), kind, found, rcode=rcode)
    if draw(st.booleans()):
        odd = OPT[:5] + b"\1" + OPT[6:]  # the upper half of the response code
        opt = draw(st.sampled_from([OPT, OPT, odd, OPT[:-1] + b"\4\0\n\0\0"]))
        wire = wire[:11] + bytes((wire[11] + 1,)) + wire[12:] + opt
    return wire, question(name, kind)


def agree(wire: bytes, asked: DnsQuestion) -> None:
    ours = dns_wire.parse_response(wire, asked)
    if ours is not None:
        assert ours == reference(wire, asked)


@settings(max_examples=400)
@given(messages())
def test_answers_come_to_what_dnspython_makes_of_them(case: tuple[bytes, DnsQuestion]) -> None:
    agree(*case)


@settings(max_examples=400)
@given(messages(), st.data())
def test_damaged_answers_too(case: tuple[bytes, DnsQuestion], data: st.DataObject) -> None:
    wire, asked = case
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire)))
        cut = data.draw(st.integers(0, 3))
        # Lengths, pointers and small counts are what a reader stumbles over.
        octets = st.lists(st.sampled_from([*range(17), 41, 63, 64, 0xC0, 0xC1, 0xFF]), max_size=3)
        wire = wire[:at] + bytes(data.draw(octets)) + wire[at + cut :]
    agree(wire, asked)


@given(st.binary(max_size=200), st.sampled_from(list(RecordType)))
def test_noise_is_no_answer(noise: bytes, kind: RecordType) -> None:
    asked = question("a.test", kind)
    agree(noise, asked)
    agree(response("a.test", kind, []) + noise, asked)


def test_chains_of_pointers_end_where_dnspythons_do() -> None:
    """17 labels, each with a pointer to the one before: one hop more than is followed."""
    wire = bytearray(response("a.test", "PTR", []))
    last = 12
    for count in range(1, 20):
        at = len(wire)
        wire += b"\1x" + (0xC000 | last).to_bytes(2, "big") + b"\0\14\0\1\0\0\0\1\0\2\xc0\x0c"
        wire[7] = count
        last = at
        asked = question("a.test", RecordType.PTR)
        assert dns_wire.parse_response(bytes(wire), asked) is None  # it has no SOA
        whole = bytes(wire) + b"\xc0\x0c\0\14\0\1\0\0\0\1\0\2\xc0\x0c"
        whole = whole[:7] + bytes((count + 1,)) + whole[8:]
        read = dns_wire.parse_response(whole, asked)
        assert (read is not None) == isinstance(reference(whole, asked), ParsedResponse)
        assert (read is not None) == (count <= 16)
