"""The loopback mail testbed as the tests see it: `tests/testbed`, started by `make testbed`.

VERIPLEX_TESTBED may name the folder of another one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode

from engine.probe import ProbeConfig

FOLDER = Path(os.environ.get("VERIPLEX_TESTBED") or Path(__file__).parent / "testbed")
_DESCRIPTION: dict[str, Any] = json.loads((FOLDER / "scenarios.json").read_text("utf-8"))

SCENARIOS: list[dict[str, Any]] = _DESCRIPTION["scenarios"]
"""An address each, with its verdict and reason; see the testbed's README."""

DNS_SERVER: str = _DESCRIPTION["dns_server"].split()[0]
"""As HOST:PORT."""

CONFIG = ProbeConfig(
    helo=_DESCRIPTION["helo"],
    mail_from=_DESCRIPTION["sender"],
    dns_servers=(DNS_SERVER,),
    allow_private_networks=True,
)


def is_up() -> bool:
    """Whether the testbed's DNS server answers for its zone; by TCP, which is refused at once."""
    host, port = DNS_SERVER.rsplit(":", 1)
    try:
        reply = dns.query.tcp(dns.message.make_query("test.", "SOA"), host, 1.0, int(port))
    except (OSError, dns.exception.DNSException):
        return False
    return reply.rcode() == dns.rcode.NOERROR and bool(reply.answer)
