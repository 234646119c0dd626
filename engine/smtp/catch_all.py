"""What the reply to a random control address says of the real one (ENGINE rule: compare). Pure.

A server that accepts an address nobody has accepts everything; one that refuses both in the
same words has said nothing of either.
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
    """A local part that nobody has but somebody could: plain ASCII, three syllables, digits.

    `choose` picks one of a sequence, as `random.Random.choice` does. About 10**11 outcomes.
    """
    syllables = [choose(_ONSETS) + choose(_VOWELS) + choose(_CODAS) for _ in range(3)]
    digits = "".join(choose(_DIGITS) for _ in range(3))
    return f"{syllables[0]}{syllables[1]}.{syllables[2]}{digits}"


def accepts_all(control: RcptReply | None) -> bool | None:
    """Whether the domain accepts every name; None when the control's reply cannot tell.

    A temporary refusal leaves it open, as does any refusal of us.
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
    """The real address's meaning, once the control's reply is known.

    Only a 5xx that no rule recognised is open to change: if the control was accepted, or
    refused as a name in other words, the refusal is about this name; in the same words, it is
    about nothing we can tell, and neither is it where the control's refusal is about us.
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
