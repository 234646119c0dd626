"""Which dialect a request at the root belongs to, where two vendors have the same path."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from adapters.contract.dialect import Dialect, RootPath
from adapters.kit.root_paths import (
    KICKBOX_REST,
    REACHER_BULK,
    VALIDTO_BULK,
    VALIDTO_VERIFY,
    ZEROBOUNCE_REST,
)
from adapters.registry import DIALECTS
from gateway.web.routing import VendorRoutes
from tests.fakes import toy

JSON = "application/json"
MULTIPART = "multipart/form-data; boundary=b"


class Case(NamedTuple):
    method: str
    path: str
    query: str
    content_type: str
    owner: str


CASES = [
    Case("GET", "/v1/verify", "email=a@b.test&apikey=k", "", "validto"),
    Case("GET", "/v1/verify", "apikey=", "", "validto"),
    Case("GET", "/v1/verify", "email=a@b.test&api_key=k", "", "emailable"),
    Case("GET", "/v1/verify", "email=a@b.test", "", "emailable"),
    Case("POST", "/v1/verify", "", JSON, "emailable"),
    Case("POST", "/v1/bulk", "", JSON, "reacher"),
    Case("POST", "/v1/bulk/", "", "", "reacher"),
    Case("POST", "/v1/bulk", "apikey=k", JSON, "validto"),
    Case("POST", "/v1/bulk", "", MULTIPART, "validto"),
    Case("GET", "/v1/bulk/17", "", "", "reacher"),
    Case("GET", "/v1/bulk/17", "apikey=k", "", "validto"),
    Case("PATCH", "/v1/bulk/17", "", "", "validto"),
    Case("DELETE", "/v1/bulk/17", "", "", "validto"),
    Case("GET", "/v1/bulk/5f3a", "", "", "validto"),
    Case("GET", "/v1/bulk/" + "1" * 40, "", "", "reacher"),
    Case("POST", "/v1/bulk", "", "multipart/mixed; boundary=b", "validto"),
    Case("GET", "/v1/bulk/17", "api%6Bey=k", "", "validto"),
    Case("GET", "/v1/bulk/17", "APIKEY=k", "", "reacher"),
    Case("GET", "/v1/verify", "email=a%40b.test&api%6bey=k", "", "validto"),
    Case("GET", "/v1/verify", "email=a%40b.test&x=apikey", "", "emailable"),
    Case("GET", "/v2/anything", "api%5Fkey=k", "", "zerobounce"),
    Case("GET", "/v2/anything", "apikey=a&api_key", "", "zerobounce"),
    Case("GET", "/v1/bulk/\uff11\uff17", "", "", "validto"),
    Case("GET", "/v1/bulk/17/results", "format=csv", "", "reacher"),
    Case("GET", "/v1/bulk/17/results", "apikey=k", "", "reacher"),
    Case("GET", "/v1/bulk/5f3a/results", "", "", "validto"),
    Case("GET", "/v1/bulk/17", "&".join(f"p{i}=" for i in range(2_000)), "", "validto"),
    Case("GET", "/v2/anything", "api_key=k", "", "zerobounce"),
    Case("GET", "/v2/anything", "apikey=k", "", "kickbox"),
    Case("GET", "/v2/anything", "", "", "kickbox"),
    Case("GET", "/v2/", "api_key=", "", "zerobounce"),
    Case("GET", "/v2", "api_key=", "", "zerobounce"),
    Case("GET", "/v2", "", "", "kickbox"),
    Case("GET", "/v2//validate", "api_key=k", "", "zerobounce"),
]

SHARED: dict[str, tuple[RootPath, ...]] = {
    "emailable": (RootPath("/v1/"),),
    "validto": (VALIDTO_VERIFY, VALIDTO_BULK),
    "reacher": (REACHER_BULK,),
    "zerobounce": (ZEROBOUNCE_REST,),
    "kickbox": (KICKBOX_REST,),
}


def dialect_at(name: str, paths: tuple[RootPath, ...]) -> Dialect:
    return replace(toy.DIALECT, name=name, hosts=(), root_paths=paths)


def owner_of(routes: VendorRoutes, case: Case) -> str:
    headers = [(b"content-type", case.content_type.encode())] if case.content_type else []
    found = routes.match("127.0.0.1", case.path, case.query, method=case.method, headers=headers)
    assert found is not None
    return found.dialect.name


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.method} {c.path} {c.query[:20]}")
def test_a_shared_path_belongs_to_one_vendor(case: Case) -> None:
    routes = VendorRoutes([dialect_at(name, paths) for name, paths in SHARED.items()])
    assert owner_of(routes, case) == case.owner


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_the_registry_does_not_matter(backwards: bool) -> None:
    dialects = [dialect_at(name, paths) for name, paths in SHARED.items()]
    routes = VendorRoutes(dialects[::-1] if backwards else dialects)
    assert [owner_of(routes, case) for case in CASES] == [case.owner for case in CASES]


def test_the_registered_dialects_keep_the_rules() -> None:
    names = {dialect.name for dialect in DIALECTS}
    routes = VendorRoutes(DIALECTS)
    cases = [case for case in CASES if SHARED.keys() <= names or case.path == "/v1/verify"]
    assert [owner_of(routes, case) for case in cases] == [case.owner for case in cases]


def test_no_two_dialects_have_the_same_prefix_under_the_same_condition() -> None:
    rules = [(root.prefix, root.parameter, root.when) for d in DIALECTS for root in d.root_paths]
    assert len(rules) == len(set(rules))
