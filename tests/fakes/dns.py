"""A DNS server on loopback that answers from a zone table, or with a fault.

    zone = {"a.test": {"MX": ["10 mx.a.test."]}, "mx.a.test": {"A": ["127.0.0.1"]}}
    async with fake_dns(zone) as dns:
        ... dns.address ... dns.queries ...

A name that is not in the table gets NXDOMAIN; one without records of the type gets NODATA.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset


class Fault(Enum):
    """A response other than the records of the zone."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    SILENT = "silent"
    UDP_SILENT = "no response over UDP"
    TRUNCATED = "an empty response with the truncation bit over UDP"
    ALWAYS_TRUNCATED = "an empty response with the truncation bit"
    REFERRAL = "other name servers and no answer"
    GARBAGE = "octets that are no DNS message"
    NO_EDNS = "FORMERR to a query with EDNS"
    DROPS_EDNS = "no response to a query with EDNS"
    NO_SOA = "a negative answer without an SOA record"


SERVFAIL = Fault.SERVFAIL
REFUSED = Fault.REFUSED
SILENT = Fault.SILENT
UDP_SILENT = Fault.UDP_SILENT
TRUNCATED = Fault.TRUNCATED

Records = Mapping[str, list[str]]
Zone = Mapping[str, Records | Fault]


@dataclass(slots=True)
class FakeDns:
    """The running server."""

    zone: Zone
    faults: Mapping[str, Fault] = field(default_factory=dict)
    """The fault of a name, or of `name TYPE`, that has records in the zone."""
    ttl_s: int = 300
    negative_ttl_s: int = 60
    port: int = 0
    queries: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, type and transport of each query, in order."""
    tcp: asyncio.Server | None = None
    """Closed to refuse TCP."""
    hold: asyncio.Event | None = None
    """The event that responses wait for."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first query."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def answer(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.queries.append((name, kind, transport))
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        entry = self.zone.get(name)
        fault = self.faults.get(name) or self.faults.get(f"{name} {kind}")
        if isinstance(entry, Fault):
            fault = entry
        response = dns.message.make_response(query)
        match fault:
            case Fault.SILENT:
                return None
            case Fault.UDP_SILENT if transport == "udp":
                return None
            case Fault.GARBAGE:
                return b"\x00garbage"
            case Fault.DROPS_EDNS if query.edns >= 0:
                return None
            case Fault.NO_EDNS if query.edns >= 0:
                response.set_rcode(dns.rcode.FORMERR)
                return response.to_wire()
            case Fault.SERVFAIL:
                response.set_rcode(dns.rcode.SERVFAIL)
                return response.to_wire()
            case Fault.REFUSED:
                response.set_rcode(dns.rcode.REFUSED)
                return response.to_wire()
            case Fault.REFERRAL:
                response.authority.append(
                    dns.rrset.from_text(name + ".", 60, "IN", "NS", "ns.test.")
                )
                return response.to_wire()
            case Fault.TRUNCATED if transport == "udp":
                return _truncated(query)
            case Fault.ALWAYS_TRUNCATED:
                return _truncated(query)
        records = entry if isinstance(entry, Mapping) else None
        self._fill(response, name, kind, records)
        if not response.answer and fault is not Fault.NO_SOA:
            soa = f"ns.test. host.test. 1 3600 600 86400 {self.negative_ttl_s}"
            response.authority.append(dns.rrset.from_text("test.", 900, "IN", "SOA", soa))
        wire = response.to_wire(max_size=65535)
        if transport == "udp" and len(wire) > max(query.payload, 512):
            return _truncated(query)
        return wire

    def _fill(
        self, response: dns.message.Message, name: str, kind: str, records: Records | None
    ) -> None:
        response.flags |= dns.flags.AA | dns.flags.RA
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return
        for found in (kind, "CNAME"):
            if records.get(found):
                rrset = dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", found, *records[found])
                response.answer.append(rrset)
                return


def _truncated(query: dns.message.Message) -> bytes:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: FakeDns) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.ensure_future(self._reply(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, data: bytes, addr: tuple[str, int]) -> None:
        wire = await self._server.answer(data, "udp")
        if wire is not None and self._transport is not None:
            self._transport.sendto(wire, addr)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()


@contextlib.asynccontextmanager
async def fake_dns(
    zone: Zone,
    *,
    faults: Mapping[str, Fault] | None = None,
    ttl_s: int = 300,
    negative_ttl_s: int = 60,
    hold: asyncio.Event | None = None,
    port: int = 0,
) -> AsyncIterator[FakeDns]:
    """A server for `zone`, over UDP and TCP on one port of 127.0.0.1, by default a free one."""
    server = FakeDns(zone, faults or {}, ttl_s, negative_ttl_s, hold=hold)
    loop = asyncio.get_running_loop()
    writers: set[asyncio.StreamWriter] = set()

    async def serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            wire = await server.answer(await reader.readexactly(size), "tcp")
            if wire is None:
                await reader.read()
            else:
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    udp_socket, tcp_socket = _pair_of_sockets(port)
    server.port = udp_socket.getsockname()[1]
    transport, udp = await loop.create_datagram_endpoint(lambda: _Udp(server), sock=udp_socket)
    server.tcp = tcp = await asyncio.start_server(serve_tcp, sock=tcp_socket)
    try:
        yield server
    finally:
        tcp.close()
        for writer in list(writers):
            writer.transport.abort()
        await tcp.wait_closed()
        await udp.stop()
        transport.close()
        await asyncio.sleep(0)


def _pair_of_sockets(port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket with the same port; a free one for 0."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", port))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(("127.0.0.1", udp.getsockname()[1]))
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp
    raise RuntimeError("no port is free for both UDP and TCP")
