"""Reacher's API: the HTTP server of check-if-email-exists, release 0.11.7, as of 2026-11.

Documentation: https://docs.reacher.email; the server's source and tests, which count where the two
differ (https://github.com/reacherhq/check-if-email-exists). Fixtures: `compat_fixtures/reacher`.

Quirks:
- a wrong secret is a 400 in plain text, an unknown path a 404 without a body;
- the error of a time-out has an object as its message, all others a text;
- rows of a list have their members in alphabetical order, a single check has not;
- a server of one's own takes `x-reacher-secret`, the hosted service `Authorization` without a
  scheme; both are read, in that order, and refused in the words of the one that was used;
- the server checks the secret of POST requests alone; here calls about lists want the key too,
  since ids count upwards (`Options.bulk_reads`; fixture `job_open`);
- release 0.11.7 fails at a CSV of results (`Options.csv`; fixture `results_csv_failing_500`), and
  takes disposable addresses, which are documented as `risky`, for malformed
  (`Options.disposable`; fixture `check_disposable_invalid`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from adapters.contract.batch_rules import BatchRules
from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInAuthorization, KeyInHeader
from adapters.contract.description import Description
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import AccountInfo, Plan
from adapters.contract.options import DialectOptions, option
from adapters.kit.root_paths import REACHER_BULK
from adapters.kit.words import utc_millis
from adapters.reacher import bulk, description, single
from adapters.reacher.problems import HOSTED, SECRET_HEADER, write_problem
from adapters.reacher.release import View, as_documented, without_disposable
from adapters.reacher.samples import choose_sample
from adapters.reacher.upstream import UPSTREAM
from adapters.reacher.upstream_jobs import VENDOR_JOBS

CHECK_BODY_LIMIT = 16 * 1024
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Options:
    """The section `[reacher]` of the settings."""

    disposable: Literal["risky", "invalid"] = option(
        "risky",
        "What an address of a disposable domain is: `risky` as documented, or `invalid` as in"
        " release 0.11.7, which takes it for malformed.",
    )
    csv: Literal["complete", "failing"] = option(
        "complete",
        "`failing`: results of `/v1/bulk` as CSV are a 500, as in release 0.11.7.",
    )
    bulk_reads: Literal["key", "open"] = option(
        "key",
        "`open`: who knows the id of a list reads it without a key, as at the vendor's server. Ids"
        " are counted upwards.",
    )


def _check(version: str, view: View) -> AnyEndpoint:
    return Endpoint(
        name=f"{version}_check",
        methods=("POST",),
        path=f"/{version}/check_email",
        read=single.read_check,
        write=single.check_writer(view),
        description=description.CHECK,
        bucket="check" if version == "v1" else None,
        body_limit=CHECK_BODY_LIMIT,
    )


def _bulk(version: str, view: View, options: Options) -> tuple[AnyEndpoint, ...]:
    is_public = options.bulk_reads == "open"
    csv_fails = options.csv == "failing" and version == "v1"
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
            read=bulk.read_public_job if is_public else bulk.read_job,
            write=bulk.write_job,
            description=description.JOB,
            needs_key=not is_public,
        ),
        Endpoint(
            name=f"{version}_results",
            methods=("GET",),
            path=f"/{version}/bulk/{{job_id}}/results",
            read=bulk.read_public_results if is_public else bulk.read_results,
            write=bulk.results_writer(view, csv_fails=csv_fails),
            description=description.RESULTS,
            needs_key=not is_public,
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


def account_headers(account: AccountInfo) -> tuple[tuple[str, str], ...]:
    """The month's limit, as the hosted service shows it in every reply."""
    if account.at is None:
        return ()
    left = account.credits_shown
    following = (account.at.replace(day=1) + timedelta(days=32)).replace(day=1)
    reset = following.replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        ("Retry-After", f"{(reset - account.at).total_seconds():.3f}"),
        ("X-RateLimit-Limit", str(account.used + left)),
        ("X-RateLimit-Remaining", str(max(left, 0))),
        ("X-RateLimit-Reset", utc_millis(reset)),
    )


def _endpoints(options: Options) -> tuple[AnyEndpoint, ...]:
    view = VIEWS[options.disposable]
    return (
        _check("v1", view),
        _check("v0", view),
        *_bulk("v1", view, options),
        *_bulk("v0", view, options),
        _version("version", "/version", description.VERSION),
        # the server does not look at what follows
        _version("version_below", "/version/{rest}", description.VERSION_BELOW),
    )


def _batch_rules(options: Options) -> BatchRules:
    return bulk.batch_rules(VIEWS[options.disposable], is_public=options.bulk_reads == "open")


VIEWS: Mapping[str, View] = {"risky": as_documented, "invalid": without_disposable}
"""By `Options.disposable`."""


def configure(dialect: Dialect, options: Options) -> Dialect:
    endpoints, rules = _endpoints(options), _batch_rules(options)
    return replace(dialect, endpoints=endpoints, batch_rules=rules)


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
    endpoints=_endpoints(Options()),
    credential=Credential((KeyInHeader(SECRET_HEADER), KeyInAuthorization(("bearer", "")))),
    write_problem=write_problem,
    account_headers=account_headers,
    # a server of one's own has none
    account_header_hosts=(HOSTED,),
    # of the hosted service
    plans=(Plan("reacher", "Reacher", included=10_000, hard_cap=True),),
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
    batch_rules=_batch_rules(Options()),
    options=DialectOptions(Options, configure),
    choose_sample=choose_sample,
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
    verdict_members=("is_reachable",),
)
