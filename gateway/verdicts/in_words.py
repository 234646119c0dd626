"""The evidence of a verification in words, for people."""

from __future__ import annotations

from collections.abc import Callable

from engine.model import Dns, Evidence, Meaning, Smtp
from engine.smtp.terms import DEFAULT_EGRESS

NOT_QUERIED = "not queried"
NOT_KNOWN = "not known"
_MAX_HOSTS_SHOWN = 2
"""Mail hosts in a short report."""

DNS_WORDS: dict[Dns, str] = {
    Dns.NOT_CHECKED: NOT_QUERIED,
    Dns.MX: "mail exchangers",
    Dns.IMPLICIT_MX: "no MX record; the address record stands in for it",
    Dns.NULL_MX: "a null MX record: the domain accepts no mail",
    Dns.NXDOMAIN: "the domain does not exist",
    Dns.NODATA: "the domain has neither MX nor address records",
    Dns.UNRESOLVABLE: "MX records, none of whose hosts has an address",
    Dns.SERVFAIL: "the domain's name servers fail (SERVFAIL)",
    Dns.REFUSED: "the resolver refuses to answer (REFUSED)",
    Dns.TIMEOUT: "no answer in time",
}

_UNNAMED = (None, DEFAULT_EGRESS)


def _kind(e: Evidence) -> str:
    kinds = {
        "disposable domain": e.disposable,
        "free provider": e.free,
        "role account": e.role,
        "no-reply address": e.no_reply,
        "spam trap": e.spamtrap,
    }
    return ", ".join(kind for kind, true in kinds.items() if true)


def spelling(e: Evidence) -> str:
    return f"did you mean {e.did_you_mean}?" if e.did_you_mean else ""


def _owner(e: Evidence) -> str:
    if e.person is None or not e.person.full:
        return ""
    gender = f", {e.person.gender}" if e.person.gender else ""
    return f"perhaps {e.person.full}{gender} (accuracy {e.person.accuracy:.2f})"


def _dns(e: Evidence) -> str:
    return DNS_WORDS[e.dns]


def dns_with_hosts(e: Evidence) -> str:
    hosts = ", ".join(mx.host for mx in e.mx[:_MAX_HOSTS_SHOWN])
    more = len(e.mx) - _MAX_HOSTS_SHOWN
    return ": ".join(filter(None, (_dns(e), hosts))) + (f" and {more} more" if more > 0 else "")


def _provider(e: Evidence) -> str:
    return e.provider or ""


def _policies(e: Evidence) -> str:
    found = (("SPF", e.spf), ("DMARC", e.dmarc))
    return ", ".join(name if there else f"no {name}" for name, there in found if there is not None)


def _smtp(e: Evidence) -> str:
    return NOT_QUERIED if e.smtp is None else _format_smtp(e.smtp)


_PREPOSITIONS = {
    Meaning.UNREACHABLE: "to",
    Meaning.NOT_ALLOWED: "to",
    Meaning.TIMED_OUT: "with",
}
"""How a host stands to what it did not do itself; others do by themselves what is said of them."""


def _format_smtp(smtp: Smtp) -> str:
    words = [smtp.meaning.replace("_", " "), f"at {smtp.stage.upper()}"]
    if smtp.host:
        words.append(f"{_PREPOSITIONS.get(smtp.meaning, 'by')} {smtp.host}")
    if smtp.ip:
        words.append(f"[{smtp.ip}]")
    text = smtp.text or smtp.enhanced or ""  # the text begins with the enhanced code
    reply = f"{smtp.code} {text}".rstrip() if smtp.code else text
    extras = [
        f"after {smtp.latency_ms} ms" if smtp.latency_ms is not None else "",
        f"by the egress {smtp.egress}" if smtp.connected and smtp.egress not in _UNNAMED else "",
        "over TLS" if smtp.tls else "",
        f"named list: {smtp.block_list}" if smtp.block_list else "",
        f"asks to wait {smtp.retry_after_s} s" if smtp.retry_after_s is not None else "",
    ]
    suffix = f": {reply}" if reply else ""
    return " ".join(words) + suffix + "".join(f"; {extra}" for extra in extras if extra)


def _catch_all(e: Evidence) -> str:
    return {
        True: "yes: a made-up mailbox was accepted too",
        False: "no: a made-up mailbox was refused",
        None: NOT_KNOWN,
    }[e.catch_all]


def _mailbox(e: Evidence) -> str:
    states = {"full": e.mailbox_full, "disabled": e.mailbox_disabled}
    return ", ".join(state for state, true in states.items() if true)


EVIDENCE_ROWS: tuple[tuple[str, Callable[[Evidence], str]], ...] = (
    ("kind", _kind),
    ("spelling", spelling),
    ("owner", _owner),
    ("dns", _dns),
    ("provider", _provider),
    ("policies", _policies),
    ("smtp", _smtp),
    ("catch-all", _catch_all),
    ("mailbox", _mailbox),
)
