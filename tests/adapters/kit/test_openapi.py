"""The descriptions of the dialects, held against their tables and against every fixture."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from adapters.contract.credential import KeyInBody, KeyInQuery
from adapters.contract.description import Place
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.operations import SubmitJob
from adapters.contract.problems import Problem
from adapters.contract.wire import UnreadableRequest, WireRequest
from adapters.kit.openapi import requests
from adapters.kit.openapi.document import describe, with_servers
from adapters.registry import DIALECTS
from gateway.settings import Settings
from gateway.settings.dialects import configured_dialects
from gateway.web.routing import VendorRoutes
from tests.dialects import ALL, BY_NAME, FACTS
from tests.test_compat_fixtures import CASES

URL = "http://127.0.0.1:8025"
ENDPOINTS = [
    pytest.param(dialect, endpoint, method, id=f"{dialect.name}-{method}-{endpoint.path}")
    for dialect in DIALECTS
    for endpoint in dialect.endpoints
    for method in endpoint.methods
    if not endpoint.path.endswith("/")
]


@lru_cache
def document(name: str) -> dict[str, Any]:
    return describe(BY_NAME[name], version="1.0")


@pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
def test_a_description_is_valid(dialect: Dialect) -> None:
    whole = with_servers(document(dialect.name), dialect, URL)
    validate(json.loads(json.dumps(whole)))
    assert whole["servers"][0]["url"] == f"{URL}/{dialect.name}"
    described = {(path, method) for path, calls in whole["paths"].items() for method in calls}
    assert described == {
        (endpoint.path, method.lower())
        for endpoint in dialect.endpoints
        for method in endpoint.methods
        if not endpoint.path.endswith("/")
    }


@pytest.mark.parametrize(("dialect", "endpoint", "method"), ENDPOINTS)
def test_an_endpoint_is_described(dialect: Dialect, endpoint: AnyEndpoint, method: str) -> None:
    assert endpoint.description is not None
    assert endpoint.description.about.endswith(".")
    call = document(dialect.name)["paths"][endpoint.path][method.lower()]
    assert min(map(int, call["responses"])) < 300 or endpoint.name.startswith("filters_")
    for response in call["responses"].values():
        for media, content in response.get("content", {}).items():
            validator = _validator(document(dialect.name), content["schema"])
            assert content["schema"].get("format") == "binary" or content["examples"]
            for example in content.get("examples", {}).values():
                assert media == "application/json" or isinstance(example["value"], str)
                validator.validate(example["value"])


# -- what clients send ---------------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "endpoint", "method"), ENDPOINTS)
def test_each_parameter_has_an_effect(dialect: Dialect, endpoint: AnyEndpoint, method: str) -> None:
    build = requests.RequestBuilder(dialect, endpoint, method)
    usual = _read(endpoint, build.request({}))
    assert endpoint.description is not None
    if not build.bodies and any(p.required for p in endpoint.description.placed(Place.BODY)):
        return  # such a request cannot succeed with this method
    for param in build.params:
        if param.name in FACTS[dialect.name].params_without_effect:
            continue
        changed = (
            build.request({}, without=param.name)
            if param.required
            else build.request({param.name: param.example})
        )
        assert _read(endpoint, changed) != usual, param.name
        if param.place is Place.USUAL:
            read = {_read(endpoint, build.request({param.name: word})) for word in param.choices}
            assert len(read) == len(param.choices), param.name


def _read(endpoint: AnyEndpoint, request: WireRequest) -> str:
    """What a reader makes of a request."""
    try:
        op = endpoint.read(request)
        if isinstance(op, SubmitJob):
            entries = tuple(op.entries)
            return f"{op!r} {entries}".replace(repr(op.entries), "")
        return repr(op)
    except (Problem, UnreadableRequest) as exc:
        return f"refused: {exc!r}"


@pytest.mark.parametrize("case", [case for case in CASES if "unknown_" not in case])
def test_what_a_fixture_sends_is_described(case: str) -> None:
    for sent in _exchanges(case):
        if sent is None or sent.reply["status"] >= 300:
            continue
        call = sent.call
        known = {param["name"].lower() for param in call["parameters"]}
        for body in call.get("requestBody", {}).get("content", {}).values():
            known |= {name.lower() for name in body["schema"].get("properties", {})}
        for place in BY_NAME[sent.dialect].credential_for(sent.endpoint).places:
            if isinstance(place, KeyInQuery | KeyInBody):
                known.add(place.name.lower())
        unknown = {name for name in sent.names if name.lower() not in known}
        assert unknown <= FACTS[sent.dialect].params_not_described, unknown


# -- what clients get ----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_reply_of_a_fixture_is_described(case: str) -> None:
    for sent in _exchanges(case):
        if sent is None:
            continue
        response = sent.call["responses"].get(str(sent.reply["status"]))
        assert response is not None, (sent.reply["status"], list(sent.call["responses"]))
        if "json" not in sent.reply:
            continue
        schema = response["content"]["application/json"]["schema"]
        _validator(_configured(case), schema).validate(sent.reply["json"])


class _Exchange:
    def __init__(self, case: str, spec: dict[str, Any]) -> None:
        request = spec["request"]
        self.dialect = case.split("/")[0]
        self.reply = _filled(spec["reply"])
        path, _, query = request["url"].partition("?")
        found = ROUTES.match("", f"/{self.dialect}{path}", "")
        self.endpoint: AnyEndpoint | None = None
        if found is not None:
            self.endpoint, _, self.problem = ROUTES.find_endpoint(found, request["method"])
        self.names = set(re.findall(r"(?:^|&)([^=&\[]+)", query))
        for form in ("json", "form", "multipart"):
            if isinstance(request.get(form), dict):
                self.names |= {name.partition("[")[0] for name in request[form]}
        if self.endpoint is not None:
            calls = _configured(case)["paths"][self.endpoint.path.rstrip("/")]
            self.call = calls.get(request["method"].lower())


def _exchanges(case: str) -> Iterator[_Exchange | None]:
    spec = orjson.loads(CASES[case].read_bytes())
    sent = _Exchange(case, spec)
    is_known = sent.endpoint is not None and sent.problem is None and sent.call is not None
    yield sent if is_known else None


ROUTES = VendorRoutes(DIALECTS)


def _configured(case: str) -> dict[str, Any]:
    """The description of the dialect as the settings of a case configure it."""
    name = case.split("/")[0]
    settings = orjson.loads(CASES[case].read_bytes()).get("given", {}).get("settings", {})
    return _described_with(name, json.dumps(settings.get(name, {})))


@lru_cache
def _described_with(name: str, options: str) -> dict[str, Any]:
    if options == "{}":
        return document(name)
    settings = Settings.model_validate({name: json.loads(options)})
    dialect = next(d for d in configured_dialects(settings) if d.name == name)
    return describe(dialect, version="1.0")


def _filled(reply: dict[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] = json.loads(re.sub(r'"\{\w+:integer\}"', "1", json.dumps(reply)))
    return filled


def _validator(whole: dict[str, Any], schema: dict[str, Any]) -> OAS31Validator:
    """For the schema, which is closed: a member that it does not name is an error."""
    components = _CLOSED.get(id(whole))
    if components is None:
        components = _CLOSED[id(whole)] = closed(whole["components"])
    return OAS31Validator({**closed(schema), "components": components})


_CLOSED: dict[int, Any] = {}
"""The components of each description, which live as long as the tests."""


def closed(value: Any) -> Any:
    """A schema that allows no members but those that it names."""
    if isinstance(value, list):
        return [closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    inner = {name: closed(each) for name, each in value.items()}
    if isinstance(value.get("properties"), dict) and "type" in value:
        inner.setdefault("additionalProperties", False)
    return inner
