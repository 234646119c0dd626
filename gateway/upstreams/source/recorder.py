"""Exchanges with an upstream as files in the format of `compat_fixtures`, for watching drift.

Keys, and the address and names that were asked about, are replaced before anything is
written; one file is kept for each kind of reply, so that the folder stays small.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import (
    Fault,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from engine.model import Address

log = logging.getLogger(__name__)

PLACEHOLDER_LOCAL, PLACEHOLDER_DOMAIN = "someone", "example.com"
"""What stands for the mailbox and its domain."""
MAX_RECORDED_ADDRESSES = 20
"""Addresses in a list whose exchanges are kept."""
MAX_FILES = 200
"""Kinds of replies kept; beyond that nothing is written."""
PERSONAL_FIELDS = frozenset(
    {"first_name", "last_name", "full_name", "name", "owner_email", "email_avatar", "username"}
    | {"did_you_mean", "user", "tag"}
)
"""Members of a reply that name a person, whoever it is."""
EMAIL_PATTERN = re.compile(r"[\w.+-]+@[\w.-]+")


class FixtureRecorder:
    """Writes the first exchange of each kind. Never raises."""

    def __init__(self, folder: Path, dialect: Dialect, base_url: str) -> None:
        self._folder = folder / dialect.name
        self._dialect = dialect
        self._base_url = base_url
        self._seen: set[str] = set()

    def __call__(
        self,
        key: str,
        question: UpstreamQuery,
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
    ) -> None:
        if isinstance(reply, Fault):
            return
        kind = self._reply_kind(question, reply)
        self._record(request.path, kind, request, reply, {key: "{key}"}, [question.address])

    def record_job_step(
        self,
        key: str,
        job_id: str,
        addresses: Sequence[Address],
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
        kind: str,
    ) -> None:
        """One step of a list; `kind` is what was read in it. Only of short lists, which are
        enough to see drift by."""
        if isinstance(reply, Fault) or len(addresses) > MAX_RECORDED_ADDRESSES:
            return
        secrets = {key: "{key}"} | ({job_id: "{job_id}"} if job_id else {})
        path = request.path.replace(job_id, "job") if job_id else request.path
        kind = f"list_{reply.status}_{kind}"
        self._record(path, kind, request, reply, secrets, addresses)

    def _record(
        self,
        path: str,
        kind: str,
        request: UpstreamRequest,
        reply: UpstreamReply,
        secrets: Mapping[str, str],
        addresses: Sequence[Address],
    ) -> None:
        name = f"{path.strip('/').replace('/', '_')}_{kind}"
        if name in self._seen or len(self._seen) >= MAX_FILES:
            return
        self._seen.add(name)
        try:
            self._write(name, _scrubbed(self._to_fixture(request, reply), secrets, addresses))
        except OSError as exc:
            extra = {"dialect": self._dialect.name, "file": name, "error": exc.strerror}
            log.warning("recording.failed", extra=extra)

    def _reply_kind(self, question: UpstreamQuery, reply: UpstreamReply) -> str:
        """What tells one reply from another: its status, and what we read in it."""
        assert self._dialect.upstream is not None
        told = self._dialect.upstream.verify.parse(reply, question)
        if isinstance(told, UpstreamResult):
            return f"{reply.status}_{told.verdict}_{told.reason}"
        return f"{reply.status}"

    def _to_fixture(self, request: UpstreamRequest, reply: UpstreamReply) -> dict[str, Any]:
        query = urlencode(request.query)
        asked: dict[str, Any] = {
            "method": request.method,
            "url": request.path + (f"?{query}" if query else ""),
            "headers": dict(request.headers),
        }
        body = request.json
        if body is not None:
            asked["json"] = body
        elif request.body:
            asked["text"] = request.body.decode("utf-8", "replace")
        replied: dict[str, Any] = {
            "status": reply.status,
            "headers": {"content-type": reply.headers.get("content-type", "")},
        }
        if reply.json is None:
            replied["text"] = reply.body.decode("utf-8", "replace")
        else:
            replied["json"] = reply.json
        day = datetime.fromtimestamp(reply.received_at, UTC).strftime("%Y-%m-%d")
        return {
            "about": "Recorded.",
            "source": f"{self._base_url} (seen), {day}",
            "request": asked,
            "reply": replied,
        }

    def _write(self, name: str, case: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(case, indent=2, ensure_ascii=False)
        (self._folder / f"{name}.json").write_text(text + "\n", "utf-8")


def _scrubbed(
    case: dict[str, Any], secrets: Mapping[str, str], addresses: Sequence[Address]
) -> dict[str, Any]:
    """The case without the keys, the addresses, their parts, and whatever else looks like one."""
    words = dict(secrets)
    for address in addresses:
        words |= {
            address.raw: f"{PLACEHOLDER_LOCAL}@{PLACEHOLDER_DOMAIN}",
            address.normalized: f"{PLACEHOLDER_LOCAL}@{PLACEHOLDER_DOMAIN}",
            address.local: PLACEHOLDER_LOCAL,
            address.user: PLACEHOLDER_LOCAL,
            address.domain: PLACEHOLDER_DOMAIN,
            address.ascii_domain: PLACEHOLDER_DOMAIN,
        }
    whole = {
        **secrets,
        **{address.raw: f"{PLACEHOLDER_LOCAL}@{PLACEHOLDER_DOMAIN}" for address in addresses},
    }
    case["request"]["url"] = _scrub_url(case["request"]["url"], whole)
    ordered = sorted((word for word in words.items() if len(word[0]) > 2), key=lambda w: -len(w[0]))
    clean: dict[str, Any] = _scrub_value(case, ordered)
    return clean


def _scrub_url(url: str, words: Mapping[str, str]) -> str:
    """Parameters are replaced decoded, since an address looks different encoded."""
    path, _, query = url.partition("?")
    if not query:
        return url
    pairs = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        for word, other in words.items():
            value = value.replace(word, other)
        pairs.append((name, value))
    return f"{path}?{urlencode(pairs, safe='{}@')}"


def _scrub_value(value: Any, words: list[tuple[str, str]], name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {inner: _scrub_value(told, words, inner) for inner, told in value.items()}
    if isinstance(value, list):
        return [_scrub_value(told, words, name) for told in value]
    if type(value) is int:  # the id of a list is a number at some vendors
        return dict(words).get(str(value), value)
    if not isinstance(value, str):
        return value
    if name in PERSONAL_FIELDS:
        return "Someone" if value else value
    for word, other in words:
        value = value.replace(word, other)
    return EMAIL_PATTERN.sub(f"{PLACEHOLDER_LOCAL}@{PLACEHOLDER_DOMAIN}", value)
