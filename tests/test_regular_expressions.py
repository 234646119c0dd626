"""Every regular expression of the product takes linear time on texts made to be its worst.

The calls of `re` are found in the source. A pattern that stands there as a literal is taken from
there; the others are recorded in a process of its own, while every module is imported and every
lazily built table is built once. A call that is found in neither way fails the test.

The attacks on a pattern come from its parse tree: a pattern that backtracks does so on a text
that almost matches it many times over. They are ranked by how their time grows from 0.5 kB
to 2 kB, and the worst ones are timed on 64 kB.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "adapters", "gateway")

SIZE = 64 * 1024
"""Characters: more than any single reply, header or cell that is read whole."""
LIMIT_S = 0.5
"""Of CPU. A linear pattern takes from 1 to 50 ms; a quadratic one from seconds to minutes."""
SMALL, LARGER = 512, 2048
"""The sizes that attacks are ranked at."""
TIMED = 2
"""Attacks on each pattern that are timed at the full size."""

FUNCTIONS = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
ANCHORED = frozenset({"match", "fullmatch"})
"""Tried at the beginning of the text alone."""

OWN_TEXT = {
    ("gateway/doctor/spf.py", "re.split"): "one character class (RFC 7208 section 7.3)",
    ("engine/smtp/phrases.py", "re.sub"): "builds the reply table's patterns from its phrases",
}
"""Calls with a pattern that is built where it is used, and why it takes linear time."""

RECORD = """
import importlib, json, pathlib, re, sys
found = {}
compile_ = re.compile
def recording(pattern, flags=0):
    compiled = compile_(pattern, flags)
    frame = sys._getframe(1)
    file = pathlib.Path(frame.f_code.co_filename)
    if file.is_relative_to(pathlib.Path.cwd()):
        is_bytes = isinstance(compiled.pattern, bytes)
        text = compiled.pattern.decode("latin-1") if is_bytes else compiled.pattern
        where = str(file.relative_to(pathlib.Path.cwd()))
        found[text, compiled.flags, is_bytes, where, frame.f_lineno] = None
    return compiled
re.compile = recording
for package in ("engine", "adapters", "gateway"):
    for file in sorted(pathlib.Path(package).rglob("*.py")):
        if "migrations" not in file.parts:
            module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
            importlib.import_module(module)
exec(sys.argv[1])
print(json.dumps(list(found)))
"""
BUILDERS = """
from adapters.contract.credential import KeyInBody
from adapters.contract.wire import WireRequest
from adapters.registry import DIALECTS
from engine.smtp.reply import compile_rules
from gateway.sandbox.redact import redact_keys
from gateway.web.routing import VendorRoutes
compile_rules()
redact_keys("", "")
VendorRoutes(DIALECTS)
KeyInBody("key", always_json=True).scan(WireRequest("POST", "/", body=b"{}"))
"""
"""Calls of what compiles patterns that are neither literals nor made on import."""


class Pattern(NamedTuple):
    """A regular expression, where it is compiled, and how it is used."""

    text: str
    flags: int
    is_bytes: bool
    where: str
    functions: frozenset[str]

    def compile(self) -> re.Pattern[Any]:
        if self.is_bytes:
            return re.compile(self.text.encode("latin-1"), self.flags)
        return re.compile(self.text, self.flags)


# -- finding the patterns ----------------------------------------------------------------


def find_patterns(root: Path, recorded: Iterable[Any]) -> tuple[list[Pattern], list[str]]:
    """The patterns of all packages, and the uses of `re` that hide a pattern from this test."""
    lazily: dict[tuple[str, int], list[Any]] = {}
    for text, flags, is_bytes, file, line in recorded:
        lazily.setdefault((file, line), []).append((text, flags & ~re.DEBUG, is_bytes))
    patterns, hidden = [], []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            file, source = str(path.relative_to(root)), path.read_text("utf-8")
            tree = ast.parse(source)
            hidden += [f"{file}:{line}: {why}" for line, why in hidden_uses(tree)]
            for call in calls_of_re(tree):
                where = f"{file}:{call.lineno}"
                functions = functions_of(call, tree, source)
                literal = literal_pattern(call)
                found = [literal] if literal else []
                for line in range(call.lineno, (call.end_lineno or call.lineno) + 1):
                    found += lazily.get((file, line), [])
                patterns += [Pattern(*parts, where, functions) for parts in found]
                if not found and (file, ast.unparse(call.func)) not in OWN_TEXT:
                    hidden.append(f"{where}: no BUILDERS execute {ast.unparse(call)}")
    once = {pattern._replace(where=""): pattern for pattern in reversed(patterns)}
    return sorted(once.values()), hidden


def calls_of_re(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and function_of_re(node.func) not in (None, "escape"):
            yield node


def function_of_re(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id == "re" else None
    return None


def hidden_uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Uses that `calls_of_re` does not see."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="re" | "regex" | "re2"):
                yield node.lineno, "write `import re`"
            case ast.Import(names=names):
                for alias in names:
                    if alias.name in ("regex", "re2") or (alias.name == "re" and alias.asname):
                        yield node.lineno, "write `import re`"
            case ast.Attribute(attr=name) if function_of_re(node) and id(node) not in called:
                if name in ("compile", *FUNCTIONS):
                    yield node.lineno, f"call re.{name} where it is named"
            case _:
                pass


def literal_pattern(call: ast.Call) -> tuple[str, int, bool] | None:
    """The text, flags and type of a pattern that is a constant; None if it is computed."""
    values: dict[str, Any] = {}
    given = dict(zip(("pattern", "flags"), call.args[:1], strict=False))
    if function_of_re(call.func) == "compile":
        given = dict(zip(("pattern", "flags"), call.args, strict=False))
    given |= {keyword.arg or "": keyword.value for keyword in call.keywords}
    for name in ("pattern", "flags"):
        if name in given:
            try:
                code = compile(ast.Expression(given[name]), "", "eval")
                values[name] = eval(code, {"__builtins__": {}, "re": re})  # noqa: S307
            except (NameError, TypeError):
                return None
    compiled = re.compile(values["pattern"], values.get("flags", 0))
    is_bytes = isinstance(compiled.pattern, bytes)
    text = compiled.pattern.decode("latin-1") if is_bytes else compiled.pattern
    return text, compiled.flags, is_bytes


def functions_of(call: ast.Call, tree: ast.Module, source: str) -> frozenset[str]:
    """The functions that a pattern is used with; all of them if that is not evident."""
    name = function_of_re(call.func)
    if name in FUNCTIONS:
        return frozenset({name})
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.value is call:
            target = ast.unparse(node.targets[0])
            used = re.findall(rf"\b{re.escape(target)}\.({'|'.join(FUNCTIONS)})\b", source)
            if used and len(re.findall(rf"\b{re.escape(target)}\b", source)) == len(used) + 1:
                return frozenset(used)
    return frozenset(FUNCTIONS)


# -- attacks -----------------------------------------------------------------------------

_CHARACTERS = [chr(code) for code in range(1, 127)] + ["\xa0", "\xe9", "\u0660", "\u4e00"]
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_SINGLE = ("LITERAL", "NOT_LITERAL", "IN", "ANY")


class Attack(NamedTuple):
    """A text: `word` as often as it takes, between a beginning and an end."""

    before: str
    word: str
    after: str

    def of_size(self, size: int) -> str:
        return self.before + (self.word * (size // len(self.word) + 1))[:size] + self.after


def attacks_on(pattern: Pattern) -> list[Attack]:
    parsed = importlib.import_module("re._parser").parse(pattern.text, pattern.flags)
    kinds = _kinds_of_characters(parsed)
    # Each place where a match may begin costs what it takes to find that there is none.
    begins_anywhere = not pattern.functions <= ANCHORED
    found: dict[Attack, None] = {}
    for before, inner, after in _repeats_in(parsed):
        words = [*_texts_of(inner, 12, longest=True), *_texts_of(inner, 12, longest=False)]
        words += [c for c in kinds if len(inner) == 1 and _admits(inner, c)]
        words += _continuations(after)
        for word in words:
            found |= {Attack(before, word, end): None for end in ("", "\x00", "\n!")}
        if begins_anywhere:
            found |= {Attack("", word, "\x00"): None for word in (before, before + words[0])}
    if begins_anywhere:
        for longest in (False, True):
            for text in _texts_of(parsed, 60, longest=longest):
                found |= {Attack("", word, "\x00"): None for word in (text, text[:-1])}
    return [attack for attack in found if attack.word]


def _kinds_of_characters(parsed: Any) -> list[str]:
    """A character of each kind that the pattern can tell from the others."""
    classes = list(_classes_in(parsed))
    kinds = {tuple(_admits(one, c) for one in classes): c for c in reversed(_CHARACTERS)}
    return list(kinds.values())


def _classes_in(parsed: Any) -> Iterator[Any]:
    """What the pattern repeats of single characters."""
    for _, inner, _ in _repeats_in(parsed):
        if len(inner) == 1 and str(inner[0][0]) in _SINGLE:
            yield inner


def _admits(single: Any, character: str) -> bool:
    if str(single[0][0]) not in _SINGLE:
        return False
    compiled: re.Pattern[str] = re._compiler.compile(single, single.state.flags)  # type: ignore[attr-defined]
    return compiled.fullmatch(character) is not None


def _repeats_in(
    parsed: Sequence[Any], before: str = "", after: Sequence[Any] = ()
) -> Iterator[tuple[str, Any, Sequence[Any]]]:
    """What the pattern repeats at any depth, after a text that leads to it and before what follows
    it in the pattern."""
    seen_ahead = ""
    for at, (kind, value) in enumerate(parsed):
        name, follows = str(kind), [*parsed[at + 1 :], *after]
        here = before + next(_texts_of(parsed[:at], 1, longest=False), "")
        inners = [value[2]] if name in _REPEATS else _groups_of(name, value)
        for start in dict.fromkeys((here, seen_ahead + here)):
            if name in _REPEATS and value[1] > 8:
                yield start, value[2], follows
            for inner in inners:
                yield from _repeats_in(inner, start, follows)
        if name == "ASSERT":
            seen_ahead += next(_texts_of(value[1], 1, longest=False), "")


def _continuations(after: Sequence[Any]) -> Iterator[str]:
    """Texts of what follows a repeat, to the next repeat: where that may begin anew at each of
    them, the time is quadratic."""
    yield from _texts_of(after[:1], 4, longest=True)
    for at, item in enumerate(after):
        if str(item[0]) in _REPEATS or any(_repeats_in([item])):
            for longest in (False, True):
                yield from _texts_of(after[: at + 1], 4, longest=longest)
            return


def _groups_of(name: str, value: Any) -> list[Any]:
    match name:
        case "SUBPATTERN":
            return [value[3]]
        case "ATOMIC_GROUP":
            return [value]
        case "BRANCH":
            return list(value[1])
        case "ASSERT" | "ASSERT_NOT":
            return [value[1]]
        case "GROUPREF_EXISTS":
            return [group for group in value[1:] if group is not None]
    return []


def _texts_of(parsed: Any, most: int, *, longest: bool) -> Iterator[str]:
    """Up to `most` texts that the pattern matches, each way of an alternation once: repeats as
    few times as they may be, or twice."""
    texts = [""]
    for kind, value in parsed:
        name = str(kind)
        ways = [""]  # anchors, look-around and back-references take no room
        if name in _REPEATS:
            least, greatest, inner = value
            times = min(greatest, max(least, 2)) if longest else least
            ways = [text * times for text in _texts_of(inner, most, longest=longest)]
        elif name in _SINGLE:
            ways = [_first_of(name, value)]
        elif name in ("SUBPATTERN", "ATOMIC_GROUP", "BRANCH"):
            groups = _groups_of(name, value)
            ways = [text for group in groups for text in _texts_of(group, most, longest=longest)]
        texts = [text + way for text in texts[:8] for way in ways[:40]]
    yield from texts[:most]


def _first_of(name: str, value: Any) -> str:
    """A character that a class admits."""
    if name == "LITERAL":
        return chr(value)
    excluded = {chr(value)} if name == "NOT_LITERAL" else set()
    for kind, one in value if name == "IN" else []:
        match str(kind):
            case "NEGATE":
                excluded.add("")
            case "LITERAL" | "RANGE" if not excluded:
                return chr(one if str(kind) == "LITERAL" else one[0])
            case "LITERAL":
                excluded.add(chr(one))
            case "CATEGORY" if not excluded:
                return {"DIGIT": "1", "SPACE": " ", "WORD": "a"}.get(str(one).split("_")[-1], "-")
    return next(c for c in "a-1 .@" if c not in excluded)


# -- timing ------------------------------------------------------------------------------


class _TooSlow(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Bound:
    """How long a pattern may take for how long a text."""

    size: int = SIZE
    limit_s: float = LIMIT_S

    def slowest(self, pattern: Pattern) -> str:
        """The attack that takes too long, in words; empty if none does."""
        compiled = pattern.compile()
        ranked = []
        for attack in attacks_on(pattern):
            larger_s = self._cpu_s(compiled, pattern, attack, LARGER)
            if larger_s >= self.limit_s:
                return self._report(pattern, attack, LARGER)
            # What is quick enough to be quadratic and below the limit needs no second look.
            if larger_s * (self.size / LARGER) ** 2 >= self.limit_s:
                small_s = self._cpu_s(compiled, pattern, attack, SMALL)
                ranked.append((max(larger_s - small_s * LARGER / SMALL, 0), larger_s, attack))
        for _, _, attack in sorted(ranked, reverse=True)[:TIMED]:
            if self._cpu_s(compiled, pattern, attack, self.size) >= self.limit_s:
                return self._report(pattern, attack, self.size)
        return ""

    def _cpu_s(
        self, compiled: re.Pattern[Any], pattern: Pattern, attack: Attack, size: int
    ) -> float:
        """Seconds of CPU, up to the limit, to match at the beginning, and to find every match
        where that is done."""
        text = attack.of_size(size)
        subject: Any = text.encode("latin-1", "replace") if pattern.is_bytes else text
        signal.setitimer(signal.ITIMER_VIRTUAL, self.limit_s)
        began = time.thread_time()
        try:
            compiled.fullmatch(subject)
            if not pattern.functions <= ANCHORED:
                for _ in compiled.finditer(subject):
                    pass
            return time.thread_time() - began
        except _TooSlow:
            return self.limit_s
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _report(self, pattern: Pattern, attack: Attack, size: int) -> str:
        text = f"{attack.before[:40]!r} + {size:,} characters of {attack.word[:60]!r}"
        return (
            f"{pattern.where}: {pattern.text[:200]!r} takes {self.limit_s:.2f} s of CPU or more"
            f" for {text} + {attack.after!r}"
        )


@pytest.fixture(autouse=True)
def _stoppable() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooSlow  # `re` looks for signals while it matches

    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


# -- tests -------------------------------------------------------------------------------


def test_every_pattern_takes_linear_time() -> None:
    recorded = subprocess.run(
        [sys.executable, "-c", RECORD, BUILDERS],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    patterns, hidden = find_patterns(ROOT, json.loads(recorded.stdout))
    assert not hidden, "\n".join(hidden)
    assert len(patterns) > 100
    bound = Bound()
    slow = [found for pattern in patterns if (found := bound.slowest(pattern))]
    assert not slow, "\n".join(slow)


@pytest.mark.parametrize(
    ("text", "function"),
    [
        # an unbounded run before what must follow it
        (r"[\w.+-]+@[\w.-]+", "sub"),
        (r"\s+$", "sub"),
        (r"(?i)api[-_]?key\"[^\r\n]*(?:\r?\n){2}x", "search"),
        (r"list (?:the |list )*[a-z]+\.", "search"),
        (r"\w*a\w*b", "fullmatch"),
        # the same character in two runs, side by side or across a group
        (r"[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9]", "fullmatch"),
        (r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]", "match"),
        (r"id: *([a-m]*)([k-z]*)([k-m]*)!", "match"),
        (r"([a-z]+)(?::([^/].*?|))?((?:/.*)?)", "fullmatch"),
        (r"(?=.*first)(?=.*(?:no|not)\w*\w*x)", "match"),
        # a run of runs
        (r"(\w+\s?)+$", "match"),
        (r"From: (?:(?:a|b|ab)+ ?)*!", "match"),
        (r"(?:x{0,200}){0,200}y", "search"),
        ("(?:ящик\\w*|адрес\\w*).{0,60}?(?:удал\\w*|неактив\\w*)", "search"),
    ],
)
def test_a_slow_pattern_is_found(text: str, function: str) -> None:
    flags = re.compile(text).flags
    pattern = Pattern(text, flags, False, "here", frozenset({function}))
    assert Bound(SIZE // 4, LIMIT_S / 16).slowest(pattern)


@pytest.mark.parametrize(
    "text",
    [
        r"(?<![\w.+-])[\w.+-]++@[\w.-]+",
        r"(?:a|b)*c",
        r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?",
        r"\b(?:in|on) (?:the |a ){0,4}[a-z]+\.",
    ],
)
def test_a_linear_pattern_is_not_slow(text: str) -> None:
    pattern = Pattern(text, re.compile(text).flags, False, "here", frozenset({"fullmatch"}))
    assert not Bound().slowest(pattern)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("_SLOW = re.compile(r'a+b')", "a+b"),
        ("_SLOW = re.compile(b'a+' b'b', re.IGNORECASE)", "a+b"),
        ("_SLOW = re.compile('a+' + 'b')", "a+b"),
        ("def f(text):\n    return re.sub(r'a+b', '', text)", "a+b"),
        ("def f(text):\n    return re.compile(pattern='a+b', flags=re.M)", "a+b"),
        ("class C:\n    def f(self, text):\n        if re.search('a+b', text): pass", "a+b"),
    ],
)
def test_a_literal_pattern_is_found_where_it_stands(
    tmp_path: Path, source: str, found: str
) -> None:
    _write_module(tmp_path, f"import re\n{source}\n")
    patterns, hidden = find_patterns(tmp_path, [])
    assert [pattern.text for pattern in patterns] == [found]
    assert not hidden


@pytest.mark.parametrize(
    "source",
    [
        "import re\ndef f(words):\n    return re.compile('|'.join(words))",
        "import re\ndef f(word, text):\n    return re.search(f'{word}+', text)",
        "import re\nPATTERNS = [*map(re.compile, ('a+b', 'c'))]",
        "from re import compile",
        "import re as regular",
        "import regex",
    ],
)
def test_a_pattern_that_cannot_be_found_fails(tmp_path: Path, source: str) -> None:
    _write_module(tmp_path, source + "\n")
    _, hidden = find_patterns(tmp_path, [])
    assert hidden


def _write_module(root: Path, source: str) -> None:
    (root / "gateway").mkdir()
    (root / "gateway" / "new.py").write_text(source, "utf-8")
