"""The syntax of an address: RFC 5321, 5322 and 6531, with the domain mapped by IDNA (UTS 46).

Where the RFCs leave a choice:

- A domain needs a dot. Special-use names (`.test`, `.local`, `example.com`) are valid, since DNS
  decides whether they accept mail.
- A local part with dots where RFC 5322 has none is valid at the Japanese carriers that gave out
  such mailboxes until 2009, and is sent quoted, as it has to be (RFC 5321 section 4.1.2).
- A quoted local part is valid unless it contains whitespace, which must never reach an SMTP
  command.
- A domain literal (`user@[192.0.2.1]`) is invalid: it names a host rather than a mail domain, and
  a verifier should not dial an IP address that a stranger wrote down.
- A local part keeps its case (RFC 5321 section 2.4); a non-ASCII one is normalised to NFC
  (RFC 6532 section 3.1). A domain is kept in lower case and Unicode, beside its A-label form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from engine.model import Address

if TYPE_CHECKING:
    from email_validator import ValidatedEmail

MAX_ADDRESS_OCTETS = 254
"""RFC 5321 section 4.5.3.1.3: a path has 256 octets, two of them angle brackets."""
MAX_LOCAL_OCTETS = 64
"""RFC 5321 section 4.5.3.1.1."""
MAX_DOMAIN_OCTETS = 253
"""RFC 1035 section 2.3.4, less the first length octet and the root label."""
MAX_LABEL_OCTETS = 63
"""RFC 1035 section 2.3.4."""
MAX_PARSED_CHARACTERS = 320
"""64 + 1 + 255. A longer text is rejected before any regular expression sees it."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The form of most addresses. A match is valid without a call to email-validator, the import of
# which takes longer than the sandbox has for its first response.
_PLAIN = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+{_LABEL})", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


def parse_address(text: str) -> Address:
    """Split an address into its parts and validate it. Never raises.

    Surrounding whitespace is dropped. A lone surrogate, which can be neither stored nor sent,
    becomes U+FFFD and makes the address invalid.
    """
    raw = _SURROGATES.sub(_UNREADABLE, text.strip())
    local, at, domain = raw.rpartition("@")
    if not at:
        return Address(raw, "", "", "", _missing_at_sentence(raw))
    if len(raw) > MAX_PARSED_CHARACTERS:
        return Address(raw, local, domain.lower(), "", _too_long_sentence(_octets(raw)))
    if _is_plain(raw, local, domain):
        folded = domain.lower()
        return Address(raw, local, folded, folded)
    local = _quoted_for_carrier(local, domain)
    for fault, sentence in _SYNTAX_RULES:
        if fault(local, domain):
            folded, ascii_domain = _parse_domain(domain)
            return Address(raw, local, folded, ascii_domain, sentence)
    return _parse_with_library(raw, local, domain)


_CARRIERS = ("docomo.ne.jp", "ezweb.ne.jp")
_CARRIER_NAME = re.compile(r"[A-Za-z0-9._+/?-]+", re.ASCII)


def _quoted_for_carrier(local: str, domain: str) -> str:
    """`local` in quotes if it is one of a carrier's names with dots in a row or at an end."""
    name = domain.lower()
    of_carrier = any(name == carrier or name.endswith(f".{carrier}") for carrier in _CARRIERS)
    has_odd_dots = local.startswith(".") or local.endswith(".") or ".." in local
    if of_carrier and has_odd_dots and _CARRIER_NAME.fullmatch(local):
        return f'"{local}"'
    return local


def _is_plain(raw: str, local: str, domain: str) -> bool:
    return (
        _PLAIN.fullmatch(raw) is not None
        and len(raw) <= MAX_ADDRESS_OCTETS
        and len(local) <= MAX_LOCAL_OCTETS
        and len(domain) <= MAX_DOMAIN_OCTETS
        and domain[-1].isalpha()
        and "--" not in domain  # an A-label, or one that IDNA reserves
    )


def _missing_at_sentence(raw: str) -> str:
    if not raw:
        return "The address is empty; write it as name@domain."
    if any(lookalike in raw for lookalike in "\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}"):
        return "The address has a look-alike of the @ sign; type a plain @."
    return "The address has no @ sign; write it as name@domain."


def _too_long_sentence(octets: int) -> str:
    return f"The address is too long: {octets} octets where {MAX_ADDRESS_OCTETS} are allowed."


def _is_quoted(local: str) -> bool:
    return len(local) >= 2 and local[0] == local[-1] == '"'


def _octets(text: str) -> int:
    return len(text.encode())


# Each row: a fault of (local, domain), and the sentence that says how to correct it. The first
# match wins. email-validator checks the addresses that no row rejects.
_SYNTAX_RULES: tuple[tuple[Callable[[str, str], bool], str], ...] = (
    (
        lambda local, domain: _UNREADABLE in local or _UNREADABLE in domain,
        "The address contains an unreadable character; send it as UTF-8.",
    ),
    (
        lambda local, domain: (not _is_quoted(local) and "<" in local) or ">" in domain,
        "Leave out the name and the angle brackets; write only name@domain.",
    ),
    (
        lambda local, domain: any(c.isspace() for c in local + domain),
        "The address contains a space or a line break; remove it.",
    ),
    (
        lambda local, domain: not (local + domain).isprintable(),
        "The address contains an invisible or control character; retype it.",
    ),
    (
        lambda local, domain: local.lower().startswith("mailto:"),
        "Leave out the leading mailto:.",
    ),
    (
        lambda local, domain: not local,
        "There is nothing before the @ sign; write the address as name@domain.",
    ),
    (
        lambda local, domain: not domain,
        "There is nothing after the @ sign; write the address as name@domain.",
    ),
    (
        lambda local, domain: (
            not _is_quoted(local) and "@" in local and bool({",", ";"} & {*local})
        ),
        "There seems to be more than one address; send one at a time.",
    ),
    (
        lambda local, domain: not _is_quoted(local) and "@" in local,
        "The address has more than one @ sign; keep one.",
    ),
    (
        lambda local, domain: not _is_quoted(local) and local.startswith("."),
        "The part before the @ sign starts with a dot; remove it.",
    ),
    (
        lambda local, domain: not _is_quoted(local) and local.endswith("."),
        "The part before the @ sign ends with a dot; remove it.",
    ),
    (
        lambda local, domain: not _is_quoted(local) and ".." in local,
        "The part before the @ sign has two dots in a row; keep one.",
    ),
    (
        lambda local, domain: _octets(local) > MAX_LOCAL_OCTETS,
        f"The part before the @ sign is too long: {MAX_LOCAL_OCTETS} octets are allowed.",
    ),
    (
        lambda local, domain: domain.startswith("["),
        "An IP address after the @ sign is not accepted; use a domain name.",
    ),
    (
        lambda local, domain: domain.startswith("."),
        "The domain starts with a dot; remove it.",
    ),
    (
        lambda local, domain: domain.endswith("."),
        "The domain ends with a dot; remove it.",
    ),
    (
        lambda local, domain: ".." in domain,
        "The domain has two dots in a row; keep one.",
    ),
    (
        lambda local, domain: domain.isascii() and "." not in domain,
        "The domain has no dot; write it in full, as in example.com.",
    ),
    (
        lambda local, domain: any(len(label) > MAX_LABEL_OCTETS for label in domain.split(".")),
        f"A part of the domain is too long: {MAX_LABEL_OCTETS} octets between dots are allowed.",
    ),
    (
        lambda local, domain: len(domain) > MAX_DOMAIN_OCTETS,
        f"The domain is too long: {MAX_DOMAIN_OCTETS} octets are allowed.",
    ),
    (
        lambda local, domain: "_" in domain,
        "The domain has an underscore, which host names cannot have; did you mean a hyphen?",
    ),
    (
        lambda local, domain: any(
            label.startswith("-") or label.endswith("-") for label in domain.split(".")
        ),
        "A part of the domain starts or ends with a hyphen; remove it.",
    ),
    (
        lambda local, domain: domain[-1:].isdecimal(),
        "The domain ends with a digit, which no top-level domain does; check its ending.",
    ),
    (
        lambda local, domain: _octets(f"{local}@{domain}") > MAX_ADDRESS_OCTETS,
        f"The address is too long: {MAX_ADDRESS_OCTETS} octets are allowed.",
    ),
)


def _parse_with_library(raw: str, local: str, domain: str) -> Address:
    result = _validate_with_library(f"{local}@{domain}")
    if isinstance(result, str):
        folded, ascii_domain = _parse_domain(domain)
        return Address(raw, local, folded, ascii_domain, result)
    return Address(
        raw, unicodedata.normalize("NFC", local), result.domain, result.ascii_domain or ""
    )


def _parse_domain(domain: str) -> tuple[str, str]:
    """The domain of an invalid address in Unicode and in A-labels; the latter are empty if the
    domain is invalid as well."""
    if domain and len(domain) <= MAX_DOMAIN_OCTETS and "@" not in domain:
        result = _validate_with_library(f"x@{domain}")
        if not isinstance(result, str) and not domain.startswith("["):
            return result.domain, result.ascii_domain or ""
    return domain.lower(), ""


def _validate_with_library(text: str) -> ValidatedEmail | str:
    """The result of email-validator, or the sentence of its error."""
    return _load_library()(text)


@cache
def _load_library() -> Callable[[str], ValidatedEmail | str]:
    import email_validator

    # Emptying this list is the documented way to accept special-use names such as `.test`.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

    def validate(text: str) -> ValidatedEmail | str:
        try:
            return email_validator.validate_email(
                text, check_deliverability=False, allow_quoted_local=True
            )
        except email_validator.EmailSyntaxError as exc:
            return str(exc)

    return validate
