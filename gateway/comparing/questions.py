"""The addresses of a comparison: which are asked about, and what is known to have become of them.

Pure but for the randomness that is handed in.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.model import Address
from gateway.outcomes.recorder import OTHER_PROVIDER

BOUNCED, DELIVERED = True, False
TRUTH_WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("delivered", "1", "true", "yes", "valid", "ok", "opened"), DELIVERED),
    **dict.fromkeys(
        ("bounced", "0", "false", "no", "invalid", "bounce", "hard_bounce", "hard bounce"), BOUNCED
    ),
}
"""What a cell of the truth column says, in lower case."""
NO_TRUTH_WORDS = frozenset({"", "unknown", "soft_bounce", "soft bounce", "deferred", "-"})
"""Such a cell says nothing about whether the mailbox exists."""


@dataclass(frozen=True, slots=True)
class Question:
    """One address of the comparison."""

    address: Address
    bounced: bool | None = None
    """What became of a mail to it; None if that is not known."""
    provider: str = OTHER_PROVIDER
    """The operator of its mail hosts."""


class UnknownTruth(ValueError):
    """A cell of the truth column has none of the words that are known."""


def read_truth(cell: str) -> bool | None:
    """Whether a mail bounced, as a cell of the truth column has it. Raises UnknownTruth."""
    word = cell.strip().lower()
    if word in NO_TRUTH_WORDS:
        return None
    try:
        return TRUTH_WORDS[word]
    except KeyError:
        raise UnknownTruth(cell) from None


def merge_truths(truths: Iterable[bool | None]) -> bool | None:
    """Of the rows of one address: it bounced if any row says so."""
    known = [truth for truth in truths if truth is not None]
    return any(known) if known else None


def sample_by_provider(
    questions: Sequence[Question], size: int, rng: random.Random
) -> list[Question]:
    """`size` of the questions, from each provider its share, and one at least if there is room.

    The order is that of `questions`.
    """
    if size >= len(questions):
        return list(questions)
    by_provider: defaultdict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        by_provider[question.provider].append(number)
    sizes = _stratum_sizes({name: len(each) for name, each in by_provider.items()}, size)
    chosen = sorted(
        number
        for name in sorted(by_provider)
        for number in rng.sample(by_provider[name], sizes[name])
    )
    return [questions[number] for number in chosen]


def _stratum_sizes(available: Mapping[str, int], size: int) -> Counter[str]:
    """Shares in proportion, by the largest remainder, but one for each as far as that goes."""
    ordered = sorted(available, key=lambda name: (-available[name], name))
    total = sum(available.values())
    exact = {name: available[name] * size / total for name in ordered}
    sizes = Counter({name: max(1, math.floor(exact[name])) for name in ordered[:size]})
    while sizes.total() > size:  # what the small ones got beyond their share, from the largest
        sizes[
            max(sizes, key=lambda name: sizes[name] - exact[name] if sizes[name] > 1 else -1)
        ] -= 1
    while sizes.total() < size:
        room = [name for name in ordered if sizes[name] < available[name]]
        sizes[max(room, key=lambda name: exact[name] - sizes[name])] += 1
    return sizes
