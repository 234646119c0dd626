"""TCP connections to mail hosts, from an address of this machine or through a SOCKS5 proxy.

A proxy is given the host's IP address, never its name: names are resolved here, so that private
addresses stay refused and the evidence names the address that was asked. This is the only module
that knows python-socks and its exceptions. It tells a host that cannot be reached from an egress
that is out of order, as far as that can be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket

from python_socks import (
    ProxyConnectionError,
    ProxyError,
    ProxyTimeoutError,
    ProxyType,
)
from python_socks.async_.asyncio import Proxy

from engine.smtp.terms import DEFAULT_EGRESS, EgressConfig, SocksProxy, Target, Trace

PROXY_CHECK_S = 2.0
"""How long a proxy may take to answer the greeting that shows that it is there."""

_GREETING = b"\x05\x02\x00\x02"
"""RFC 1928 section 3: version 5, no authentication or user name and password."""
_HOST_REPLIES = frozenset({4, 5, 6})
"""Replies of RFC 1928 section 6 that are about the host: unreachable, refused, TTL expired. The
others (general failure, ruleset, network unreachable, command or address type not supported) may
be about the proxy itself."""
_CONNECTION_REFUSED = 5
_ADDRESS_TYPE_NOT_SUPPORTED = 8
_IP_BIND_ADDRESS_NO_PORT = 24
"""Of Linux, which alone has it; Python names it from 3.14 on."""
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


class HostUnreachable(Exception):
    """No connection to the host was made. `maybe_egress` if the egress may be why.

    `refused` if the host answered, so that there is a way to it. `no_ipv6` if the egress has no way
    to any IPv6 address.
    """

    def __init__(
        self,
        reason: str,
        *,
        refused: bool = False,
        maybe_egress: bool = False,
        no_ipv6: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused
        self.maybe_egress = maybe_egress
        self.no_ipv6 = no_ipv6


class EgressFault(Exception):
    """The egress itself is out of order: it says nothing about the host.

    `reason` says why, without secrets.
    """

    def __init__(self, egress: str, reason: str) -> None:
        super().__init__(f"egress {egress}: {reason}")
        self.egress = egress
        self.reason = reason


async def connect(
    target: Target, egress: EgressConfig, timeout_s: float, trace: Trace
) -> socket.socket:
    """A connection to `target` by `egress`. Raises HostUnreachable and EgressFault."""
    proxy = egress.proxy
    way = ""
    if proxy is not None:
        way = f" through the proxy {proxy.name}"
    elif egress.source_address:
        way = f" from {egress.source_address}"
    if egress.name != DEFAULT_EGRESS:
        way += f", egress {egress.name}"
    trace(target.host, f"connecting to {target.ip} port {target.port}{way}")
    if proxy is None:
        connection = await _connect_directly(target, egress, timeout_s)
    else:
        connection = await _connect_through(proxy, target, egress, timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def missing_source_address(address: str) -> str:
    """Why connections cannot be bound to `address`; empty if they can."""
    try:
        with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as exc:
        if exc.errno in _NO_SUCH_ADDRESS:
            return f"this machine does not have the address {address}"
        return f"cannot use the address {address}: {exc.strerror or exc}"
    return ""


async def is_proxy_alive(egress: EgressConfig, timeout_s: float = PROXY_CHECK_S) -> bool:
    """Whether the proxy of `egress` answers a greeting, which shows whose fault a time-out was."""
    proxy = egress.proxy
    if proxy is None:
        return True
    local = (egress.source_address, 0) if egress.source_address else None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port, local_addr=local)
            try:
                writer.write(_GREETING)
                return (await reader.readexactly(2))[0] == _GREETING[0]
            finally:
                writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError):
        return False


async def _connect_directly(
    target: Target, egress: EgressConfig, timeout_s: float
) -> socket.socket:
    is_ipv6 = ":" in target.ip
    try:
        connection = socket.socket(_family(target.ip), socket.SOCK_STREAM)
    except OSError as exc:
        raise HostUnreachable(_cannot_connect(exc), no_ipv6=is_ipv6) from exc
    try:
        connection.setblocking(False)
        if egress.source_address:
            _bind(connection, egress)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(connection, (target.ip, target.port))
    except TimeoutError as exc:
        connection.close()
        raise HostUnreachable("no answer") from exc
    except OSError as exc:
        connection.close()
        no_network = exc.errno in _NO_NETWORK
        raise HostUnreachable(
            _cannot_connect(exc),
            refused=isinstance(exc, ConnectionRefusedError),
            maybe_egress=no_network,
            no_ipv6=no_network and is_ipv6,
        ) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def _bind(connection: socket.socket, egress: EgressConfig) -> None:
    # The kernel picks the port as it connects, so that one port serves several hosts.
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        connection.bind((egress.source_address, 0))
    except OSError as exc:
        reason = f"cannot use its source address {egress.source_address}: {exc.strerror or exc}"
        raise EgressFault(egress.name, reason) from exc


async def _connect_through(
    proxy: SocksProxy, target: Target, egress: EgressConfig, timeout_s: float
) -> socket.socket:
    is_ipv6 = ":" in target.ip
    check_s = min(timeout_s, PROXY_CHECK_S)
    client = Proxy(
        ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        proxy.user or None,
        proxy.password or None,
        rdns=False,
    )
    source = {"local_addr": (egress.source_address, 0)} if egress.source_address else {}
    try:
        return await client.connect(target.ip, target.port, timeout_s, **source)
    except ProxyTimeoutError as exc:
        # The proxy may still be trying to reach the host, or be out of order.
        if await is_proxy_alive(egress, check_s):
            raise HostUnreachable("no answer through the proxy", maybe_egress=True) from exc
        raise EgressFault(egress.name, f"the proxy {proxy.name} does not answer") from exc
    except ProxyConnectionError as exc:
        reason = f"cannot connect to the proxy {proxy.name}: {_os_error_text(exc)}"
        raise EgressFault(egress.name, reason) from None
    except ProxyError as exc:
        if exc.error_code is not None:
            raise HostUnreachable(
                f"the proxy cannot connect: {_first_line(exc)}",
                refused=exc.error_code == _CONNECTION_REFUSED,
                maybe_egress=exc.error_code not in _HOST_REPLIES,
                no_ipv6=is_ipv6 and exc.error_code == _ADDRESS_TYPE_NOT_SUPPORTED,
            ) from None
        reason = _first_line(exc)
        if "auth" in reason:  # whatever the host: the proxy does not let us in
            raise EgressFault(egress.name, f"the proxy {proxy.name} refused us: {reason}") from None
    except (OSError, ValueError, IndexError) as exc:
        # The proxy closed the connection, or sent what python-socks does not expect.
        reason = _os_error_text(exc)
    if await is_proxy_alive(egress, check_s):  # `ssh -D` closes where it cannot reach the host
        raise HostUnreachable(f"the proxy failed: {reason}", maybe_egress=True)
    raise EgressFault(egress.name, f"the proxy {proxy.name} failed: {reason}")


def _family(address: str) -> socket.AddressFamily:
    version = ipaddress.ip_address(address).version
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _cannot_connect(exc: OSError) -> str:
    return f"cannot connect: {exc.strerror or exc}"


def _os_error_text(exc: Exception) -> str:
    """The reason, in the words of the system, since python-socks' and asyncio's differ."""
    if isinstance(exc.__cause__, socket.gaierror):
        return (exc.__cause__.strerror or "its name has no address").lower()
    if isinstance(exc, OSError):
        return os.strerror(exc.errno).lower() if exc.errno else type(exc).__name__
    return "it sent something that is not SOCKS5"


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [""])[0].lower()
