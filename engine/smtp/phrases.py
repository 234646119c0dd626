"""Regular expressions made from phrases, one a line. Pure.

Notation, one phrase a line (a line that is indented further continues the one above):

    a b     these words in this order                a/b     either word
    [a/b]   a word that may be missing              [a/b]*  any number of such words
    word*   a word with this beginning              a_b     a blank within one alternative
    a~b     ab, a b or a-b                          ..      up to 60 characters of anything
    a | b   two phrases on one line                 {name}  a pattern given by name
"""

from __future__ import annotations

import re

_GAP = r".{0,60}?"


def compile_phrases(text: str, **named: str) -> str:
    """One regular expression that matches wherever a phrase of `text` does.

    `named` are regular expressions for `{name}`, such as the results of other calls.
    """
    parts = (phrase.strip() for line in _join_continuations(text) for phrase in line.split(" | "))
    lines = [phrase for phrase in parts if phrase]
    # One test for the start of a word, instead of one for each phrase, is three times as fast.
    at_words = "|".join(_phrase(line, named) for line in lines if _begins_a_word(line))
    others = [_phrase(line, named) for line in lines if not _begins_a_word(line)]
    return "(?:" + "|".join([*others, rf"\b(?:{at_words})"] if at_words else others) + ")"


def _begins_a_word(line: str) -> bool:
    return all(word[0].isascii() and word[0].isalnum() for word in line.split()[0].split("/"))


def _join_continuations(text: str) -> list[str]:
    """The lines of `text`, each with its continuation lines appended."""
    lines: list[str] = []
    margin: int | None = None
    for line in text.splitlines():
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        if indent > margin and lines:
            lines[-1] += words if lines[-1].endswith("/") else " " + words
        else:
            lines.append(words)
    return lines


def _phrase(line: str, named: dict[str, str]) -> str:
    pattern = glue = ""
    items = line.split()
    for item, next_item in zip(items, [*items[1:], ""], strict=True):
        if item == "..":
            glue = _GAP
        elif item.startswith("["):
            # With the blank that follows it, so that a missing word leaves no second blank.
            many = "*" if item.endswith("*") else "?"
            words = _alternatives(item.strip("[]*"), named)
            pattern += f"{glue}(?:{words} ){many}"
            glue = ""
        else:
            pattern += glue + _alternatives(item, named, before_gap=next_item == "..")
            glue = " "
    return pattern


def _alternatives(item: str, named: dict[str, str], *, before_gap: bool = False) -> str:
    return "(?:" + "|".join(_word(word, named, before_gap) for word in item.split("/")) + ")"


def _word(word: str, named: dict[str, str], before_gap: bool) -> str:
    if word.startswith("{"):
        return named[word.strip("{}")]
    pattern = re.escape(word).replace(r"\~", "[ -]?").replace("~", "[ -]?")
    pattern = pattern.replace("_", " ").replace("'", "'?")
    # Scripts without blanks between words have no word boundaries.
    before = r"\b" if word[0].isascii() and word[0].isalnum() else ""
    after = r"\b" if word[-1].isascii() and word[-1].isalnum() else ""
    # Without a boundary before it, a word may begin at every letter of a long run of them: what
    # follows it must not reach to the end of the run from each.
    ending = r"\w*" if before else "" if before_gap else r"\w{0,20}"
    return before + pattern.replace(r"\*", ending) + after
