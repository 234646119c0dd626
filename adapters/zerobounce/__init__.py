"""ZeroBounce's API v2, `https://api.zerobounce.net/v2` and `https://bulkapi.zerobounce.net/v2`.

Documentation: https://www.zerobounce.net/docs (API v2, sandbox, status codes, rate limits), seen
2026-11, and recordings of the service in the official clients' suites. Fixtures:
`compat_fixtures/zerobounce`.

Quirks:
- a bad key and an account without credits have one text, with status 200, or `Credits` of "-1";
  the firewall before the service refuses bad keys with a page of its own, which `[zerobounce]
  key_error = "shield"` shows;
- numbers and booleans are texts in some members (`Credits`, `mx_found`) and not in others;
- 33 test addresses at example.com cost nothing, with live keys too; unknown results cost nothing;
- calls about files are GETs, the one that deletes included; a file that was sent is a 201;
- the content type is exactly `application/json`, and one client sends JSON as `text/plain`;
- an absent parameter may be the word `null`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInBody, KeyInQuery
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import Plan, Rate
from adapters.contract.options import DialectOptions, option
from adapters.kit.root_paths import ZEROBOUNCE_REST
from adapters.zerobounce import account, description, files, finder, single
from adapters.zerobounce.problems import write_problem
from adapters.zerobounce.upstream import API_HOSTS, BULK_HOST, UPSTREAM, VENDOR_JOBS
from adapters.zerobounce.words import TEST_ADDRESSES, TEST_DOMAIN, choose_sample, is_free

BOTH = ("GET", "POST")


def _endpoint(
    name: str, methods: tuple[str, ...], path: str, read: Any, write: Any, **more: Any
) -> AnyEndpoint:
    return Endpoint(name=name, methods=methods, path=f"/v2/{path}", read=read, write=write, **more)


def _file_endpoints(kind: files.Kind, write_status: Any, write_get: Any) -> tuple[Any, ...]:
    name, path = kind.name, kind.path
    return (
        _endpoint(
            f"{name}_send",
            ("POST",),
            f"{path}sendfile",
            kind.read_send,
            files.write_sent,
            description=description.SEND,
            bucket="bulk",
            body_limit=files.BODY_LIMIT,
            accepts_body_file=True,
        ),
        _endpoint(
            f"{name}_status",
            BOTH,
            f"{path}filestatus",
            kind.read_status,
            write_status,
            description=description.STATUS,
            bucket="bulk",
        ),
        _endpoint(
            f"{name}_get",
            BOTH,
            f"{path}getfile",
            kind.read_get,
            write_get,
            description=description.GET,
            bucket="bulk",
        ),
        _endpoint(
            f"{name}_delete",
            BOTH,
            f"{path}deletefile",
            kind.read_delete,
            files.write_deleted,
            description=description.DELETE,
            bucket="bulk",
        ),
    )


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    _endpoint(
        "validate",
        BOTH,
        "validate",
        single.read_validate,
        single.write_validate,
        description=description.VALIDATE,
        bucket="validate",
        cors=True,
    ),
    _endpoint(
        "batch",
        ("POST",),
        "validatebatch",
        single.read_batch,
        single.write_batch,
        description=description.BATCH,
        bucket="validatebatch",
        credential=Credential((KeyInQuery("api_key"), KeyInBody("api_key", always_json=True))),
    ),
    _endpoint(
        "credits",
        BOTH,
        "getcredits",
        single.read_credits,
        single.write_credits,
        description=description.CREDITS,
        bucket="getcredits",
    ),
    _endpoint(
        "usage",
        BOTH,
        "getapiusage",
        account.read_usage,
        account.write_usage,
        description=description.USAGE,
        bucket="getapiusage",
    ),
    _endpoint(
        "activity",
        BOTH,
        "activity",
        finder.read_activity,
        finder.write_activity,
        description=description.ACTIVITY,
        bucket="activity",
    ),
    _endpoint(
        "score",
        BOTH,
        "scoring",
        single.read_score,
        single.write_score,
        description=description.SCORE,
    ),
    _endpoint(
        "guess",
        BOTH,
        "guessformat",
        finder.read_guess,
        finder.write_guess,
        description=description.GUESS,
    ),
    _endpoint(
        "filters",
        BOTH,
        "filters/list",
        account.read_filters,
        account.write_filters,
        description=description.FILTERS,
    ),
    _endpoint(
        "filters_add",
        ("POST",),
        "filters/add",
        account.read_add,
        account.write_added,
        description=description.FILTER_ADD,
    ),
    _endpoint(
        "filters_delete",
        ("POST",),
        "filters/delete",
        account.read_delete,
        account.write_deleted,
        description=description.FILTER_DELETE,
    ),
    *_file_endpoints(files.VALIDATION, files.write_status, files.write_file),
    *_file_endpoints(files.SCORING, files.write_score_status, files.write_score_file),
)

OWN_PATHS = (
    "validate",
    "validatebatch",
    "getcredits",
    "getapiusage",
    "activity",
    "scoring",
    "guessformat",
    "filters",
    "sendfile",
    "filestatus",
    "getfile",
    "deletefile",
)
"""First segments below `/v2` that no other vendor has."""


@dataclass(frozen=True, slots=True)
class Options:
    """The section `[zerobounce]` of the settings."""

    key_error: Literal["json", "shield"] = option(
        "json",
        "How a bad key is answered: in JSON, as documented, or by its firewall's page, as in 2025.",
    )
    guessformat: Literal["current", "legacy"] = option(
        "current",
        "How the format of a domain's addresses is answered: as today, or as before 2024, which old"
        " clients need.",
    )
    catchall_domain: bool = option(
        False,
        "Whether validations have the newer member `catchall_domain`, after `smtp_provider`.",
    )


def configure(dialect: Dialect, options: Options) -> Dialect:
    writers: dict[str, Any] = {}
    if options.guessformat == "legacy":
        writers["guess"] = finder.write_legacy_guess
    if options.catchall_domain:
        writers["validate"] = single.write_validate_with_catch_all
        writers["batch"] = single.write_batch_with_catch_all
    endpoints = tuple(
        replace(each, write=writers.get(each.name, each.write)) for each in dialect.endpoints
    )
    write = partial(write_problem, options.key_error)
    return replace(dialect, write_problem=write, endpoints=endpoints)


DIALECT = Dialect(
    name="zerobounce",
    title="ZeroBounce",
    hosts=(*API_HOSTS, BULK_HOST, "api.zerobounce.in", "bulkapi.zerobounce.in"),
    base_path="/v2",
    root_paths=(*(RootPath(f"/v2/{path}") for path in OWN_PATHS), ZEROBOUNCE_REST),
    endpoints=ENDPOINTS,
    credential=Credential((KeyInQuery("api_key"), KeyInBody("api_key"))),
    write_problem=partial(write_problem, "json"),
    key_shape=KeyShape("", "test_", alphabet="0123456789abcdef", length=32),
    sandbox_key="sandbox0000000000000000000000000",
    example=ExampleCall("/v2/validate", query={"api_key": "{key}", "email": "valid@example.com"}),
    clients=(
        VendorClient(
            "Python `zerobouncesdk`",
            "/v2",
            '`ZeroBounce(key, base_url="{url}")`, and for files'
            ' `ZeroBounce.BULK_BASE_URL = "{url}"` and'
            ' `ZeroBounce.SCORING_BASE_URL = "{url}/scoring"`; from version 2.3 only with HTTPS,'
            " and a certificate as for [host names](#host-names)",
        ),
        VendorClient(
            "Node `@zerobounce/zero-bounce-sdk`",
            "/v2",
            '`init(key, "{url}")`; its files and batches go to the bulk host, whose'
            " [host name](#host-names) has to be redirected",
        ),
        VendorClient("Ruby `zerobounce-sdk`", "/v2", "`ZEROBOUNCE_API_URL`: `{url}`"),
    ),
    # https://www.zerobounce.net/docs: API rate limits
    plans=(
        Plan(
            "zerobounce",
            "ZeroBounce",
            rates={
                "validate": Rate(80_000, 10),
                "validatebatch": Rate(30, 60),
                "bulk": Rate(250, 60),
                "getcredits": Rate(80_000, 3_600),
                "getapiusage": Rate(800, 3_600),
                "activity": Rate(80_000, 3_600),
            },
        ),
    ),
    # a GET deletes, so that a HEAD must not be taken for one
    answers_head=False,
    batch_rules=files.BATCH_RULES,
    choose_sample=choose_sample,
    test_addresses=tuple(f"{local}@{TEST_DOMAIN}" for local in TEST_ADDRESSES),
    samples_for_live_keys=True,
    refunds=is_free,
    use_words=account.use_words,
    has_filters=True,
    options=DialectOptions(Options, configure),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
    verdict_members=("status", "sub_status"),
)
