"""The addresses of a comparison: which are asked about, and what is known to have become of them.

Pure but for the randomness that is handed in.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.model import Address
from gateway.outcomes.recorder import OTHER_PROVIDER

BOUNCED, DELIVERED = True, False
TRUTH_WORDS: Mapping[str, bool] = {
    **dict.fromkeys(
        (
            "delivered",
            "1",
            "1.0",
            "true",
            "yes",
            "valid",
            "ok",
            "opened",
            "clicked",
            "complaint",
            "unsubscribed",
        ),
        DELIVERED,
    ),
    **dict.fromkeys(
        ("bounced", "0", "0.0", "false", "no", "invalid", "bounce", "hard_bounce", "hard_bounced"),
        BOUNCED,
    ),
}
"""What a cell of the truth column says, in lower case, with `_` for spaces and hyphens."""
NO_TRUTH_WORDS = frozenset(
    {"", "unknown", "soft_bounce", "soft_bounced", "deferred", "_", "nan", "null", "none", "n/a"}
)
"""Such a cell says nothing about whether the mailbox exists."""


@dataclass(frozen=True, slots=True)
class Question:
    """One address of the comparison."""

    address: Address
    bounced: bool | None = None
    """What became of a mail to it; None if that is not known."""
    provider: str = OTHER_PROVIDER
    """The operator of its mail hosts."""


BARE_WORDS = frozenset({"1", "1.0", "true", "yes", "0", "0.0", "false", "no"})
"""Words that would say the opposite in a column that is called `bounced`."""


class UnknownTruth(ValueError):
    """A cell of the truth column has none of the words that are known."""


class AmbiguousTruth(ValueError):
    """A cell of a column about bounces says `1` or the like."""


def read_truth(cell: str, title: str = "") -> bool | None:
    """Whether a mail bounced, as a cell of the truth column with this title has it.

    Raises UnknownTruth and AmbiguousTruth.
    """
    word = re.sub(r"[\s-]+", "_", cell.strip().lower())
    if word in NO_TRUTH_WORDS:
        return None
    if word in BARE_WORDS and "bounce" in title.lower():
        raise AmbiguousTruth(cell)
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
    """`size` of the questions, from each provider its share, so that shares of the sample are those
    of the list. A larger sample has the addresses of a smaller one, as far as shares allow.

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
        for number in rng.sample(by_provider[name], len(by_provider[name]))[: sizes[name]]
    )
    return [questions[number] for number in chosen]


def _stratum_sizes(available: Mapping[str, int], size: int) -> Counter[str]:
    """Shares in proportion, by the largest remainder. One address of a tiny provider would say
    nothing about it, and one of each would tilt the sample."""
    ordered = sorted(available, key=lambda name: (-available[name], name))
    total = sum(available.values())
    exact = {name: available[name] * size / total for name in ordered}
    sizes = Counter({name: math.floor(exact[name]) for name in ordered})
    by_remainder = sorted(ordered, key=lambda name: sizes[name] - exact[name])
    sizes.update(by_remainder[: size - sizes.total()])
    return sizes
