"""Records exchanges with an upstream in the format of `compat_fixtures`, which shows API changes.

Keys, the addresses asked about and the names of people are replaced before a file is written. Each
kind of reply has one file, so that the folder stays small. All of this is done in a thread, one
exchange at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from adapters.contract.upstream import (
    Fault,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from engine.model import Address
from gateway.observability.redaction import SecretList
from gateway.store.private_files import private_opener
from gateway.upstreams.transport.client import UpstreamLocation

log = logging.getLogger(__name__)

PLACEHOLDER_LOCAL, PLACEHOLDER_DOMAIN = "someone", "example.com"
"""They replace the local part and the domain."""
PLACEHOLDER_ADDRESS = f"{PLACEHOLDER_LOCAL}@{PLACEHOLDER_DOMAIN}"
KEY = "{key}"
"""It replaces the key of the request."""
DOMAIN_FIELDS = frozenset({"domain", "subdomain"})
"""Members that show an address's domain, or one label of it."""
MAX_RECORDED_ADDRESSES = 20
"""Vendor jobs of more addresses are not recorded."""
MAX_FILES = 200
"""The most kinds of replies; further kinds are not recorded."""
MAX_REPLY_BYTES = 16 * 1024
"""A larger reply is not recorded: it shows nothing more of the vendor's format."""
MAX_WAITING = 32
"""The most exchanges that wait to be written; further ones are not recorded."""
PERSONAL_FIELDS = frozenset(
    {"first_name", "last_name", "full_name", "name", "owner_email", "email_avatar", "username"}
    | {"did_you_mean", "user", "tag"}
)
"""Members of a reply that name a person."""
LINK = "{link}"
"""In place of a link to results, which whoever has it can fetch."""
LINK_FIELDS = frozenset({"download_url", "download_file"})
# Tried once for each run of such characters, whether or not an @ follows it.
EMAIL_PATTERN = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w.-]+")


class FixtureRecorder:
    """Writes the first exchange of each kind; it never raises. `aclose` ends it."""

    def __init__(
        self, folder: Path, vendor_api: UpstreamLocation, secrets: SecretList | None = None
    ) -> None:
        """`secrets` are those of the process, which no file may contain."""
        self._dialect = vendor_api.dialect
        self._folder = folder / self._dialect.name
        self._base_url = vendor_api.url_without_credentials
        self._secrets = secrets or SecretList()
        self._seen: set[str] = set()
        self._waiting: deque[Callable[[], None]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Wait until the last exchange is written."""
        if self._task is not None:
            await self._task

    def __call__(
        self,
        key: str,
        question: UpstreamQuery,
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
    ) -> None:
        if isinstance(reply, Fault):
            return

        def record() -> None:
            kind = self._reply_kind(question, reply)
            self._record(request.path, kind, request, reply, key, "", [question.address])

        self._record_later(reply, record)

    def record_job_step(
        self,
        key: str,
        job_id: str,
        addresses: Sequence[Address],
        request: UpstreamRequest,
        reply: UpstreamReply | Fault,
        kind: str,
    ) -> None:
        """One step of a vendor job; `kind` names what the reply held. Short jobs show enough."""
        if isinstance(reply, Fault) or len(addresses) > MAX_RECORDED_ADDRESSES:
            return
        path = request.path.replace(job_id, "job") if job_id else request.path
        kind = f"list_{reply.status}_{kind}"
        self._record_later(
            reply, lambda: self._record(path, kind, request, reply, key, job_id, addresses)
        )

    def _record_later(self, reply: UpstreamReply, record: Callable[[], None]) -> None:
        if len(reply.body) > MAX_REPLY_BYTES or len(self._waiting) >= MAX_WAITING:
            return
        self._waiting.append(record)
        if self._task is None:
            self._task = asyncio.create_task(self._record_waiting())

    async def _record_waiting(self) -> None:
        try:
            while self._waiting:
                await asyncio.to_thread(self._waiting.popleft())
        finally:
            self._task = None

    def _record(
        self,
        path: str,
        kind: str,
        request: UpstreamRequest,
        reply: UpstreamReply,
        key: str,
        job_id: str,
        addresses: Sequence[Address],
    ) -> None:
        path = path.strip("/").replace("/", "_") or "link"
        name = f"{path}_{kind}"
        if name in self._seen or len(self._seen) >= MAX_FILES:
            return
        self._seen.add(name)
        try:
            case = self._to_fixture(request, reply)
            self._write(name, _Scrubber(key, job_id, addresses, self._secrets).clean(case))
        except OSError as exc:
            extra = {"dialect": self._dialect.name, "file": name, "error": exc.strerror}
            log.warning("recording.failed", extra=extra)

    def _reply_kind(self, question: UpstreamQuery, reply: UpstreamReply) -> str:
        """The kind of a reply: its status and what was read in it."""
        assert self._dialect.upstream is not None
        found = self._dialect.upstream.verify.parse(reply, question)
        if isinstance(found, UpstreamResult):
            return f"{reply.status}_{found.verdict}_{found.reason}"
        return f"{reply.status}"

    def _to_fixture(self, request: UpstreamRequest, reply: UpstreamReply) -> dict[str, Any]:
        query = urlencode(request.query)
        asked: dict[str, Any] = {
            "method": request.method,
            "url": LINK if request.link else request.path + (f"?{query}" if query else ""),
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
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(case, indent=2, ensure_ascii=False)
        path = self._folder / f"{name}.json"
        with open(path, "w", encoding="utf-8", opener=private_opener) as file:
            file.write(text + "\n")


class _Scrubber:
    """Replaces keys, the job's id, the addresses and their parts, and anything like an address."""

    def __init__(
        self, key: str, job_id: str, addresses: Sequence[Address], secrets: SecretList
    ) -> None:
        whole = {key: KEY} | ({job_id: "{job_id}"} if job_id else {})
        words = dict(whole)
        for address in addresses:
            whole[address.raw] = PLACEHOLDER_ADDRESS
            words |= {
                address.raw: PLACEHOLDER_ADDRESS,
                address.normalized: PLACEHOLDER_ADDRESS,
                address.local: PLACEHOLDER_LOCAL,
                address.user: PLACEHOLDER_LOCAL,
                address.domain: PLACEHOLDER_DOMAIN,
                address.ascii_domain: PLACEHOLDER_DOMAIN,
            }
        self._whole = whole
        self._words = dict(
            sorted((word for word in words.items() if len(word[0]) > 2), key=lambda w: -len(w[0]))
        )
        self._own_key = SecretList([key])
        self._secrets = secrets

    def clean(self, case: dict[str, Any]) -> dict[str, Any]:
        case["request"]["url"] = self._clean_url(case["request"]["url"])
        clean: dict[str, Any] = self._clean_value(case)
        return clean

    def _clean_url(self, url: str) -> str:
        """Parameters are decoded first, since an encoded address looks different."""
        path, _, query = url.partition("?")
        if not query:
            return url
        pairs = []
        for name, value in parse_qsl(query, keep_blank_values=True):
            for word, other in self._whole.items():
                value = value.replace(word, other)
            pairs.append((name, value))
        return f"{path}?{urlencode(pairs, safe='{}@')}"

    def _clean_value(self, value: Any, name: str = "") -> Any:
        if isinstance(value, Mapping):
            return {
                self._clean_text(inner): self._clean_value(member, inner)
                for inner, member in value.items()
            }
        if isinstance(value, list):
            return [self._clean_value(item, name) for item in value]
        if type(value) is int:  # the id of a job is a number at some vendors
            return self._words.get(str(value), value)
        if not isinstance(value, str):
            return value
        if name in LINK_FIELDS:
            return LINK if value else value
        if name in DOMAIN_FIELDS:
            return PLACEHOLDER_DOMAIN if value else value
        if name in PERSONAL_FIELDS:
            return "Someone" if value else value
        return EMAIL_PATTERN.sub(PLACEHOLDER_ADDRESS, self._clean_text(value))

    def _clean_text(self, text: str) -> str:
        for word, other in self._words.items():
            text = text.replace(word, other)
        # In any encoding in which a vendor may repeat a secret.
        return self._secrets.redact(self._own_key.redact(text, KEY))
