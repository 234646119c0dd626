"""Dataoorts Unify API "AI Mails", `https://cloud.dataoorts.com/ai_mails_api`.

Documentation: https://docs.dataoorts.com/docs/api-email-verification/, seen 2026-11. Fixtures:
`compat_fixtures/dataoorts`. The page shows neither an error nor the complete list of causes. The
words are those of mails.so (https://docs.mails.so/response, seen 2026-11), whose fields this API
renames; the tables here fill the other gaps.

Quirks that are copied on purpose:
- the parameter `info` requests the block `user_info`; the block `info` is always there; the samples
  send it as the text "true" or "false" (fixture `verify_and_predict`);
- the keys of every object are sorted;
- `isv_mx` shows whether the mail server gave a usable reply, not whether there is an MX record: it
  can be null although `mx_record` is set (the same fixture);
- a client address that keeps failing to authenticate is blocked permanently; here by a setting.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace

from adapters.contract.clients import ExampleCall
from adapters.contract.credential import Credential, KeyInAuthorization
from adapters.contract.dialect import (
    AnyEndpoint,
    ClientBlock,
    Dialect,
    Endpoint,
    KeyShape,
    RootPath,
)
from adapters.contract.operations import Acknowledge, Plan
from adapters.contract.options import DialectOptions, option
from adapters.dataoorts import bulk, description, single
from adapters.dataoorts.problems import FAILED_ATTEMPTS, write_problem
from adapters.dataoorts.upstream import UPSTREAM
from adapters.dataoorts.upstream_jobs import VENDOR_JOBS


def _health_endpoint(name: str, path: str) -> Endpoint[Acknowledge, None]:
    return Endpoint(
        name=name,
        methods=("GET",),
        path=path,
        read=single.read_health,
        write=single.write_health,
        description=description.HEALTH,
        needs_key=False,
    )


ENDPOINTS_WITHOUT_SLASH: tuple[AnyEndpoint, ...] = (
    _health_endpoint("health", "/ai_mails_api/v1"),
    Endpoint(
        name="verify",
        methods=("POST",),
        path="/ai_mails_api/v1",
        read=single.read_verify,
        write=single.write_verify,
        description=description.VERIFY,
        bucket="verify",
    ),
    # seen on /v1 and /bulk/v1 alone
    _health_endpoint("data_health", "/ai_mails_api/data/v1"),
    Endpoint(
        name="data",
        methods=("POST",),
        path="/ai_mails_api/data/v1",
        read=single.read_predict,
        write=single.write_predict,
        description=description.DATA,
    ),
    _health_endpoint("bulk_health", "/ai_mails_api/bulk/v1"),
    Endpoint(
        name="bulk",
        methods=("POST",),
        path="/ai_mails_api/bulk/v1",
        read=bulk.read_submit,
        write=bulk.write_submitted,
        description=description.BULK,
        body_limit=bulk.BODY_LIMIT,
        accepts_body_file=True,
    ),
    _health_endpoint("bulk_results_health", "/ai_mails_api/bulk_results/v1"),
    Endpoint(
        name="bulk_results",
        methods=("POST",),
        path="/ai_mails_api/bulk_results/v1",
        read=bulk.read_results,
        write=bulk.write_results,
        description=description.BULK_RESULTS,
    ),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The section `[dataoorts]` of the settings."""

    block_enabled: bool = option(
        False,
        "Whether client IP addresses with too many failed attempts are refused, as at the vendor.",
    )
    block_failures: int = option(
        10, "Failed attempts (401, and 404 for results) that lead to a block.", ge=1, le=1_000_000
    )
    block_window_s: float = option(
        3600.0, "Time within which they are counted.", unit="s", gt=0, le=86_400
    )


def configure(dialect: Dialect, options: Options) -> Dialect:
    if not options.block_enabled:
        return dialect
    block = ClientBlock(FAILED_ATTEMPTS, options.block_failures, options.block_window_s)
    return replace(dialect, client_block=block)


DIALECT = Dialect(
    name="dataoorts",
    title="Dataoorts AI Mails",
    hosts=("cloud.dataoorts.com",),
    base_path="/ai_mails_api",
    root_paths=(RootPath("/ai_mails_api/"),),
    endpoints=tuple(
        replace(endpoint, path=endpoint.path + slash)
        # the path ends with the version, and some clients append a slash
        for slash in ("", "/")
        for endpoint in ENDPOINTS_WITHOUT_SLASH
    ),
    credential=Credential((KeyInAuthorization(),)),
    write_problem=write_problem,
    options=DialectOptions(Options, configure),
    key_shape=KeyShape("", "test_", alphabet=string.ascii_letters + string.digits, length=40),
    batch_rules=bulk.BATCH_RULES,
    verdict_members=("info.test_result", "info.result_cause"),
    sandbox_key="test_sandbox",
    example_job_ids=("0KVBG3TK6QXFJKIYY6Z4ECA7AXZ",),
    example=ExampleCall(
        "/ai_mails_api/v1",
        headers={"Authorization": "Bearer {key}", "Content-Type": "application/json"},
        body={"email": "timeout@example.com", "info": "true"},
    ),
    plans=(Plan("dataoorts", "Dataoorts Unify", batches_per_day=3),),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
)
