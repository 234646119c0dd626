"""Whether SPF allows an address to send mail for a domain: check_host of RFC 7208.

The doctor uses it for our own address. docs/performance.md says why no library does this.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from engine.dns.policies import is_spf_record
from engine.dns.resolver import Resolver
from engine.dns.targets import IPAddress
from engine.dns.terms import DnsAnswer, LookupStatus, RecordType

MAX_LOOKUPS = 10
"""Terms that query DNS, in total (RFC 7208 section 4.6.4)."""
MAX_VOID_LOOKUPS = 2
"""Queries without records, in total (same section)."""
MAX_NAMES = 10
"""Hosts looked up for one `mx` or `ptr` (same section)."""
MAX_DOMAIN = 253
MAX_EXPLANATION = 500
"""Characters of what is said of a record; a term may be as long as a DNS message."""


class SpfResult(StrEnum):
    """RFC 7208 section 2.6."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class SpfCheck:
    """The result of SPF."""

    result: SpfResult
    explanation: str
    """The term that matched, or the error."""
    lookups: int = 0
    """Terms that queried DNS; more than `MAX_LOOKUPS` is an error."""


class _PermanentError(Exception):
    """The record is not valid."""


class _TemporaryError(Exception):
    """DNS did not answer."""


async def check_host(
    resolver: Resolver,
    ip: str,
    sender: str,
    helo: str,
    clock: Callable[[], float] = time.time,
) -> SpfCheck:
    """The result for mail from `ip` with MAIL FROM `sender`, or HELO's name if that is empty.

    `clock` is Unix time in seconds, for the macro `t`. Raises ValueError if `ip` is no address.
    """
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if "@" not in sender:
        sender = f"postmaster@{sender or helo}"  # section 2.4
    local, _, domain = sender.rpartition("@")
    check = _Evaluation(resolver, address, f"{local or 'postmaster'}@{domain}", helo, clock)
    try:
        result, because = await check.check_domain(domain.lower().rstrip("."))
    except _TemporaryError as exc:
        result, because = SpfResult.TEMPERROR, str(exc)
    except _PermanentError as exc:
        result, because = SpfResult.PERMERROR, str(exc)
    return SpfCheck(result, because[:MAX_EXPLANATION], check.lookups)


_QUALIFIERS = {
    "+": SpfResult.PASS,
    "-": SpfResult.FAIL,
    "~": SpfResult.SOFTFAIL,
    "?": SpfResult.NEUTRAL,
}
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_MECHANISM = re.compile(r"([-+~?]?)([a-z][a-z0-9_.-]*)(?::([^/\n]*))?((?:/.*)?)", re.IGNORECASE)
_PREFIX = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_MACRO = re.compile(r"%(?:\{([slodiphcrtv])(\d{0,9})(r?)([-.+,/_=]*)\}|([%_-]))", re.IGNORECASE)
# Digits alone are no top label (section 7.1).
_TOP_LABEL = re.compile(r"(?![0-9]+$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE)


@dataclass(slots=True)
class _Evaluation:
    """One evaluation, with its counters of queries."""

    resolver: Resolver
    ip: IPAddress
    sender: str
    helo: str
    clock: Callable[[], float]
    lookups: int = 0
    void_lookups: int = 0
    ptr_name: str = ""
    """The value of the macro `p`, once it is known."""

    async def check_domain(self, domain: str) -> tuple[SpfResult, str]:
        """check_host for one domain, also that of `include` and `redirect`."""
        if not _is_domain(domain):
            return SpfResult.NONE, f"{domain!r} is no domain"
        record = await self._record(domain)
        if record is None:
            return SpfResult.NONE, f"{domain} has no SPF record"
        terms = [_parse_term(term) for term in record.split(" ")[1:] if term]
        redirect = [t for t in terms if t.name == "redirect"]
        if len(redirect) > 1 or sum(t.name == "exp" for t in terms) > 1:
            raise _PermanentError(f"the record of {domain} has redirect= or exp= twice")
        for term in terms:
            if not term.is_modifier and await self._matches(term, domain):
                return _QUALIFIERS[term.qualifier], f"{term.text} of {domain}"
        if not redirect:
            return SpfResult.NEUTRAL, f"nothing in the record of {domain} matches"
        self._count_lookup()
        target = await self._target_domain(redirect[0], domain)
        result, because = await self.check_domain(target)
        if result is SpfResult.NONE:
            raise _PermanentError(f"redirect={target} of {domain} leads to no SPF record")
        return result, because

    async def _record(self, domain: str) -> str | None:
        answer = await self._resolve(domain, RecordType.TXT, may_be_void=True)
        found = [text for text in answer.records if is_spf_record(text)]
        if len(found) > 1:
            raise _PermanentError(f"{domain} has {len(found)} SPF records")
        if found and not found[0].isascii():
            raise _PermanentError(f"the record of {domain} is not ASCII")
        return found[0] if found else None

    async def _matches(self, term: _Term, domain: str) -> bool:
        match term.name:
            case "all":
                return True
            case "ip4" | "ip6":
                return self.ip in ipaddress.ip_network(term.value, strict=False)
            case "include":
                return await self._matches_include(await self._target_domain(term, domain))
        self._count_lookup()
        target = await self._target_domain(term, domain)
        match term.name:
            case "a":
                return await self._matches_address(target, term)
            case "mx":
                return await self._matches_mx(target, term)
            case "exists":
                return bool((await self._resolve(target, RecordType.A)).records)
        return await self._matches_ptr(target)

    async def _matches_include(self, target: str) -> bool:
        self._count_lookup()
        result, because = await self.check_domain(target)
        if result is SpfResult.NONE:
            raise _PermanentError(f"include:{target} leads nowhere: {because}")
        return result is SpfResult.PASS

    async def _matches_mx(self, target: str, term: _Term) -> bool:
        answer = await self._resolve(target, RecordType.MX)
        hosts = [record.partition(" ")[2].rstrip(".") for record in answer.records]
        if len(hosts) > MAX_NAMES:
            raise _PermanentError(f"mx of {target} has more than {MAX_NAMES} hosts")
        for host in hosts:
            if host and await self._matches_address(host, term):
                return True
        return False

    async def _matches_ptr(self, target: str) -> bool:
        names = await self._confirmed_names()
        return any(name == target or name.endswith(f".{target}") for name in names)

    async def _confirmed_names(self) -> list[str]:
        """The forward-confirmed names of the address (section 5.5); errors count as no names."""
        answer = await self.resolver.resolve(self.ip.reverse_pointer, RecordType.PTR)
        confirmed = []
        for record in answer.records[:MAX_NAMES]:
            name = record.rstrip(".").lower()
            forward = await self.resolver.resolve(name, self._address_type)
            if str(self.ip) in forward.records:
                confirmed.append(name)
        return confirmed

    async def _best_name(self, domain: str) -> str:
        """The name of the address that fits `domain` best (section 7.3)."""
        names = await self._confirmed_names()
        within = [name for name in names if name == domain or name.endswith(f".{domain}")]
        return next(iter(sorted(within, key=len) + names), "unknown")

    async def _matches_address(self, host: str, term: _Term) -> bool:
        answer = await self._resolve(host, self._address_type)
        length = term.prefix_v4 if self.ip.version == 4 else term.prefix_v6
        return any(
            self.ip in ipaddress.ip_network(f"{record}/{length}", strict=False)
            for record in answer.records
        )

    @property
    def _address_type(self) -> RecordType:
        return RecordType.A if self.ip.version == 4 else RecordType.AAAA

    def _count_lookup(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise _PermanentError(f"more than {MAX_LOOKUPS} terms ask DNS")

    async def _resolve(
        self, name: str, record_type: RecordType, *, may_be_void: bool = False
    ) -> DnsAnswer:
        answer = await self.resolver.resolve(name, record_type)
        if not answer.status.definite:
            raise _TemporaryError(
                f"DNS did not answer for {record_type} of {name} ({answer.status})"
            )
        if answer.status is not LookupStatus.OK and not may_be_void:
            self.void_lookups += 1
            if self.void_lookups > MAX_VOID_LOOKUPS:
                raise _PermanentError(f"more than {MAX_VOID_LOOKUPS} names do not exist")
        return answer

    async def _target_domain(self, term: _Term, domain: str) -> str:
        """The domain that a term names, with macros expanded; `domain` if it names none."""
        if not term.value:
            return domain
        if "%{p" in term.value.lower() and not self.ptr_name:
            self.ptr_name = await self._best_name(domain)
        expanded = _MACRO.sub(lambda found: self._expand_macro(found, domain), term.value)
        name = expanded.lower().rstrip(".")
        if len(name) > MAX_DOMAIN:  # section 7.3: labels are removed from the left
            name = name[-MAX_DOMAIN - 1 :].partition(".")[2]
        return name

    def _expand_macro(self, found: re.Match[str], domain: str) -> str:
        if found[5]:
            return {"%": "%", "_": " ", "-": "%20"}[found[5]]
        letter, digits, turned, delimiters = found[1], found[2], found[3], found[4]
        parts = re.split(
            f"[{re.escape(delimiters or '.')}]", self._macro_value(letter.lower(), domain)
        )
        if turned:
            parts.reverse()
        value = ".".join(parts[-int(digits) :] if digits else parts)
        return value if letter.islower() else _percent_encoded(value)

    def _macro_value(self, letter: str, domain: str) -> str:
        local, _, sender_domain = self.sender.rpartition("@")
        if self.ip.version == 4:
            dotted = str(self.ip)
        else:
            dotted = ".".join(self.ip.exploded.replace(":", ""))
        return {
            "s": self.sender,
            "l": local,
            "o": sender_domain,
            "d": domain,
            "i": dotted,
            "p": self.ptr_name,
            "v": "in-addr" if self.ip.version == 4 else "ip6",
            "h": self.helo,
            "c": str(self.ip),
            "r": "unknown",
            "t": str(int(self.clock())),
        }[letter]


def _percent_encoded(value: str) -> str:
    from urllib.parse import quote

    return quote(value, safe="")


@dataclass(frozen=True, slots=True)
class _Term:
    """A mechanism or a modifier."""

    text: str
    name: str
    is_modifier: bool
    qualifier: str = "+"
    value: str = ""
    """A domain-spec or a network."""
    prefix_v4: int = 32
    prefix_v6: int = 128


_NEEDS_VALUE = {"include", "exists", "ip4", "ip6"}
_MECHANISMS = {"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"}
_BITS = {"ip4": 32, "ip6": 128}


def _parse_term(text: str) -> _Term:
    """One term of a record. Raises _PermanentError if it breaks the grammar of section 12."""
    modifier = _MODIFIER.fullmatch(text)
    if modifier:
        name, value = modifier[1].lower(), modifier[2]
        _check_macros(text, value)
        if name in ("redirect", "exp"):
            _check_domain_spec(text, value)
        return _Term(text, name, True, value=value)
    found = _MECHANISM.fullmatch(text)
    if not found or found[2].lower() not in _MECHANISMS:
        raise _PermanentError(f"{text!r} is no SPF term")
    qualifier, name, value, slash = found[1] or "+", found[2].lower(), found[3], found[4]
    if name in _BITS:
        return _Term(
            text, name, False, qualifier, _parse_network(text, name, (value or "") + slash)
        )
    if value is not None or name in _NEEDS_VALUE:
        # a slash may also stand in a macro, as in %{l/}
        value, slash = _split_prefix(name, (value or "") + slash)
        _check_macros(text, value)
        _check_domain_spec(text, value)
    prefix = _PREFIX.fullmatch(slash)
    allowed = name in ("a", "mx")
    if not prefix or (slash and not allowed) or (name == "all" and value is not None):
        raise _PermanentError(f"{text!r} is no SPF term")
    v4, v6 = int(prefix[1] or 32), int(prefix[2] or 128)
    if v4 > 32 or v6 > 128:
        raise _PermanentError(f"{text!r} has too long a prefix")
    return _Term(text, name, False, qualifier, value or "", v4, v6)


_CIDR_END = re.compile(r"(?:/\d+)?(?://\d+)?$")


def _split_prefix(name: str, value: str) -> tuple[str, str]:
    if name not in ("a", "mx"):
        return value, ""
    end = _CIDR_END.search(value)
    assert end is not None
    return value[: end.start()], value[end.start() :]


def _parse_network(text: str, name: str, value: str) -> str:
    host, slash, length = value.partition("/")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise _PermanentError(f"{text!r} names no network") from None
    bits = _BITS[name]
    right = address.version == (4 if name == "ip4" else 6)
    if not right or (slash and not re.fullmatch(r"0|[1-9]\d{0,2}", length)):
        raise _PermanentError(f"{text!r} names no network")
    if slash and int(length) > bits:
        raise _PermanentError(f"{text!r} has too long a prefix")
    return value


def _check_macros(text: str, value: str) -> None:
    if "%" in _MACRO.sub("", value):
        raise _PermanentError(f"{text!r} has a macro that there is not")
    for found in _MACRO.finditer(value):
        if found[2] and int(found[2]) == 0:
            raise _PermanentError(f"{text!r} has a macro that keeps nothing")
        if found[1] and found[1].lower() in "crt":
            raise _PermanentError(f"{text!r} has a macro for explanations alone")


def _check_domain_spec(text: str, value: str) -> None:
    """It ends in a macro or in a dot and a top label (section 7.1)."""
    last = list(_MACRO.finditer(value))
    if last and last[-1].end() == len(value):
        return
    head, dot, top = value.rstrip(".").rpartition(".")
    if not dot or not head or not _TOP_LABEL.fullmatch(top):
        raise _PermanentError(f"{text!r} names no domain")


def _is_domain(domain: str) -> bool:
    """At least two labels, each of a length that DNS can carry (section 4.3)."""
    labels = domain.split(".")
    return (
        len(labels) > 1
        and len(domain) <= MAX_DOMAIN
        and all(0 < len(label.encode()) < 64 for label in labels)
    )
