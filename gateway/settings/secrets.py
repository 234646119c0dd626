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
    """The name and the password of a URL, and both as they are sent.

    Some services take a key as the name and anything as the password. The name of a database's user
    is an ordinary word beside a password, and no secret.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not at:
        return
    name, _, password = userinfo.partition(":")
    yield unquote(password or name)
    if parts.scheme != "postgresql":
        yield unquote(name)
    yield f"{unquote(name)}:{unquote(password)}"
