"""Bodies of `multipart/form-data` (RFC 7578) for requests to vendors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form."""

    name: str
    filename: str
    content: bytes
    media_type: str = "text/csv"


def multipart_body(parts: Sequence[FormField | FormFile]) -> tuple[str, bytes]:
    """The content type and the body, with the parts in the order given.

    Names and file names are constants of the dialect, without quotes or line ends. The boundary is
    a hash of the contents, since a dialect has no source of randomness; no list of addresses can
    contain its own hash.
    """
    contents = [
        part.value.encode() if isinstance(part, FormField) else part.content for part in parts
    ]
    boundary = sha256(b"\0".join(contents)).hexdigest()
    encoded = [
        b"".join((f"--{boundary}\r\n".encode(), _head(part), content, b"\r\n"))
        for part, content in zip(parts, contents, strict=True)
    ]
    body = b"".join((*encoded, f"--{boundary}--\r\n".encode()))
    return f"multipart/form-data; boundary={boundary}", body


def _head(part: FormField | FormFile) -> bytes:
    head = f'Content-Disposition: form-data; name="{part.name}"'
    if isinstance(part, FormFile):
        head += f'; filename="{part.filename}"\r\nContent-Type: {part.media_type}'
    return f"{head}\r\n\r\n".encode()
