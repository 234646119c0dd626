"""ValidTo, `https://api.validto.com/v1`, and Bouncify, the same API under another brand.

Documentation: https://validto.readme.io/reference/responses and the pages beside it,
https://bouncify.io/docs/api-docs/, seen 2026-11. Fixtures: `compat_fixtures/validto`.

Quirks that are copied on purpose:
- the text of an error is in `result`, that of a success in `message`;
- `success` is the string "false", and first, on a single verification's 401, 402 and 429,
  a boolean, and last, everywhere else (fixtures `verify_401`, `verify_400_missing_email`);
- `/info` spells "API key" with a small k;
- a malformed address is an error 400, not a verdict;
- rows and single results have the word `accept-all`, counts and filters `accept_all`.
"""

from __future__ import annotations

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInQuery
from adapters.contract.description import Param
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import Plan, Rate
from adapters.kit.root_paths import VALIDTO_BULK, VALIDTO_VERIFY
from adapters.validto import bulk, description, single
from adapters.validto.problems import write_problem
from adapters.validto.upstream import UPSTREAM
from adapters.validto.upstream_jobs import VENDOR_JOBS


def _bulk_endpoints(path: str, job_id: Param) -> tuple[AnyEndpoint, ...]:
    return (
        Endpoint(
            name="bulk_start",
            methods=("PATCH",),
            path=path,
            read=bulk.read_start,
            write=bulk.write_started,
            description=description.start(job_id),
            bucket="all",
        ),
        Endpoint(
            name="bulk_status",
            methods=("GET",),
            path=path,
            read=bulk.read_status,
            write=bulk.write_status,
            description=description.status(job_id),
            bucket="all",
        ),
        Endpoint(
            name="bulk_delete",
            methods=("DELETE",),
            path=path,
            read=bulk.read_delete,
            write=bulk.write_deleted,
            description=description.delete(job_id),
            bucket="all",
        ),
    )


DIALECT = Dialect(
    name="validto",
    title="ValidTo and Bouncify",
    aliases=("bouncify",),
    hosts=("api.validto.com", "api.bouncify.io"),
    base_path="/v1",
    root_paths=(
        VALIDTO_VERIFY,
        VALIDTO_BULK,
        RootPath("/v1/download"),
        RootPath("/v1/info"),
    ),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("GET",),
            path="/v1/verify",
            read=single.read_verify,
            write=single.write_verify,
            description=description.VERIFY,
            bucket="all",
        ),
        Endpoint(
            name="bulk",
            methods=("POST",),
            path="/v1/bulk",
            read=bulk.read_create,
            write=bulk.write_created,
            description=description.BULK,
            bucket="all",
            body_limit=bulk.BODY_LIMIT,
            accepts_body_file=True,
        ),
        *(
            endpoint
            # the rendered pages omit the id in the path, and one client does as well
            for path, job_id in (
                ("/v1/bulk/{job_id}", description.JOB_ID_IN_PATH),
                ("/v1/bulk", description.JOB_ID),
            )
            for endpoint in _bulk_endpoints(path, job_id)
        ),
        Endpoint(
            name="download",
            methods=("POST",),
            path="/v1/download",
            read=bulk.read_download,
            write=bulk.write_download,
            description=description.DOWNLOAD,
            bucket="all",
        ),
        Endpoint(
            name="info",
            methods=("GET",),
            path="/v1/info",
            read=single.read_info,
            write=single.write_info,
            description=description.INFO,
            bucket="all",
        ),
    ),
    credential=Credential((KeyInQuery("apikey"),)),
    write_problem=write_problem,
    key_shape=KeyShape(length=32),
    batch_rules=bulk.BATCH_RULES,
    verdict_members=("result",),
    sandbox_key="sandbox0000000000000000000000000",
    example_job_ids=("e7sb72fbi3a93s4aitfayvardxa3qiqvffxy",),
    example=ExampleCall("/v1/verify", query={"apikey": "{key}", "email": "accept-all@example.com"}),
    clients=(
        VendorClient(
            "Bouncify scripts and services",
            "/v1",
            "the variable with `https://api.bouncify.io/v1` (`BOUNCIFY_API_URL`, `apiUrl`,"
            " `_BASE`): `{url}`",
        ),
    ),
    plans=(
        Plan(
            "validto",
            "ValidTo",
            rates={"all": Rate(120, 60)},
            batches_waiting=500,
            batches_running=100,
        ),
    ),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
)
