"""The secrets that settings hold, whichever setting holds them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

from gateway.settings.values import Secret


def secrets_in(settings: object) -> Iterator[str]:
    """Every secret and every name and password of a URL, at any depth."""
    match settings:
        case BaseModel():
            for name in type(settings).model_fields:
                yield from secrets_in(getattr(settings, name))
        case Secret(value=value):
            if value:
                yield value
        case tuple():
            for one in settings:
                yield from secrets_in(one)
        case str():
            yield from url_secrets(settings)


def url_secrets(url: str) -> Iterator[str]:
    """The password of a URL, and what stands before its host as it is sent; a name that stands
    alone is a secret of its own."""
    try:
        userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    except ValueError:
        return
    if not at:
        return
    name, _, password = userinfo.partition(":")
    yield unquote(password or name)
    yield f"{unquote(name)}:{unquote(password)}"
