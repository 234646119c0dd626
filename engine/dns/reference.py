"""DNS messages by dnspython: unusual names and responses, and the system's configuration.

`engine.dns.wire` reads plain responses itself, and must give the same result as this module does.
Exceptions of dnspython are handled here and nowhere else.
"""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver

from engine.dns.terms import (
    EDNS_PAYLOAD,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    DnsFormatError,
    DnsQuestion,
    LookupStatus,
    NameServer,
    ParsedResponse,
    RecordType,
)

Response = ParsedResponse | dns.message.Message
"""The parsed form of a plain response; dnspython's message for any other."""


def encode_name(name: str) -> bytes:
    """Any name in wire format; DnsFormatError if it cannot exist, as with labels over 63 octets."""
    try:
        return dns.name.from_text(name).to_digestable()
    except (dns.exception.DNSException, UnicodeError) as exc:
        raise DnsFormatError(name) from exc


def parse_message(
    wire: bytes, question: DnsQuestion, message_id: int
) -> dns.message.Message | None:
    """The message as a response to `question`; None if it is not one.

    A malformed datagram counts as forged: the genuine response may still arrive (RFC 5452).
    """
    try:
        message = dns.message.from_wire(wire)
        return message if _make_query(question, message_id).is_response(message) else None
    except Exception:  # Hostile octets may break the parser in any way.
        return None


def system_name_servers() -> tuple[NameServer, ...]:
    """The servers that /etc/resolv.conf names; 127.0.0.1 if it cannot be read."""
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return (NameServer("127.0.0.1"),)
    return tuple(NameServer(str(host), resolver.port) for host in resolver.nameservers)


def is_truncated(response: Response) -> bool:
    return not isinstance(response, ParsedResponse) and bool(response.flags & dns.flags.TC)


def refuses_edns(message: dns.message.Message) -> bool:
    """RFC 6891 section 7: whether to ask again without it."""
    return message.rcode() in _EDNS_REFUSALS


def interpret(message: dns.message.Message, question: DnsQuestion) -> ParsedResponse:
    """The answer in a response. Raises DnsFormatError."""
    try:
        return _interpret(message, question)
    except dns.exception.DNSException as exc:
        raise DnsFormatError from exc


_EDNS_REFUSALS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})
_STATUS_BY_RCODE = {dns.rcode.REFUSED: LookupStatus.REFUSED}


def _make_query(
    question: DnsQuestion, message_id: int | None = None, *, edns: bool = True
) -> dns.message.Message:
    name, _ = dns.name.from_wire(question.name, 0)
    return dns.message.make_query(
        name,
        dns.rdatatype.from_text(question.record_type),
        use_edns=0 if edns else False,
        payload=EDNS_PAYLOAD,
        id=message_id,
    )


def _interpret(response: dns.message.Message, question: DnsQuestion) -> ParsedResponse:
    rcode = response.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return ParsedResponse.failed(_STATUS_BY_RCODE.get(rcode, LookupStatus.SERVFAIL), question)
    assert isinstance(response, dns.message.QueryMessage), "a response has its query's opcode"
    chain = response.resolve_chaining()
    end = chain.canonical_name.to_digestable()
    if chain.answer is not None:
        records = tuple(_record_text(record, question.record_type) for record in chain.answer)
        return ParsedResponse(LookupStatus.OK, records, min(chain.minimum_ttl, MAX_TTL_S), end)
    ttl_s = min(chain.minimum_ttl, MAX_NEGATIVE_TTL_S) if _has_soa(response) else 0
    if rcode == dns.rcode.NXDOMAIN:
        return ParsedResponse(LookupStatus.NXDOMAIN, (), ttl_s, end)
    if end != question.name:
        return ParsedResponse(LookupStatus.NODATA, (), min(chain.minimum_ttl, MAX_TTL_S), end)
    if _is_referral(response):
        return ParsedResponse.failed(LookupStatus.SERVFAIL, question)
    return ParsedResponse(LookupStatus.NODATA, (), ttl_s, end)


def _has_soa(response: dns.message.Message) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)


def _is_referral(response: dns.message.Message) -> bool:
    """RFC 2308 section 2.2: NS records without an SOA record refer to other servers."""
    types = {rrset.rdtype for rrset in response.authority}
    return dns.rdatatype.NS in types and dns.rdatatype.SOA not in types


def _record_text(record: dns.rdata.Rdata, record_type: RecordType) -> str:
    if record_type is RecordType.TXT:
        strings: tuple[bytes, ...] = record.strings  # type: ignore[attr-defined]
        return b"".join(strings).decode("utf-8", "replace")
    return record.to_text()
