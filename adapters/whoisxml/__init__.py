"""WhoisXML API's Email Verification, `https://emailverification.whoisxmlapi.com/api`.

Documentation: https://emailverification.whoisxmlapi.com/docs (v1), /api/documentation/v2/ and
/api/documentation/ (v3) on the same host, and the account balance page,
https://registrant-alert.whoisxmlapi.com/api/documentation/account-balance-information, all seen
2026-11, and the vendor's clients for Python, Node, PHP and Go. Fixtures:
`compat_fixtures/whoisxml`.

Quirks that are copied on purpose:
- every check is text, `"true"`, `"false"` or `"null"`: the Go client cannot read a boolean, and
  the Python one takes a JSON null for "no" (fixtures `v1_deliverable`, `v1_blocked`);
- a check that was switched off is `"null"` in v1 and absent from v2 and v3 (fixture `v2_go_call`);
- v2 writes mail hosts with their final dot, v1 and v3 without (fixture `v2_deliverable`);
- dates are not ISO 8601: the Go client parses exactly `YYYY-MM-DD HH:MM:SS[.mmm] UTC`;
- an error names its text twice, `msg` for readers of v1 and `Error` for those of v2. The Go
  client ignores the status: to it an error without `ErrorMessage` is a success;
- v1 says 403 where v2 and v3 say 401: to the PHP client 401 is a fault of the server;
- parameter names are read in any case: v1's page has `validateDns`, every client `validateDNS`.
"""

from __future__ import annotations

from functools import partial

from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential, KeyInBody, KeyInQuery
from adapters.contract.dialect import Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.operations import Plan, Rate
from adapters.whoisxml import balance, bulk, description, single
from adapters.whoisxml.problems import BULK_PATH, write_problem
from adapters.whoisxml.upstream import UPSTREAM
from adapters.whoisxml.upstream_jobs import VENDOR_JOBS

DIALECT = Dialect(
    name="whoisxml",
    title="WhoisXML API",
    hosts=("emailverification.whoisxmlapi.com", "user.whoisxmlapi.com"),
    base_path="/api",
    root_paths=(
        RootPath("/api/v1"),
        RootPath("/api/v2"),
        RootPath("/api/v3"),
        RootPath(BULK_PATH),
        RootPath("/user-service/"),
        RootPath("/service/account-balance"),
    ),
    endpoints=(
        *(
            Endpoint(
                name=version.name,
                methods=("GET", "POST"),
                path=f"/api/{version.name}",
                read=partial(single.read_verify, version),
                write=single.write_verify,
                description=description.VERIFY,
                bucket="single",
                cors=True,
            )
            for version in single.VERSIONS
        ),
        *bulk.BULK_ENDPOINTS,
        *(
            Endpoint(
                name="balance",
                methods=("GET",),
                path=path,
                read=balance.read_balance,
                write=balance.write_balance,
                description=description.BALANCE,
                cors=True,
            )
            for path in ("/user-service/account-balance", "/service/account-balance")
        ),
    ),
    credential=Credential(
        (KeyInBody("apikey", any_case=True), KeyInQuery("apikey", any_case=True))
    ),
    write_problem=write_problem,
    # the Python client of the bulk API refuses a key of another form before it sends it
    key_shape=KeyShape("at_", "at_", length=29),
    batch_rules=bulk.BATCH_RULES,
    verdict_members=("smtpCheck", "dnsCheck"),
    sandbox_key="at_sandbox0000000000000000000000",
    example_job_ids=("544", "595", "596"),
    example=ExampleCall(
        "/api/v3", query={"apiKey": "{key}", "emailAddress": "undeliverable@example.com"}
    ),
    clients=(
        VendorClient("Python `email-verifier`", "/api/v1", '`emailverifier.Client(key, "{url}")`'),
        VendorClient(
            "Python `bulk-email-verifier`",
            BULK_PATH,
            '`bulkemailverifier.Client(key, base_url="{url}")`',
        ),
        VendorClient("Node `email-verifier`", ""),
        VendorClient(
            "Go `go-email-verifier`", "/api/v2", "`EvapiBaseURL` of `ClientParams`: `{url}`"
        ),
        VendorClient(
            "PHP `whois-api/email-verifier`",
            "/api/v1",
            "second argument of `ClientBuilder::build`: `{url}`",
        ),
    ),
    plans=(
        Plan(
            "whoisxml",
            "WhoisXML API free",
            rates={"single": Rate(10, 1)},
            included=1000,
            hard_cap=True,
        ),
    ),
    upstream=UPSTREAM,
    vendor_jobs=VENDOR_JOBS,
)
