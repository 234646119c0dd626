"""Finding the dialect and the endpoint of a request."""

import re
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from adapters.contract.dialect import RootPath
from adapters.contract.problems import ProblemKind
from adapters.registry import DIALECTS
from gateway.web.routing import VendorRoutes
from tests.dialects import ALL, key_parts

ROUTES = VendorRoutes(DIALECTS)
HERE = "127.0.0.1:8025"

# host, path, query, dialect, vendor path (None: the same)
MATCHES = [
    (HERE, "/v1/verify", "email=a@b.test", "emailable", "/v1/verify"),
    (HERE, "/v1/verify", "apikey=x&email=a@b.test", "validto", "/v1/verify"),
    (HERE, "/v1/verify", "apikey=", "validto", "/v1/verify"),
    ("API.kickbox.com.:443", "/v1/verify", "", "kickbox", "/v1/verify"),
    (HERE, "/v1/verify", "api_key=x", "emailable", "/v1/verify"),
    (HERE, "/v1/account", "apikey=x", "emailable", "/v1/account"),
    (HERE, "/v1/batch", "", "emailable", "/v1/batch"),
    (HERE, "/v1/unknown", "", "emailable", "/v1/unknown"),
    (HERE, "/v1/info", "", "validto", "/v1/info"),
    (HERE, "/v1/bulk", "apikey=x", "validto", "/v1/bulk"),
    (HERE, "/v1/bulk", "", "reacher", "/v1/bulk"),
    (HERE, "/v1/bulk/abc", "", "validto", "/v1/bulk/abc"),
    (HERE, "/v1/download", "jobId=x", "validto", "/v1/download"),
    (HERE, "/v1/downloads/x", "", "emailable", "/v1/downloads/x"),
    (HERE, "/api/v1", "", "whoisxml", "/api/v1"),
    (HERE, "/api/v2", "", "whoisxml", "/api/v2"),
    (HERE, "/api/v3", "", "whoisxml", "/api/v3"),
    (HERE, "/api/bevService/request", "", "whoisxml", "/api/bevService/request"),
    (HERE, "/user-service/account-balance", "", "whoisxml", "/user-service/account-balance"),
    (HERE, "/api/v1/verify", "", "generic", "/api/v1/verify"),
    (HERE, "/api/v1/jobs/x/results", "", "generic", "/api/v1/jobs/x/results"),
    (HERE, "/ai_mails_api/v1", "", "dataoorts", "/ai_mails_api/v1"),
    (HERE, "/emailable/v1/verify", "apikey=x", "emailable", "/v1/verify"),
    (HERE, "/validto/v1/verify", "", "validto", "/v1/verify"),
    (HERE, "/bouncify/v1/verify", "", "validto", "/v1/verify"),
    (HERE, "/generic/api/v1/verify", "", "generic", "/api/v1/verify"),
    (HERE, "/whoisxml/api/v3", "", "whoisxml", "/api/v3"),
    (HERE, "/dataoorts/ai_mails_api/v1", "", "dataoorts", "/ai_mails_api/v1"),
    (HERE, "/emailable", "", "emailable", ""),
    ("api.emailable.com", "/livez", "", "emailable", "/livez"),
    ("API.Bouncify.io:443", "/v1/verify", "", "validto", "/v1/verify"),
    ("user.whoisxmlapi.com", "/service/account-balance", "", "whoisxml", None),
    ("cloud.dataoorts.com", "/ai_mails_api/v1", "", "dataoorts", "/ai_mails_api/v1"),
]


@pytest.mark.parametrize(("host", "path", "query", "dialect", "vendor_path"), MATCHES)
def test_match(host: str, path: str, query: str, dialect: str, vendor_path: str | None) -> None:
    found = ROUTES.match(host, path, query)
    assert found is not None
    assert found.dialect.name == dialect
    assert found.path == (path if vendor_path is None else vendor_path)


def test_the_head_decides_between_vendors_that_share_a_path() -> None:
    """As ValidTo and Reacher do at `/v1/bulk`."""
    ours = replace(
        DIALECTS[0],
        name="ours",
        hosts=(),
        root_paths=(
            RootPath("/v1/bulk", when=lambda head: head.method == "GET" and "key" in head.query),
            RootPath("/v1/bulk", when=lambda head: head.content_type == "application/json"),
        ),
    )
    theirs = replace(DIALECTS[1], name="theirs", hosts=(), root_paths=(RootPath("/v1/bulk"),))
    routes = VendorRoutes([theirs, ours])

    def owner(method: str, query: str = "", content_type: str = "") -> str:
        headers = [(b"content-type", content_type.encode())]
        place = routes.match(HERE, "/v1/bulk/7", query, method=method, headers=headers)
        assert place is not None
        return place.dialect.name

    assert owner("GET", "key=1") == "ours"
    assert owner("DELETE", "key=1") == "theirs"
    assert owner("GET") == "theirs"
    assert owner("POST", content_type="application/json; charset=utf-8") == "ours"
    assert owner("POST", content_type="multipart/form-data; boundary=b") == "theirs"


@pytest.mark.parametrize("path", ["/", "/livez", "/veriplex/v1/verify", "/metrics", "/nothing"])
def test_veriplex_own_paths_belong_to_no_dialect(path: str) -> None:
    assert ROUTES.match(HERE, path, "") is None


def test_a_wrong_method_names_the_endpoint_and_its_methods() -> None:
    found = ROUTES.match(HERE, "/api/v1/verify", "")
    assert found is not None
    endpoint, _, problem = ROUTES.find_endpoint(found, "GET")
    assert endpoint is not None
    assert endpoint.name == "verify"
    assert problem is not None
    assert problem.kind is ProblemKind.WRONG_METHOD
    assert problem.allowed_methods == ("POST",)


def test_every_endpoint_is_found_by_host_prefix_and_root() -> None:
    routes = VendorRoutes(ALL)
    for dialect in ALL:
        for endpoint in dialect.endpoints:
            method = endpoint.methods[0]
            query = urlencode(key_parts(dialect, endpoint, method, "x").query)
            vendor_path = re.sub(r"\{\w+\}", "7", endpoint.path)
            for host, path in (
                *((host, vendor_path) for host in dialect.hosts),
                (HERE, f"/{dialect.name}{vendor_path}"),
                (HERE, vendor_path),
            ):
                place = routes.match(host, path, query, method=method)
                assert place is not None
                found, _, problem = routes.find_endpoint(place, method)
                assert (place.dialect.name, found, problem) == (dialect.name, endpoint, None)


def test_no_two_dialects_share_a_prefix_or_host() -> None:
    names = [name for d in DIALECTS for name in (d.name, *d.aliases, *d.hosts)]
    assert len(names) == len(set(names))
