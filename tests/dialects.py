"""The dialects as the generic suites see them.

A suite that runs over `ALL` finds a new dialect by itself: requests are built by the dialect's
own upstream client, keys are put where its `Credential` says, and other facts of the
vendor's documentation are in `compat_fixtures/<dialect>/_facts.json` (`Facts`). The last of `ALL`
is no vendor's: `tests.fakes.toy` has the awkward forms that vendors use, and proves that a dialect
needs no more than its folder, its facts and a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson

from adapters.contract.credential import KeyInAuthorization, KeyInBody, KeyInHeader, KeyInQuery
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.upstream import FaultKind, UpstreamQuery, UpstreamReply, UpstreamRequest
from adapters.registry import DIALECTS
from engine.address import syntax
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from tests.fakes import toy

FIXTURES = Path(__file__).parent.parent / "compat_fixtures"
FACTS_FILE = "_facts.json"
VENDOR_JOBS_FILE = "_vendor_jobs.json"

ALL: tuple[Dialect, ...] = (*DIALECTS, toy.DIALECT)
NAMES = tuple(dialect.name for dialect in ALL)
WITH_BATCHES = tuple(dialect.name for dialect in ALL if dialect.batch_rules is not None)
"""Names of those whose clients may submit batches."""
WITH_JOBS = tuple(dialect.name for dialect in ALL if dialect.vendor_jobs is not None)
"""Names of those whose vendor can be given jobs."""
BY_NAME: Mapping[str, Dialect] = {dialect.name: dialect for dialect in ALL}

# -- facts -------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """A reply without a result, and its meaning."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    kind: FaultKind


class JobView(NamedTuple):
    """One call that shows the state of a batch."""

    method: str
    path: str
    fields: Mapping[str, str]
    """Query or JSON members; `ID` in them and in the path is the batch's id, `IDS` a list of it."""
    states: Mapping[str, tuple[int, Any]]
    """By the sandbox's word: the status, and members of the body or its number of rows."""


@dataclass(frozen=True)
class Facts:
    """Facts of a vendor's documentation, for the tests of all dialects."""

    raw: Mapping[str, Any] = field(repr=False)

    @property
    def live_key(self) -> str:
        """A regular expression."""
        return str(self.raw["keys"]["live"])

    @property
    def test_key(self) -> str:
        """A regular expression."""
        return str(self.raw["keys"]["test"])

    @property
    def statuses(self) -> frozenset[int]:
        """The statuses that a client may get for bad requests."""
        return frozenset(self.raw["statuses"])

    def is_error_body(self, body: Any) -> bool:
        """Whether a JSON body has the shape of one of the vendor's errors."""
        return any(matches(template, body) for template in self.raw["error_bodies"])

    @property
    def has_text_errors(self) -> bool:
        """Whether errors may come as plain text."""
        return "<text>" in self.raw["error_bodies"]

    def simulated_status(self, word: str, endpoint: AnyEndpoint) -> int:
        """The status of the reply to a simulated status; the same at most vendors."""
        for row in self.raw.get("simulated_statuses", ()):
            if row["status"] == word and row.get("endpoint") in (None, endpoint.name):
                return int(row["becomes"])
        return int(word)

    @property
    def names_retry_after(self) -> bool:
        """Whether a 429 has a `Retry-After`."""
        return bool(self.raw["retry_after"])

    def verdict_back(
        self, verdict: Verdict, reason: Reason, v: Verification | None = None
    ) -> Verdict:
        """What is read where this was written; rules about the evidence hold for `v` alone."""
        found = verdict
        for row in self.raw.get("collapses", ()):
            if (
                row["verdict"] == verdict
                and row.get("reason", reason) == reason
                and ("when" not in row or (v is not None and CONDITIONS[row["when"]](v)))
            ):
                found = Verdict(row["becomes"])
        return found

    @property
    def never_says(self) -> frozenset[str]:
        """Facts of an address that the vendor has no word for."""
        return frozenset(self.raw.get("never_says", ()))

    @property
    def batch_rows_say(self) -> set[tuple[Verdict, Reason]]:
        """The verdicts and reasons that a batch returns unchanged."""
        return {
            (Verdict(verdict), Reason(reason))
            for verdict, reason in self.raw.get("batch_rows_say", ())
        }

    @property
    def batch_rows_left_out(self) -> frozenset[Reason]:
        """Reasons of which a batch says less than a single verification: no row comes back."""
        return frozenset(map(Reason, self.raw.get("batch_rows_left_out", ())))

    @property
    def facts_in_rows(self) -> frozenset[str]:
        """Fields of the evidence that a batch's row shows as a single verification does."""
        return frozenset(Evidence.__slots__) - frozenset(self.raw.get("not_in_batch_rows", ()))

    @property
    def retention(self) -> list[tuple[int, int, bool]]:
        """Entries of a batch, the days its rows are kept, and whether the job goes with them."""
        return [(r["entries"], r["days"], r["job_goes_too"]) for r in self.raw.get("retention", ())]

    @property
    def params_without_effect(self) -> frozenset[str]:
        """Parameters that are documented, and change nothing here."""
        return frozenset(row["name"] for row in self.raw.get("params_without_effect", ()))

    @property
    def params_not_described(self) -> frozenset[str]:
        """Parameters that fixtures send, and that the description leaves out."""
        return frozenset(row["name"] for row in self.raw.get("params_not_described", ()))

    @property
    def asks_for_fresh_results(self) -> bool:
        """Whether a client can bypass the vendor's cache."""
        return bool(self.raw.get("asks_for_fresh_results"))

    @property
    def refusals(self) -> list[Refusal]:
        return [
            Refusal(
                row["status"],
                {"content-type": row.get("content_type", "application/json")},
                orjson.dumps(row["json"]) if "json" in row else row["text"].encode(),
                FaultKind(row["fault"]),
            )
            for row in self.raw["refusals"]
        ]

    @cached_property
    def job_views(self) -> tuple[JobView, ...]:
        return tuple(
            JobView(
                row["method"],
                row["path"],
                row.get("fields", {}),
                {
                    word: (state["status"], state["shows"])
                    for state in row["states"]
                    for word in state["words"].split()
                },
            )
            for row in self.raw.get("job_states", ())
        )


CONDITIONS: Mapping[str, Any] = {
    "catch_all": lambda v: v.evidence.catch_all is True,
    "role": lambda v: v.evidence.role,
    "smtp_accepted": lambda v: v.evidence.smtp is not None and v.evidence.smtp.accepted is True,
}
"""What `when` may say in a row of `collapses`."""

FACTS: Mapping[str, Facts] = {
    **{
        dialect.name: Facts(orjson.loads((FIXTURES / dialect.name / FACTS_FILE).read_bytes()))
        for dialect in DIALECTS
    },
    toy.DIALECT.name: Facts(toy.FACTS),
}


VENDOR_JOBS: Mapping[str, Mapping[str, Any]] = {
    dialect.name: orjson.loads((FIXTURES / dialect.name / VENDOR_JOBS_FILE).read_bytes())
    for dialect in DIALECTS
    if dialect.vendor_jobs is not None
}
"""Requests and replies of vendor jobs, by dialect."""


def matches(template: Any, value: Any) -> bool:
    """Whether a JSON value fits: `<any>` is anything, `<text>` a text, a list one of several.

    An object has exactly the members of its template, and any others if that has a `...`.
    """
    match template:
        case "<any>":
            return True
        case "<text>":
            return isinstance(value, str)
        case list():
            return any(matches(each, value) for each in template)
        case dict():
            named = template.keys() - {"..."}
            return (
                isinstance(value, dict)
                and (value.keys() >= named if "..." in template else value.keys() == named)
                and all(matches(template[name], value[name]) for name in named)
            )
    return bool(template == value)


# -- requests ----------------------------------------------------------------------------


def verify_request(
    dialect: Dialect, key: str, email: str, checks: Checks = Checks(), wait_s: float = 60.0
) -> UpstreamRequest:
    """How the dialect's clients verify one address."""
    assert dialect.upstream is not None
    query = UpstreamQuery(syntax.parse_address(email), checks, wait_s=wait_s)
    return dialect.upstream.verify.build(key, query)


def submit_request(dialect: Dialect, key: str, emails: Sequence[str]) -> UpstreamRequest:
    """How the dialect's clients submit a batch."""
    assert dialect.vendor_jobs is not None
    addresses: list[Address] = [syntax.parse_address(email) for email in emails]
    return dialect.vendor_jobs.create.build(key, addresses, Checks())


def endpoint_of(dialect: Dialect, request: UpstreamRequest) -> AnyEndpoint:
    return next(
        endpoint
        for endpoint in dialect.endpoints
        if endpoint.path == request.path and request.method in endpoint.methods
    )


class KeyParts(NamedTuple):
    """A key in a place where a client may put it."""

    headers: dict[str, str]
    query: dict[str, str]
    body: dict[str, str]
    """Members of a JSON body."""


def key_parts(dialect: Dialect, endpoint: AnyEndpoint | None, method: str, key: str) -> KeyParts:
    """The key in the place of the highest rank that a request with that method has."""
    parts = KeyParts({}, {}, {})
    for place in dialect.credential_for(endpoint).places:
        match place:
            case KeyInAuthorization():
                parts.headers["Authorization"] = f"{place.schemes[0]} {key}".strip()
            case KeyInHeader():
                parts.headers[place.name] = key
            case KeyInQuery():
                parts.query[place.name] = key
            case KeyInBody() if method in place.methods:
                parts.body[place.name] = key
            case _:
                continue
        break
    return parts


def email_member(dialect: Dialect) -> str:
    """The parameter that holds the address in a single verification."""
    email = "somebody@example.com"
    request = verify_request(dialect, "key", email)
    members = {**request.query, **(request.json or {})}
    return next(str(name) for name, value in members.items() if value == email)


async def send(
    client: httpx.AsyncClient,
    dialect: Dialect,
    request: UpstreamRequest,
    extra_query: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send a request as an upstream client builds it, to the dialect's prefix."""
    return await client.request(
        request.method,
        f"/{dialect.name}{request.path}",
        params={**request.query, **(extra_query or {})},
        headers=dict(request.headers),
        content=request.body,
    )


async def submit(
    client: httpx.AsyncClient, dialect: Dialect, key: str, emails: Sequence[str]
) -> httpx.Response:
    """Submit a batch that is worked on later.

    As the dialect's upstream client does, or as the facts say where that client has a faster way.
    """
    form = FACTS[dialect.name].raw.get("submit")
    if form is None:
        return await send(client, dialect, submit_request(dialect, key, emails))
    fields = {name: value for name, value in form["multipart"].items() if value != "<emails>"}
    (file,) = (name for name, value in form["multipart"].items() if value == "<emails>")
    return await client.post(
        f"/{dialect.name}{form['path']}",
        data={name: key if value == "<key>" else value for name, value in fields.items()},
        files={file: ("list.csv", "\n".join(emails).encode(), "text/csv")},
    )


def job_id_in(dialect: Dialect, reply: httpx.Response) -> str:
    """The id of the batch that a reply to `submit` names."""
    assert dialect.vendor_jobs is not None
    read = UpstreamReply(reply.status_code, {}, reply.content, 0.0)
    job_id = dialect.vendor_jobs.create.parse(read, (), Checks())
    assert isinstance(job_id, str), (job_id, reply.text)
    return job_id


async def call(
    client: httpx.AsyncClient,
    dialect: Dialect,
    method: str,
    path: str,
    fields: Mapping[str, Any] | None = None,
    *,
    key: str,
) -> httpx.Response:
    """Call any path with the key in its place; `fields` go into the query, or a JSON body.

    A path may have a query of its own.
    """
    bare, _, query = path.partition("?")
    endpoint = next(
        (
            e
            for e in dialect.endpoints
            if e.path.split("{")[0] == bare[: len(e.path.split("{")[0])]
            and e.path.count("/") == bare.count("/")
            and method in e.methods
        ),
        None,
    )
    parts = key_parts(dialect, endpoint, method, key)
    has_body = method in ("POST", "PUT", "PATCH")
    url = httpx.URL(f"/{dialect.name}{bare}", params=httpx.QueryParams(query).merge(parts.query))
    if not has_body:
        url = url.copy_merge_params(dict(fields or {}))
    return await client.request(
        method,
        url,
        headers=parts.headers,
        json={**(fields or {}), **parts.body} if has_body else None,
    )
