"""The control address, and what its reply says about the reply to the real address. Pure.

A control is a random address at the real one's domain, which should not exist. A server that
accepts it accepts every name; one that refuses both addresses in the same words has said nothing
about either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.model import Meaning
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


def control_local_part(choose: Callable[[Sequence[str]], str]) -> str:
    """A plausible local part that should not exist: three syllables and three digits, ASCII.

    `choose` picks one item of a sequence, as `random.Random.choice` does. There are about 10**11
    outcomes.
    """
    syllables = [choose(_ONSETS) + choose(_VOWELS) + choose(_CODAS) for _ in range(3)]
    digits = "".join(choose(_DIGITS) for _ in range(3))
    return f"{syllables[0]}{syllables[1]}.{syllables[2]}{digits}"


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
    return real.code == control.code and fold_text(real.text) == fold_text(control.text)
