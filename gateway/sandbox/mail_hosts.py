"""The mail hosts of a sample's domain, so that it shows their provider as a live answer does."""

from __future__ import annotations

from engine.model import MxHost
from engine.smtp.mail_domains import HOSTS


def mail_hosts(domain: str) -> tuple[MxHost, ...]:
    """The mail hosts of a domain (A-labels, lower case): known ones, or one with a made-up name."""
    names = HOSTS.get(domain) or (f"mx.{domain}",)
    return tuple(MxHost(name, 10 * number) for number, name in enumerate(names, start=1))
