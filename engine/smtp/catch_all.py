"""The control address, and what its reply says about the reply to the real address. Pure.

A control is an address at the real one's domain that should not exist. A server that accepts it
accepts every name; one that refuses both addresses in the same words has said nothing about either.
"""

from __future__ import annotations

from hashlib import blake2b
from zlib import crc32

from engine.model import Meaning
from engine.smtp.echo import without_recipient
from engine.smtp.meanings import REFUSES_NAME
from engine.smtp.reply import fold_text
from engine.smtp.terms import RcptReply

_ONSETS = (
    *("b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kl", "l", "m"),
    *("n", "p", "pr", "r", "s", "sh", "st", "t", "tr", "v", "w", "z"),
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ie", "oo")
_CODAS = ("b", "ck", "d", "l", "m", "n", "nd", "p", "rt", "s", "st", "t", "x")
_DIGITS = "23456789"
_PARTS = (*(_ONSETS, _VOWELS, _CODAS) * 3, *(_DIGITS,) * 3)

CONTROL_FOR_S = 7 * 86_400
"""How long a domain keeps its control."""


def control_address(domain: str, unix_s: float) -> str:
    """The control of `domain` at the time `unix_s`: three syllables and three digits, ASCII.

    It is derived rather than random, so that a greylisting host which let it pass once knows it
    again a day later and in another process. It changes every week, at another hour for each
    domain. There are about 10**11 outcomes.
    """
    week = (int(unix_s) + crc32(domain.encode()) % CONTROL_FOR_S) // CONTROL_FOR_S
    digest = blake2b(f"{week} {domain}".encode(), digest_size=len(_PARTS)).digest()
    chosen = [part[octet % len(part)] for part, octet in zip(_PARTS, digest, strict=True)]
    return f"{''.join(chosen[:6])}.{''.join(chosen[6:])}@{domain}"


def accepts_all(control: RcptReply | None) -> bool | None:
    """Whether the domain accepts every name; None if the control's reply does not show it.

    A temporary refusal does not, nor does a refusal of us.
    """
    if control is None:
        return None
    if control.classification.meaning is Meaning.ACCEPTED:
        return True
    if control.code >= 500 and control.classification.meaning in REFUSES_NAME:
        return False
    return None


def is_deferred(control: RcptReply | None) -> bool:
    """Whether the control's reply may be another one later, such as that of a greylisting host.

    A 4xx that says "no such user" stays: that host has no other code for unknown names.
    """
    return (
        control is not None
        and 400 <= control.code < 500
        and control.classification.meaning is not Meaning.UNVERIFIED
    )


def compare_with_control(
    real: RcptReply, control: RcptReply | None, known_catch_all: bool | None = None
) -> Meaning:
    """The meaning of the real address's reply, given the control's.

    It can differ only for a 5xx that no rule recognised. If the control was accepted, or its name
    was refused in other words, that 5xx is about the real name. If the words are the same, or the
    control's refusal is about us, the 5xx stays unrecognised. `known_catch_all` is what an earlier
    control showed, for when this time there is no reply.
    """
    meaning = real.classification.meaning
    if meaning is not Meaning.REJECTED_UNRECOGNISED:
        return meaning
    if control is None:
        return Meaning.MAILBOX_NOT_FOUND if known_catch_all else meaning
    if control.classification.meaning is Meaning.ACCEPTED:
        return Meaning.MAILBOX_NOT_FOUND
    if accepts_all(control) is False and not _same_words(real, control):
        return Meaning.MAILBOX_NOT_FOUND
    return meaning


def _same_words(real: RcptReply, control: RcptReply) -> bool:
    if real.code != control.code:
        return False
    # Also as they stand, since a word of the server may equal the local part.
    return fold_text(real.text) == fold_text(control.text) or (
        _text_without_recipient(real) == _text_without_recipient(control)
    )


def _text_without_recipient(reply: RcptReply) -> str:
    stripped = without_recipient(reply.text, reply.recipient)
    return fold_text(stripped.further or stripped.text)
