"""Cuts secrets out of texts, in any encoding in which they occur there.

Secrets are looked for in decoded text: percent-encoding, the escapes of JSON and of HTML, one
inside the other, upper case and the zero bytes of UTF-16 make no difference. What is found is
replaced in the text as it was.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MARK = "…"
"""Stands in the place of a secret."""
MIN_SECRET_CHARACTERS = 6
"""A shorter secret is looked for nowhere: it may be a word of its own."""
MAX_NESTED_ENCODINGS = 3
"""Encodings inside each other that are undone."""
MIN_BASE64_CHARACTERS = 6
"""A shorter part of base64 may be any."""
WINDOW_BYTES = 64 * 1024
"""Text that is searched at once, so that no search holds the interpreter for long."""
LONGEST_ESCAPE = 12
"""Bytes that one character may take, such as `%252525` or `\\\\\\\\u006c`."""

_ESCAPE = re.compile(
    rb"""(?ix)
      % (?P<percent> [0-9a-f]{2} )
    | \\{1,8} (?: u (?P<json> [0-9a-f]{4} ) | x (?P<hex> [0-9a-f]{2} ) | (?P<same> ["'/\\] ) )
    | &\# (?: (?P<decimal> \d{1,6} ) | x (?P<entity> [0-9a-f]{1,5} ) ) ;
    | \x00+
    """
)


@dataclass(frozen=True, slots=True)
class DecodedText:
    """Text without its escapes."""

    data: bytes
    origins: Sequence[int] | None
    """For each byte where it began in the text, and where the text ended; None: there are no
    escapes."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of `data` stands in the text."""
        return (start, end) if self.origins is None else (self.origins[start], self.origins[end])


def decode_escapes(data: bytes) -> DecodedText:
    """The text without escapes, and without the zero bytes of UTF-16."""
    decoded = DecodedText(data, None)
    for _ in range(MAX_NESTED_ENCODINGS):
        if not _may_have_escapes(decoded.data):
            break
        decoded = _decode_once(decoded)
    return decoded


def _may_have_escapes(data: bytes) -> bool:
    return b"%" in data or b"\\" in data or b"&#" in data or b"\0" in data


def _decode_once(before: DecodedText) -> DecodedText:
    data, decoded, places, copied = before.data, bytearray(), list[int](), 0
    for found in _ESCAPE.finditer(data):
        value = _value_of(found)
        decoded += data[copied : found.start()] + value
        places.extend(range(copied, found.start()))
        places.extend([found.start()] * len(value))
        copied = found.end()
    if not copied:
        return before
    decoded += data[copied:]
    places.extend(range(copied, len(data) + 1))
    if before.origins is not None:
        places = [before.origins[place] for place in places]
    return DecodedText(bytes(decoded), places)


def _value_of(escape: re.Match[bytes]) -> bytes:
    """What an escape stands for."""
    match escape.lastgroup:
        case "percent" | "hex" as group:
            return bytes((int(escape[group], 16),))
        case "json" | "entity" as group:
            return chr(int(escape[group], 16)).encode("utf-8", "surrogatepass")
        case "decimal":
            return chr(int(escape["decimal"])).encode("utf-8", "surrogatepass")
        case "same":
            return escape["same"]
    return b""  # half of a character of UTF-16


class SecretList:
    """The secrets that this process knows, and text without them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._needles: tuple[bytes, ...] = ()
        self._longest = 0
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Know further secrets; they are not forgotten."""
        needles = dict.fromkeys(self._needles)
        for secret in secrets:
            if len(secret) >= MIN_SECRET_CHARACTERS:
                needles.update(dict.fromkeys(forms_of(secret)))
        self._needles = tuple(needles)
        self._longest = max(map(len, self._needles), default=0)

    def redact(self, text: str, mark: str = MARK) -> str:
        """The text with `mark` in the place of every secret."""
        if not self._needles:
            return text
        data = text.encode("utf-8", "surrogatepass")
        clean = self.redact_bytes(data, mark)
        return text if clean is data else clean.decode("utf-8", "surrogatepass")

    def redact_bytes(self, data: bytes, mark: str = MARK) -> bytes:
        """The same for text that is encoded already; the very same object if it has no secret."""
        if not self._needles or (len(data) <= WINDOW_BYTES and not self._is_in(data)):
            return data
        spans = list(merged_spans(self._find(data)))
        return replace_spans(data, [(*span, mark) for span in spans]) if spans else data

    def _find(self, data: bytes) -> Iterator[tuple[int, int]]:
        overlap = self._longest * LONGEST_ESCAPE
        for start in range(0, max(len(data) - overlap, 1), WINDOW_BYTES):
            window = data[start : start + WINDOW_BYTES + overlap]
            if not self._is_in(window):
                continue
            decoded = decode_escapes(window)
            lowered = decoded.data.lower()
            for needle in self._needles:
                for found in find_all(lowered, needle):
                    found_start, found_end = decoded.span(*found)
                    yield start + found_start, start + found_end

    def _is_in(self, data: bytes) -> bool:
        """Whether a secret is in the text; much faster than finding where."""
        for _ in range(MAX_NESTED_ENCODINGS):
            if not _may_have_escapes(data):
                break
            data = _ESCAPE.sub(_value_of, data)
        lowered = data.lower()
        return any(needle in lowered for needle in self._needles)


def replace_spans(data: bytes, spans: Sequence[tuple[int, int, str]]) -> bytes:
    """The text with other text in the place of parts that are in order and do not overlap."""
    kept = []
    for (_, end, mark), (start, _, _) in pairwise([(0, 0, ""), *spans, (len(data), 0, "")]):
        kept += [mark.encode(), data[end:start]]
    return b"".join(kept)


def merged_spans(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The spans in order, those that overlap as one."""
    last: tuple[int, int] | None = None
    for start, end in sorted(spans):
        if last is not None and start < last[1]:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = start, end
    if last is not None:
        yield last


def forms_of(secret: str) -> Iterator[bytes]:
    """What shows that a decoded text in lower case has the secret in it."""
    data = secret.encode("utf-8", "surrogatepass")
    plain = decode_escapes(data).data.lower()
    yield plain
    yield plain.replace(b" ", b"+")  # in a form
    yield data.hex().encode()
    for before in range(3):  # bytes in front of it, which shift it within base64's groups of three
        start, end = (before * 8 + 5) // 6, (before + len(data)) * 8 // 6
        if end - start >= MIN_BASE64_CHARACTERS:
            for encode in (b64encode, urlsafe_b64encode):
                yield encode(bytes(before) + data)[start:end].lower()


def find_all(data: bytes, needle: bytes) -> Iterator[tuple[int, int]]:
    """Where `needle`, which is not empty, stands in `data`."""
    at = data.find(needle)
    while at >= 0:
        yield at, at + len(needle)
        at = data.find(needle, at + 1)
