"""Short-lived copies of verdicts for other processes. They hold no address.

The reader knows the address that it asks about, so where a text repeats it, such as a mail server's
reply, a mark stands in its place. A copy says by its first byte in which form it is: one in another
form, of a newer or older version, is as good as none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engine.model import Address, Checks, Verification
from gateway.errors import LOCAL_SOURCE
from gateway.verdicts.codec import decode_verification, encode_verification

FORM = b"1"
WHOLE, LOCAL_PART = "\x01", "\x02"
"""Stand for the address, and for what is before its @."""
MIN_LOCAL_CHARACTERS = 3
"""A shorter local part is in many words, and says little."""


def encode_copy(verification: Verification, expires_at: float) -> bytes:
    """A verdict that expires at a Unix time."""
    address = verification.address

    def hide(text: str) -> str:
        text = _replace(_replace(text, WHOLE, ""), LOCAL_PART, "")
        for form in (address.raw, address.normalized):
            text = _replace(text, form, WHOLE)
        if len(address.local) >= MIN_LOCAL_CHARACTERS:
            text = _replace(text, address.local, LOCAL_PART)
        return text

    verification = _with_texts(verification, hide)
    if verification.source == LOCAL_SOURCE:
        # it is a guess from the address, which the reader makes as well
        evidence = replace(verification.evidence, person=None)
        verification = replace(verification, evidence=evidence)
    checks = verification.checks
    flags = f"{checks.dns:d}{checks.smtp:d}{checks.catch_all:d}{checks.policies:d}"
    head = f"{flags}{int(expires_at)}\n".encode()
    return FORM + head + encode_verification(verification, with_address=False)


def decode_copy(data: bytes, address: Address) -> tuple[Verification, float] | None:
    """The verdict on `address`, marked as cached, and when it expires; None if it has another
    form."""
    if data[:1] != FORM:
        return None
    head, _, record = data[1:].partition(b"\n")
    try:
        checks = Checks(*(flag == ord("1") for flag in head[:4]))
        verification = decode_verification(record, "", checks)
        expires_at = float(head[4:])
    except (ValueError, KeyError, TypeError):
        return None

    def show(text: str) -> str:
        return text.replace(WHOLE, address.normalized).replace(LOCAL_PART, address.local)

    verification = replace(verification, address=address, cached=True)
    return _with_texts(verification, show), expires_at


def _with_texts(verification: Verification, change: Callable[[str], str]) -> Verification:
    """With the texts changed that may repeat the address."""
    evidence = verification.evidence
    smtp = evidence.smtp
    if smtp is not None and smtp.text:
        smtp = replace(smtp, text=change(smtp.text))
    evidence = replace(
        evidence,
        smtp=smtp,
        transcript=(),
        did_you_mean=change(evidence.did_you_mean) if evidence.did_you_mean else None,
        avatar=change(evidence.avatar) if evidence.avatar else None,
        raw_word=change(evidence.raw_word) if evidence.raw_word else None,
    )
    return replace(verification, evidence=evidence)


def _replace(text: str, word: str, by: str) -> str:
    """All occurrences, in upper or lower case; of texts beyond ASCII those that are the same."""
    if not (text.isascii() and word.isascii()):
        return text.replace(word, by)
    found, parts, start = text.lower(), [], 0
    word = word.lower()
    while word and (at := found.find(word, start)) >= 0:
        parts += [text[start:at], by]
        start = at + len(word)
    return "".join([*parts, text[start:]])
