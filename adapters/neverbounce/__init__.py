"""NeverBounce's API, `https://api.neverbounce.com/v4.2`, also as `v4.1` and `v4`, as of 2026-11.

Documentation: https://developers.neverbounce.com (reference v4.2, OpenAPI file), and the official
clients for Python, Node, PHP, Ruby and Go. Fixtures: `compat_fixtures/neverbounce`.

Quirks:
- HTTP is 200 for every outcome; `status` says what happened, and `message` is there if it is no
  success;
- GET and POST are the same everywhere, and parameters may stand in the query, in a form or in JSON,
  on a GET as well; a null is a parameter that is not there;
- the content type is exactly `application/json`, and `application/octet-stream` for files: clients
  refuse any other;
- versions before 4.2 misspell a flag, `acedemic_host`;
- a page beyond the end has no results, by which the Python client ends;
- a malformed address is `invalid` in the results of a job, but not in its totals, where it counts
  as `bad_syntax` alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInAuthorization, KeyInBody, KeyInQuery
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import Plan
from adapters.neverbounce import create, jobs, results, single
from adapters.neverbounce.description import DESCRIPTIONS
from adapters.neverbounce.problems import write_problem
from adapters.neverbounce.samples import SAMPLES, choose_sample
from adapters.neverbounce.upstream import UPSTREAM, VENDOR_JOBS

VERSIONS = ("v4.2", "v4.1", "v4")
METHODS = ("GET", "POST")


def _endpoint(version: str, path: str, read: Any, write: Any, **more: Any) -> AnyEndpoint:
    return Endpoint(
        name=f"{version}_{path.replace('/', '_')}",
        methods=METHODS,
        path=f"/{version}/{path}",
        read=read,
        write=write,
        description=DESCRIPTIONS[path],
        **more,
    )


def _endpoints(version: str) -> tuple[AnyEndpoint, ...]:
    at = partial(_endpoint, version)
    is_newest = version == VERSIONS[0]
    write_check = single.write_check if is_newest else single.write_check_before_4_2
    write_status = jobs.write_status if is_newest else jobs.write_status_before_4_2
    write_results = results.write_results if is_newest else results.write_results_before_4_2
    is_large: dict[str, Any] = {"body_limit": create.BODY_LIMIT, "accepts_body_file": True}
    return (
        at("single/check", single.read_check, write_check, bucket="check"),
        at("account/info", single.read_account, single.write_account),
        at("poe/confirm", single.read_confirm, single.write_confirm),
        at("jobs/create", create.read_create, create.write_created, **is_large),
        at("jobs/parse", jobs.read_parse, jobs.write_queued),
        at("jobs/start", jobs.read_start, jobs.write_queued),
        at("jobs/status", jobs.read_status, write_status),
        at("jobs/search", jobs.read_search, jobs.write_search),
        at("jobs/results", results.read_results, write_results),
        at("jobs/download", results.read_download, results.write_download),
        at("jobs/delete", jobs.read_delete, jobs.write_deleted),
    )


DIALECT = Dialect(
    name="neverbounce",
    title="NeverBounce",
    hosts=("api.neverbounce.com",),
    base_path="/v4.2",
    root_paths=tuple(RootPath(f"/{version}/") for version in VERSIONS),
    endpoints=tuple(endpoint for version in VERSIONS for endpoint in _endpoints(version)),
    credential=Credential(
        # the query first, so that a large body is read for a known key alone
        (KeyInQuery("key"), KeyInBody("key", methods=METHODS), KeyInAuthorization(("bearer", "")))
    ),
    write_problem=write_problem,
    key_shape=KeyShape("private_", "test_", alphabet="0123456789abcdef", length=32),
    example_job_ids=("150970", "251319"),
    sandbox_key="private_sandbox0000000000000000000000000",
    example=ExampleCall(
        "/v4.2/single/check", query={"email": "support@neverbounce.com", "key": "{key}"}
    ),
    clients=(
        VendorClient("Python `neverbounce-sdk`", "", '`neverbounce_sdk.utils.API_ROOT = "{url}"`'),
        VendorClient(
            "Node `neverbounce`",
            "",
            '`opts: {host: "127.0.0.1", port: 8025, protocol: "http:", agent: http.globalAgent}`;'
            " without the last two, and always from version 5, it speaks HTTPS",
        ),
        VendorClient("Go `neverbounce`", "/v4.2/", '`SetBaseURL("{url}")`'),
    ),
    # https://developers.neverbounce.com: throttling
    plans=(Plan("neverbounce", "NeverBounce", batches_per_day=50, batches_running=10),),
    # a GET deletes, so that a HEAD must not be taken for one
    answers_head=False,
    batch_rules=jobs.BATCH_RULES,
    choose_sample=choose_sample,
    test_addresses=tuple(SAMPLES),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
    verdict_members=("result", "flags"),
)
