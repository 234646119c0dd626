"""The generic "API Documentation v1", keys `ev_live_…`: VerifyCatch's API.

Documentation: https://www.verifycatch.com/docs, seen 2026-11; fixtures in
`compat_fixtures/generic`. The page shows one error code, one verification and one account;
a constant here stands for each thing that it does not show.

Quirks:
- an error is `{"error": code, "message": text}`, with further members beside them;
- the sample clients poll twelve times a minute although the free plan allows ten requests, so only
  POST requests count towards the limit;
- a score never leaves the range of its tier;
- a role address that is accepted is risky, by the page's table of tiers (fixture `verify_role`).
"""

from __future__ import annotations

from adapters.contract.clients import ExampleCall
from adapters.contract.credential import Credential, KeyInAuthorization, KeyInHeader
from adapters.contract.dialect import Dialect, Endpoint, KeyShape, RootPath
from adapters.generic import account, bulk, description, single
from adapters.generic.problems import write_problem
from adapters.generic.upstream import UPSTREAM
from adapters.generic.upstream_jobs import VENDOR_JOBS

DIALECT = Dialect(
    name="generic",
    title="API v1 (VerifyCatch)",
    hosts=("www.verifycatch.com", "verifycatch.com"),
    base_path="/api/v1",
    root_paths=(RootPath("/api/v1/"),),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("POST",),
            path="/api/v1/verify",
            read=single.read_verify,
            write=single.write_verify,
            description=description.VERIFY,
            bucket=account.RATE_BUCKET,
        ),
        Endpoint(
            name="bulk",
            methods=("POST",),
            path="/api/v1/verify/bulk",
            read=bulk.read_submit,
            write=bulk.write_submitted,
            description=description.BULK,
            bucket=account.RATE_BUCKET,
            body_limit=bulk.BODY_LIMIT,
            accepts_body_file=True,
        ),
        Endpoint(
            name="job",
            methods=("GET",),
            path="/api/v1/jobs/{job_id}",
            read=bulk.read_job,
            write=bulk.write_job,
            description=description.JOB,
        ),
        Endpoint(
            name="results",
            methods=("GET",),
            path="/api/v1/jobs/{job_id}/results",
            read=bulk.read_results,
            write=bulk.write_results,
            description=description.RESULTS,
        ),
        Endpoint(
            name="download",
            methods=("GET",),
            path="/api/v1/jobs/{job_id}/download",
            read=bulk.read_download,
            write=bulk.write_download,
            description=description.DOWNLOAD,
        ),
        Endpoint(
            name="account",
            methods=("GET",),
            path="/api/v1/account",
            read=account.read_account,
            write=account.write_account,
            description=description.ACCOUNT,
        ),
        Endpoint(
            name="plans",
            methods=("GET",),
            path="/api/v1/plans",
            read=account.read_plans,
            write=account.write_plans,
            description=description.PLANS,
            needs_key=False,
        ),
    ),
    credential=Credential((KeyInAuthorization(), KeyInHeader("x-api-key"))),
    write_problem=write_problem,
    key_shape=KeyShape("ev_live_", "ev_test_", length=24),
    verdict_members=("tier", "result"),
    sandbox_key="ev_test_sandbox",
    example_job_ids=("a1b2c3d4-e5f6-7890-abcd-ef1234567890",),
    example=ExampleCall(
        "/api/v1/verify",
        headers={"X-API-Key": "{key}", "Content-Type": "application/json"},
        body={"email": "role@example.com"},
    ),
    plans=account.PLANS,
    # that of the page's sample
    sandbox_plan=account.PLANS[0],
    batch_rules=bulk.BATCH_RULES,
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
)
