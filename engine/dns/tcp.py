"""One question to a DNS server over TCP, on a connection of its own (RFC 7766)."""

from __future__ import annotations

import asyncio
import contextlib
import random

from engine.dns import reference as dns_reference
from engine.dns import wire as dns_wire
from engine.dns.reference import Response
from engine.dns.terms import DnsFormatError, DnsQuestion, NameServer

MAX_PARSED_AT_ONCE = 4096
"""Octets. A longer response, of up to 64 kB, is parsed in a thread: dnspython takes 0.3 s for one
with 3,000 MX records."""


async def query(
    question: DnsQuestion, server: NameServer, rng: random.Random, *, edns: bool = True
) -> Response:
    """The response to `question`. It has no timeout of its own.

    Raises OSError, EOFError, and DnsFormatError for what is no response or a truncated one.
    """
    message_id = rng.getrandbits(16)
    message = await _exchange(dns_wire.encode_query(question, message_id, edns=edns), server)
    if len(message) > MAX_PARSED_AT_ONCE:
        return await asyncio.to_thread(_parse, message, question, message_id)
    return _parse(message, question, message_id)


async def _exchange(message: bytes, server: NameServer) -> bytes:
    """The message that the server sends next. RFC 1035 section 4.2.2: each after its length."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(message).to_bytes(2, "big") + message)
        await writer.drain()
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _parse(message: bytes, question: DnsQuestion, message_id: int) -> Response:
    if int.from_bytes(message[:2], "big") != message_id:
        raise DnsFormatError(question)
    plain = dns_wire.parse_response(message, question)
    if plain is not None:
        return plain
    response = dns_reference.parse_message(message, question, message_id)
    # Without an answer over TCP there is nothing left to ask: what a truncated response lacks is
    # not known to be absent (RFC 2181 section 9).
    if response is None or dns_reference.is_truncated(response):
        raise DnsFormatError(question)
    if dns_reference.refuses_edns(response):
        return response
    return dns_reference.interpret(response, question)
