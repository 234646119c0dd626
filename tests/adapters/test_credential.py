"""The places of keys, and that a key in the head is found without the body."""

import pytest

from adapters.contract.credential import (
    MAX_SCANNED_MEMBERS,
    Credential,
    KeyInAuthorization,
    KeyInBody,
    KeyInHeader,
    KeyInQuery,
)
from adapters.contract.dialect import Dialect
from adapters.contract.wire import UnreadableRequest, WireRequest
from adapters.registry import DIALECTS

KEY = "the-key"
FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nkey\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="api_key"\r\n\r\nthe-key\r\n'


AUTHORIZATIONS: list[tuple[tuple[str, ...], str, str | None]] = [
    (("bearer",), "Bearer the-key", KEY),
    (("bearer",), "bearer   the-key ", KEY),
    (("bearer",), "Bearer", None),
    (("bearer",), "Bearer ", None),
    (("bearer",), "token the-key", None),
    (("bearer",), "the-key", None),
    (("bearer", "token"), "Token the-key", KEY),
    (("bearer", ""), "the-key", KEY),
    (("bearer", ""), "", None),
]


@pytest.mark.parametrize(("schemes", "value", "key"), AUTHORIZATIONS)
def test_an_authorization_header(schemes: tuple[str, ...], value: str, key: str | None) -> None:
    request = WireRequest("GET", "/", headers={"authorization": value})
    assert KeyInAuthorization(schemes).read(request) == key


def test_a_header_of_the_vendors_own() -> None:
    assert KeyInHeader("x-secret").read(WireRequest("GET", "/", headers={"x-secret": KEY})) == KEY
    assert KeyInHeader("x-secret").read(WireRequest("GET", "/")) is None


@pytest.mark.parametrize(
    ("query", "any_case", "key"),
    [
        ("api_key=the-key", False, KEY),
        ("API_KEY=the-key", False, None),
        ("API_Key=the-key", True, KEY),
        ("api_key=", False, None),
        ("api_key=first&api_key=the-key", False, KEY),
    ],
)
def test_a_query_parameter(query: str, any_case: bool, key: str | None) -> None:
    assert KeyInQuery("api_key", any_case).read(WireRequest("GET", "/", query)) == key


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"email=a&api_key=the-key"),
        ({"content-type": "application/json"}, b'{"api_key":"the-key"}'),
        ({}, b'{"api_key":"the-key"}'),
        (MULTIPART, FIELD + FILE + b"--b--\r\n"),
        (MULTIPART, FILE + FIELD + b"--b--\r\n"),
    ],
)
def test_a_field_of_the_body_before_or_after_a_file(headers: dict[str, str], body: bytes) -> None:
    request = WireRequest("POST", "/", headers=headers, body=body)
    assert KeyInBody("api_key").read(request) == KEY
    assert KeyInBody("file").read(request) is None


def test_json_under_another_content_type() -> None:
    text = {"content-type": "text/plain;charset=UTF-8"}
    request = WireRequest("POST", "/", headers=FORM | text, body=b' {"api_key":"the-key"}')
    assert KeyInBody("api_key", always_json=True).read(request) == KEY
    with pytest.raises(UnreadableRequest):
        KeyInBody("api_key", always_json=True).read(WireRequest("POST", "/", body=b"api_key=k"))


@pytest.mark.parametrize("value", [b"7", b"null", b"[]", b'""', b"true"])
def test_a_key_is_a_text(value: bytes) -> None:
    request = WireRequest("POST", "/", body=b'{"api_key":' + value + b"}")
    assert KeyInBody("api_key").read(request) is None


def test_keys_are_read_from_bodies_of_some_methods_only() -> None:
    request = WireRequest("GET", "/", body=b'{"key":"the-key"}')
    assert KeyInBody("key").read(request) is None
    assert KeyInBody("key", methods=("GET", "POST")).read(request) == KEY


QUERY, BODY = KeyInQuery("api_key"), KeyInBody("api_key")

RANKS: list[tuple[Credential, str, str, bool]] = [
    # places, method, query, whether the head decides
    (Credential((QUERY, BODY)), "POST", "api_key=the-key", True),
    (Credential((QUERY, BODY)), "POST", "api_key=", False),
    (Credential((QUERY, BODY)), "GET", "", True),
    (Credential((BODY, QUERY)), "POST", "api_key=the-key", False),
    (Credential((BODY, QUERY)), "GET", "api_key=the-key", True),
    (Credential((QUERY,)), "POST", "", True),
    (Credential(()), "POST", "", True),
]


@pytest.mark.parametrize(("credential", "method", "query", "decided"), RANKS)
def test_whether_the_head_decides(
    credential: Credential, method: str, query: str, decided: bool
) -> None:
    assert credential.is_decided_by_head(WireRequest(method, "/", query)) is decided
    broken = WireRequest(method, "/", query, body=b"{")
    if decided:
        assert credential.read(broken) == (KEY if query else None)
    else:
        with pytest.raises(UnreadableRequest):
            credential.read(broken)


def test_the_first_place_with_a_key_counts() -> None:
    request = WireRequest("POST", "/", "api_key=the-key", body=b'{"api_key":"other"}')
    assert Credential((QUERY, BODY)).read(request) == KEY
    assert Credential((BODY, QUERY)).read(request) == "other"
    empty = WireRequest("POST", "/", "api_key=the-key", body=b'{"api_key":""}')
    assert Credential((BODY, QUERY)).read(empty) == KEY


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_every_endpoint_that_needs_a_key_has_a_place_for_it(dialect: Dialect) -> None:
    for endpoint in dialect.endpoints:
        credential = dialect.credential_for(endpoint)
        assert credential.places
        if endpoint.methods == ("GET",):
            assert credential.read(WireRequest("GET", endpoint.path)) is None


def test_a_body_of_nothing_but_keys_is_not_scanned_to_its_end() -> None:
    """Four bodies of 18 MB took seven seconds of processor time."""
    body = b"{" + b'"api_key":"x",' * MAX_SCANNED_MEMBERS + b'"api_key":"y"}'
    request = WireRequest("POST", "/", headers={"content-type": "application/json"}, body=body)
    assert KeyInBody("api_key").scan(request) == frozenset({"x"})
