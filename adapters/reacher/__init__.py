"""Reacher's API: the HTTP server of check-if-email-exists, release 0.11.7, as of 2026-11.

Documentation: https://docs.reacher.email; the server's source and tests, which count where the two
differ (https://github.com/reacherhq/check-if-email-exists). Fixtures: `compat_fixtures/reacher`.

Quirks:
- a wrong secret is a 400 in plain text, an unknown path a 404 without a body;
- the error of a time-out has an object as its message, all others a text;
- rows of a list have their members in alphabetical order, a single check has not;
- a server of one's own takes `x-reacher-secret`, the hosted service `Authorization` without a
  scheme; both are read, in that order, and refused in the words of the one that was used;
- calls about lists want the key too, though the server checks it for POST alone: ids count upwards;
- a CSV of results is complete, where release 0.11.7 fails (`accepts_email should be a boolean`);
- disposable addresses are `risky`, as documented, where release 0.11.7 says `invalid`.
"""

from __future__ import annotations

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInAuthorization, KeyInHeader
from adapters.contract.description import Description
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.kit.root_paths import REACHER_BULK
from adapters.reacher import bulk, description, single
from adapters.reacher.problems import HOSTED, SECRET_HEADER, write_problem
from adapters.reacher.upstream import UPSTREAM
from adapters.reacher.upstream_jobs import VENDOR_JOBS

CHECK_BODY_LIMIT = 16 * 1024
"""Bytes."""


def _check(version: str) -> AnyEndpoint:
    return Endpoint(
        name=f"{version}_check",
        methods=("POST",),
        path=f"/{version}/check_email",
        read=single.read_check,
        write=single.write_check,
        description=description.CHECK,
        bucket="check" if version == "v1" else None,
        body_limit=CHECK_BODY_LIMIT,
    )


def _bulk(version: str) -> tuple[AnyEndpoint, ...]:
    return (
        Endpoint(
            name=f"{version}_bulk",
            methods=("POST",),
            path=f"/{version}/bulk",
            read=bulk.read_submit,
            write=bulk.write_submitted,
            description=description.BULK,
            body_limit=bulk.BODY_LIMIT,
            accepts_body_file=True,
        ),
        Endpoint(
            name=f"{version}_job",
            methods=("GET",),
            path=f"/{version}/bulk/{{job_id}}",
            read=bulk.read_job,
            write=bulk.write_job,
            description=description.JOB,
        ),
        Endpoint(
            name=f"{version}_results",
            methods=("GET",),
            path=f"/{version}/bulk/{{job_id}}/results",
            read=bulk.read_results,
            write=bulk.write_results,
            description=description.RESULTS,
        ),
    )


def _version(name: str, path: str, about: Description) -> AnyEndpoint:
    return Endpoint(
        name=name,
        methods=("GET",),
        path=path,
        read=single.read_version,
        write=single.write_version,
        description=about,
        needs_key=False,
    )


DIALECT = Dialect(
    name="reacher",
    title="Reacher",
    hosts=(HOSTED,),
    base_path="",
    root_paths=(
        RootPath("/v0/"),
        RootPath("/v1/check_email"),
        REACHER_BULK,
        RootPath("/version"),
    ),
    endpoints=(
        _check("v1"),
        _check("v0"),
        *_bulk("v1"),
        *_bulk("v0"),
        _version("version", "/version", description.VERSION),
        # the server does not look at what follows
        _version("version_below", "/version/{rest}", description.VERSION_BELOW),
    ),
    credential=Credential((KeyInHeader(SECRET_HEADER), KeyInAuthorization(("bearer", "")))),
    write_problem=write_problem,
    # its router knows GET and POST alone (seen)
    answers_head=False,
    key_shape=KeyShape("", "test_", length=32),
    sandbox_key="sandbox",
    example=ExampleCall(
        "/v1/check_email",
        headers={SECRET_HEADER: "{key}", "Content-Type": "application/json"},
        body={"to_email": "deliverable@example.com"},
    ),
    clients=(
        VendorClient("Node @reacherhq/api", "/v0/check_email", "option `backendUrl`: `{url}`"),
    ),
    batch_rules=bulk.BATCH_RULES,
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
    verdict_members=("is_reachable",),
)
