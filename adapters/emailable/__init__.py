"""Emailable, `https://api.emailable.com/v1`.

Documentation: https://emailable.com/docs/api/ (emails, account, status codes, rate limits,
authentication), seen 2026-11, and the official clients for Python, Node and Ruby and the CLI.
Fixtures: `compat_fixtures/emailable`.

Quirks that its official clients rely on:
- 249 is a success with the text "send your request again"; the Ruby client knows only the eight
  error codes of the documentation and fails on any other, so there is no 405, 413 or 422 here
  (fixtures `not_found_method_put`, `too_large`);
- the Python client sends `Bearer None` without a key and the options of a POST in the query; the
  Ruby client sends `Bearer` without a key, and a content type on GETs without a body;
- every error is `{"message": …}`, and every batch status has a `message` with one of three texts
  that clients compare with;
- `score` is an integer, which the CLI cannot read as `100.0`.
"""

from __future__ import annotations

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInAuthorization, KeyInBody, KeyInQuery
from adapters.contract.dialect import Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import Plan, Rate
from adapters.emailable import batch, description, single
from adapters.emailable.problems import write_problem
from adapters.emailable.upstream import UPSTREAM
from adapters.emailable.upstream_jobs import VENDOR_JOBS

DIALECT = Dialect(
    name="emailable",
    title="Emailable",
    hosts=("api.emailable.com",),
    base_path="/v1",
    root_paths=(RootPath("/v1/"),),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("GET", "POST"),
            path="/v1/verify",
            read=single.read_verify,
            write=single.write_verify,
            description=description.VERIFY,
            bucket="verify",
            cors=True,
        ),
        Endpoint(
            name="batch",
            methods=("POST",),
            path="/v1/batch",
            read=batch.read_submit,
            write=batch.write_submitted,
            description=description.BATCH,
            bucket="batch",
            body_limit=batch.BODY_LIMIT,
            accepts_body_file=True,
        ),
        Endpoint(
            name="batch_status",
            methods=("GET",),
            path="/v1/batch",
            read=batch.read_status,
            write=batch.write_status,
            description=description.BATCH_STATUS,
            bucket="batch",
        ),
        Endpoint(
            name="download",
            methods=("GET",),
            path="/v1/downloads/{token}.zip",
            read=batch.read_download,
            write=batch.write_download,
            description=description.DOWNLOAD,
            needs_key=False,
        ),
        Endpoint(
            name="account",
            methods=("GET",),
            path="/v1/account",
            read=single.read_account,
            write=single.write_account,
            description=description.ACCOUNT,
            bucket="account",
        ),
    ),
    credential=Credential(
        (
            KeyInAuthorization(),
            KeyInQuery("api_key"),
            KeyInQuery("access_token"),
            KeyInBody("api_key"),
            KeyInBody("access_token"),
        )
    ),
    write_problem=write_problem,
    key_shape=KeyShape("live_", "test_", alphabet="0123456789abcdef", length=20),
    batch_rules=batch.BATCH_RULES,
    verdict_members=("state", "reason"),
    sandbox_key="test_7aff7fc0142c65f86a00",
    example=ExampleCall(
        "/v1/verify",
        query={"email": "deliverable@example.com"},
        headers={"Authorization": "Bearer {key}"},
    ),
    clients=(
        VendorClient(
            "Python `emailable`",
            "/v1/",
            '`client = emailable.Client(key)`, then `client.base_url = "{url}"`; the slash at the'
            " end counts",
        ),
        VendorClient(
            "Node `emailable`",
            "/v1/",
            '`const emailable = require("emailable")(key)`, then'
            ' `emailable.client.instance.defaults.baseURL = "{url}"`',
        ),
        VendorClient(
            "Ruby `emailable`",
            "",
            "cannot be set: redirect its [host name](#host-names), or replace it as"
            " [docs/sandbox.md](docs/sandbox.md) shows",
        ),
        VendorClient(
            "Emailable CLI",
            "/v1",
            "`EMAILABLE_API_URL={url}`, and `EMAILABLE_OAUTH_URL`, which it requires, with any URL",
        ),
    ),
    # "These will only work with the verify endpoint, not the batch endpoint."
    magic_addresses_in_batches=False,
    # the page on emails: the same request within 5 minutes is not charged again
    free_repeat_s=300,
    example_job_ids=("5cff27400000000000000000", "5cfcbfdeede34200693c4319"),
    reason_phrases={249: "Try Again"},
    plans=(
        Plan(
            "emailable",
            "Emailable standard",
            rates={"verify": Rate(25, 1), "batch": Rate(5, 1), "account": Rate(5, 1)},
        ),
    ),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
)
