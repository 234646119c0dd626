"""Kickbox, `https://api.kickbox.com/v2`, and its open API, `https://open.kickbox.com/v1`.

Documentation: https://docs.kickbox.com (using the API, single verification, batch verification,
sandbox, terminology, the sendex), seen 2026-11, and the official clients for Python, Node, Ruby and
PHP. Fixtures: `compat_fixtures/kickbox`.

Quirks that clients rely on:
- the official clients send `Authorization: token KEY`, which is undocumented, and most drop a path
  of the base URL (fixture `verify_token`);
- everything about keys and credits is a 403 (fixtures `no_key_403`, `no_credits_403`);
- `X-Kickbox-Balance` is in every reply to a known key, errors included, in exactly this case
  (fixture `verify`);
- JSON has no blanks: one client reads `{"disposable":true}` by its length (fixture `disposable`);
- `sendex` is an integer where it is whole (fixture `verify`);
- every reply has a content type, without which the Python client fails.

Recipient Authentication (`/v2/authenticate/…`) sends mail, and is not served.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInAuthorization, KeyInQuery
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import AccountInfo, Plan, Rate
from adapters.contract.options import DialectOptions, option
from adapters.kickbox import batch, description, single
from adapters.kickbox.problems import write_problem, write_problem_newer
from adapters.kickbox.upstream import UPSTREAM
from adapters.kickbox.upstream_jobs import VENDOR_JOBS
from adapters.kickbox.words import DEFAULT_SAMPLE, DID_YOU_MEAN, SAMPLES, choose_sample
from adapters.kit.root_paths import KICKBOX_REST
from engine.model import Verdict

BUCKET = "all"

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        name="verify",
        methods=("GET",),
        path="/v2/verify",
        read=single.read_verify,
        write=single.write_verify,
        description=description.VERIFY,
        bucket=BUCKET,
    ),
    Endpoint(
        name="batch",
        methods=("PUT",),
        path="/v2/verify-batch",
        read=batch.read_submit,
        write=batch.write_submitted,
        description=description.BATCH,
        bucket=BUCKET,
        body_limit=batch.BODY_LIMIT,
        accepts_body_file=True,
    ),
    Endpoint(
        name="batch_status_by_query",
        methods=("GET",),
        path="/v2/verify-batch",
        read=batch.read_status_by_query,
        write=batch.write_status,
        description=description.BATCH_STATUS_BY_QUERY,
        bucket=BUCKET,
    ),
    Endpoint(
        name="batch_status",
        methods=("GET",),
        path="/v2/verify-batch/{job_id}",
        read=batch.read_status,
        write=batch.write_status,
        description=description.BATCH_STATUS,
        bucket=BUCKET,
    ),
    Endpoint(
        name="download",
        methods=("GET",),
        path="/v2/verify-batch/downloads/{token}.csv",
        read=batch.read_download,
        write=batch.write_download,
        description=description.DOWNLOAD,
        needs_key=False,
    ),
    Endpoint(
        name="balance",
        methods=("GET",),
        path="/v2/balance",
        read=single.read_balance,
        write=single.write_balance,
        description=description.BALANCE,
        bucket=BUCKET,
    ),
    Endpoint(
        name="disposable",
        methods=("GET",),
        path="/v1/disposable/{text}",
        read=single.read_disposable,
        write=single.write_disposable,
        description=description.DISPOSABLE,
        needs_key=False,
        cors=True,
    ),
    Endpoint(
        name="disposable_blank",
        methods=("GET",),
        path="/v1/disposable",
        read=single.read_disposable,
        write=single.write_disposable,
        description=description.DISPOSABLE_BLANK,
        needs_key=False,
        cors=True,
    ),
)


def account_headers(account: AccountInfo) -> tuple[tuple[str, str], ...]:
    return (("X-Kickbox-Balance", str(single.balance(account))),)


@dataclass(frozen=True, slots=True)
class Options:
    """The section `[kickbox]` of the settings."""

    replies: Literal["documented", "newer"] = option(
        "documented",
        "`newer`: as seen in 2026, with `success` and `message` first, and a `code` in errors.",
    )


def configure(dialect: Dialect, options: Options) -> Dialect:
    if options.replies == "documented":
        return dialect
    endpoints = tuple(
        replace(endpoint, write=single.write_verify_newer)
        if endpoint.write is single.write_verify
        else endpoint
        for endpoint in dialect.endpoints
    )
    return replace(dialect, endpoints=endpoints, write_problem=write_problem_newer)


DIALECT = Dialect(
    name="kickbox",
    title="Kickbox",
    hosts=(
        "api.kickbox.com",
        "api.eu.kickbox.com",
        "api.kickbox.io",
        "open.kickbox.com",
        "open.kickbox.io",
    ),
    base_path="/v2",
    root_paths=(
        RootPath("/v2/verify"),
        RootPath("/v2/verify-batch"),
        RootPath("/v2/balance"),
        RootPath("/v2/authenticate"),
        RootPath("/v1/disposable"),
        KICKBOX_REST,
    ),
    endpoints=ENDPOINTS,
    credential=Credential((KeyInQuery("apikey"), KeyInAuthorization(("bearer", "token")))),
    write_problem=write_problem,
    options=DialectOptions(Options, configure),
    key_shape=KeyShape("live_", "test_", alphabet="0123456789abcdef", length=64),
    sandbox_key="test_sandbox000000000000000000000000000000000000000000000000000000000",
    # the page on the API: 25 open requests at a time, of each client address
    plans=(Plan("kickbox", "Kickbox", rates={BUCKET: Rate(8_000, 60)}, parallel=25),),
    account_headers=account_headers,
    timing_header="X-Kickbox-Response-Time",
    # "unknown results are not charged"
    refunds=lambda v: v.verdict is Verdict.UNKNOWN,
    batch_rules=batch.BATCH_RULES,
    verdict_members=("result", "reason"),
    example=ExampleCall(
        "/v2/verify",
        query={"email": "deliverable@example.com"},
        headers={"Authorization": "Bearer {key}"},
    ),
    clients=(
        VendorClient(
            "Python `kickbox`",
            "/",
            '`kickbox.Client(key, {"base": "{url}"})`, which drops any path',
        ),
        VendorClient(
            "Node `kickbox`", "/", '`kickbox.client(key, {base: "{url}"})`, which drops any path'
        ),
        VendorClient(
            "Ruby `kickbox`",
            "/",
            '`Kickbox::Client.new(key, {:base => "{url}"})`, which drops any path',
        ),
        VendorClient(
            "PHP `kickbox/kickbox`",
            "",
            "cannot be set for the whole client: redirect its [host name](#host-names)",
        ),
    ),
    choose_sample=choose_sample,
    test_addresses=tuple(f"{word}@example.com" for word in (*SAMPLES, DID_YOU_MEAN)),
    default_sample=DEFAULT_SAMPLE,
    example_job_ids=("123",),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
)
